//! The only unsafe code: a VFS in front of "unix", as SQLite's C interface wants it.
//!
//! Invariants: an opened file is a `ShimFile` with the file of "unix" directly behind it, in
//! memory that SQLite gave. What the shim does not watch goes to "unix" untouched. Rules about
//! recording and failing are in `watch`, which sees a [`RealFile`] and plain slices.

#![expect(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Once, OnceLock};

use libsqlite3_sys as sys;
use sys::{sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::open::OpenFile;
use crate::watch::{self, Role};

/// What of the machine's file system SQLite may rely on. No more than this is modelled, so a
/// file system that promises more (atomic batches, say) must not be believed here.
const CHARACTERISTICS: c_int =
    sys::SQLITE_IOCAP_POWERSAFE_OVERWRITE | sys::SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN;

/// The VFS behind ours.
struct Unix(*mut sqlite3_vfs);

// SAFETY: the pointer is to the static VFS "unix" of SQLite, which is never unregistered and is
// only read; its functions may be called from any thread.
unsafe impl Send for Unix {}
// SAFETY: as above.
unsafe impl Sync for Unix {}

/// Set before ours is registered: another thread may use that at once.
static UNIX: OnceLock<Unix> = OnceLock::new();

static REGISTERED: Once = Once::new();

fn unix() -> *mut sqlite3_vfs {
    let find = || {
        // SAFETY: the name is a C string; SQLite initialises itself on the first call.
        let unix = unsafe { sys::sqlite3_vfs_find(c"unix".as_ptr()) };
        assert!(!unix.is_null(), "SQLite has no VFS \"unix\"");
        Unix(unix)
    };
    UNIX.get_or_init(find).0
}

/// Makes the shim the default VFS of this process, once; watching a directory does it, too.
///
/// Connections that are open by then are not seen by it, and a directory with one cannot be
/// watched. So what opens a database before it watches the directory calls this first.
///
/// # Panics
///
/// When SQLite has no VFS "unix", or cannot register one.
pub fn install() {
    REGISTERED.call_once(|| {
        // SAFETY: `unix` points to a whole `sqlite3_vfs`, which is plain data. The functions that
        // are taken over read of their VFS `pAppData` and `mxPathname` at most, which stay;
        // SQLite itself registers "unix-excl" and others over the same functions.
        let mut ours = unsafe { *unix() };
        let behind = usize::try_from(ours.szOsFile).expect("the size of a file");
        ours.szOsFile = c_int::try_from(size_of::<ShimFile>() + behind).expect("a small size");
        ours.pNext = ptr::null_mut();
        ours.zName = c"stoplog-vfs".as_ptr();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        let ours = Box::leak(Box::new(ours));
        // SAFETY: `ours` is whole and is never freed.
        let code = unsafe { sys::sqlite3_vfs_register(ours, 1) };
        assert_eq!(code, sys::SQLITE_OK, "the VFS was not registered");
    });
}

/// An opened file. The file of "unix" follows in memory.
#[repr(C, align(8))]
struct ShimFile {
    base: sqlite3_file,
    /// Null for files without a name and those that are deleted on close.
    watched: *const OpenFile,
}

/// The file of "unix", for as long as one call lasts.
pub(crate) struct RealFile(NonNull<sqlite3_file>);

impl RealFile {
    /// # Safety
    ///
    /// `file` is a `ShimFile` that `open` has filled, and outlives the result.
    unsafe fn behind(file: *mut sqlite3_file) -> RealFile {
        // SAFETY: `szOsFile` made room for the second file, so it is within the same allocation.
        let real = unsafe { file.byte_add(size_of::<ShimFile>()) };
        RealFile(NonNull::new(real).expect("SQLite passes no null file"))
    }

    fn as_ptr(&self) -> *mut sqlite3_file {
        self.0.as_ptr()
    }

    fn methods(&self) -> &sqlite3_io_methods {
        // SAFETY: the file is open, so its methods are set, to a static of SQLite.
        unsafe { &*self.0.as_ref().pMethods }
    }

    /// Writes all of it, or gives the code of the failure.
    pub(crate) fn write(&self, bytes: &[u8], offset: i64) -> c_int {
        let call = self.methods().xWrite.expect("unix has xWrite");
        let len = c_int::try_from(bytes.len()).expect("SQLite writes less than 2 GiB at once");
        // SAFETY: the file is open and the slice is as long as is said.
        unsafe { call(self.as_ptr(), bytes.as_ptr().cast(), len, offset) }
    }

    /// Reads what is there; what lies behind the end of the file is zero.
    pub(crate) fn read(&self, offset: i64, len: usize) -> Result<Vec<u8>, c_int> {
        let call = self.methods().xRead.expect("unix has xRead");
        let mut bytes = vec![0; len];
        let len = c_int::try_from(len).expect("less than 2 GiB at once");
        // SAFETY: the file is open and the buffer is as long as is said.
        let code = unsafe { call(self.as_ptr(), bytes.as_mut_ptr().cast(), len, offset) };
        match code {
            sys::SQLITE_OK | sys::SQLITE_IOERR_SHORT_READ => Ok(bytes),
            code => Err(code),
        }
    }

    pub(crate) fn truncate(&self, len: i64) -> c_int {
        let call = self.methods().xTruncate.expect("unix has xTruncate");
        // SAFETY: the file is open.
        unsafe { call(self.as_ptr(), len) }
    }

    pub(crate) fn sync(&self, flags: c_int) -> c_int {
        let call = self.methods().xSync.expect("unix has xSync");
        // SAFETY: the file is open.
        unsafe { call(self.as_ptr(), flags) }
    }

    /// In bytes.
    pub(crate) fn size(&self) -> Result<i64, c_int> {
        let call = self.methods().xFileSize.expect("unix has xFileSize");
        let mut size = 0;
        // SAFETY: the file is open and `size` outlives the call.
        match unsafe { call(self.as_ptr(), &raw mut size) } {
            sys::SQLITE_OK => Ok(size),
            code => Err(code),
        }
    }
}

/// # Safety
///
/// `name` is null or a C string that outlives the result.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}

/// # Safety
///
/// `file` is a `ShimFile` that `open` has filled, and outlives the result.
unsafe fn watched<'a>(file: *mut sqlite3_file) -> Option<&'a OpenFile> {
    // SAFETY: the layout is as the caller promises; a pointer that is not null came from a box
    // that only `close` frees.
    unsafe { (*file.cast::<ShimFile>()).watched.as_ref() }
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gave `szOsFile` bytes at `file`, and a name or null.
    unsafe {
        file.cast::<ShimFile>().write(ShimFile {
            base: sqlite3_file {
                pMethods: ptr::null(),
            },
            watched: ptr::null(),
        });
        let real = RealFile::behind(file);
        let open_real = || {
            let call = (*unix()).xOpen.expect("unix has xOpen");
            call(unix(), name, real.as_ptr(), flags, out_flags)
        };
        let role = Role::from_flags(flags);
        let creates = flags & sys::SQLITE_OPEN_CREATE != 0;
        let shim = &mut *file.cast::<ShimFile>();
        let code = match (path_of(name), role) {
            (Some(path), Some(role)) => match watch::open(path, role, creates, &real, open_real) {
                Ok(opened) => {
                    shim.watched = Box::into_raw(Box::new(opened));
                    sys::SQLITE_OK
                }
                Err(code) => code,
            },
            _ => open_real(),
        };
        if code == sys::SQLITE_OK {
            shim.base.pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(_vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes a C string.
    unsafe {
        let delete_real = || {
            let call = (*unix()).xDelete.expect("unix has xDelete");
            call(unix(), name, sync)
        };
        match path_of(name) {
            Some(path) => watch::delete(path, sync & 1 != 0, delete_real),
            None => delete_real(),
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it afterwards.
    unsafe {
        let shim = &mut *file.cast::<ShimFile>();
        if !shim.watched.is_null() {
            drop(Box::from_raw(shim.watched.cast_mut()));
            shim.watched = ptr::null();
        }
        let real = RealFile::behind(file);
        let call = real.methods().xClose.expect("unix has xClose");
        call(real.as_ptr())
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and SQLite passes `len` bytes.
    unsafe {
        let real = RealFile::behind(file);
        let len = usize::try_from(len).expect("a length");
        let bytes = slice::from_raw_parts(bytes.cast::<u8>(), len);
        match watched(file) {
            Some(w) => watch::write(w, &real, bytes, offset),
            None => real.write(bytes, offset),
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, len: sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let real = RealFile::behind(file);
        match watched(file) {
            Some(w) => watch::truncate(w, &real, len),
            None => real.truncate(len),
        }
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let real = RealFile::behind(file);
        match watched(file) {
            Some(w) => watch::sync(w, &real, flags),
            None => real.sync(flags),
        }
    }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let real = RealFile::behind(file);
        match real.methods().xDeviceCharacteristics {
            Some(call) => call(real.as_ptr()) & CHARACTERISTICS,
            None => 0,
        }
    }
}

/// A method that goes to "unix" as it came. The last word is what a file without it answers:
/// "unix" has files without shared memory and without mapping (`nolock=1`, for instance).
macro_rules! delegate {
    ($name:ident, $method:ident, ($($arg:ident: $ty:ty),*), $absent:expr) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $arg: $ty)*) -> c_int {
            // SAFETY: the file is open, and the arguments are those of SQLite.
            unsafe {
                let real = RealFile::behind(file);
                match real.methods().$method {
                    Some(call) => call(real.as_ptr() $(, $arg)*),
                    None => $absent,
                }
            }
        }
    };
}

delegate!(read, xRead, (to: *mut c_void, len: c_int, at: sqlite3_int64), sys::SQLITE_IOERR_READ);
delegate!(file_size, xFileSize, (out: *mut sqlite3_int64), sys::SQLITE_IOERR_FSTAT);
delegate!(lock, xLock, (level: c_int), sys::SQLITE_OK);
delegate!(unlock, xUnlock, (level: c_int), sys::SQLITE_OK);
delegate!(check_reserved, xCheckReservedLock, (out: *mut c_int), sys::SQLITE_IOERR_LOCK);
delegate!(file_control, xFileControl, (op: c_int, arg: *mut c_void), sys::SQLITE_NOTFOUND);
delegate!(sector_size, xSectorSize, (), 4096);
delegate!(
    shm_map,
    xShmMap,
    (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void),
    sys::SQLITE_IOERR_SHMMAP
);
delegate!(shm_lock, xShmLock, (at: c_int, n: c_int, flags: c_int), sys::SQLITE_IOERR_SHMLOCK);
delegate!(shm_unmap, xShmUnmap, (delete: c_int), sys::SQLITE_OK);
delegate!(
    fetch,
    xFetch,
    (at: sqlite3_int64, len: c_int, out: *mut *mut c_void),
    {
        // Nothing is mapped: SQLite then reads.
        *out = ptr::null_mut();
        sys::SQLITE_OK
    }
);
delegate!(unfetch, xUnfetch, (at: sqlite3_int64, page: *mut c_void), sys::SQLITE_OK);

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: the file is open.
    unsafe {
        let real = RealFile::behind(file);
        if let Some(call) = real.methods().xShmBarrier {
            call(real.as_ptr());
        }
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};
