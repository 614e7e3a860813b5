//! Compiled code on disk: compiled once, when a tool is added, never in a call.
//!
//! Invariants:
//! * Compiled code is machine code: loading what someone else wrote is running it. So a file is
//!   loaded only when the digest beside it, written by this host, fits the component, the engine
//!   and every byte read. The directory is for the host's user alone (0700, files 0600), and no
//!   guest has any directory. Who can write here can also replace the host's binary.
//! * A second directory may be read from, so that what an author's commands compiled is not compiled
//!   again when it is added: it must belong to the owner of the first, and be as private.
//! * The bytes that are checked are the bytes that are loaded: the file is read once.
//! * Another version of wasmtime, or other engine settings, is another file name.
//!
//! What may go wrong: the directory is not writable, a file is damaged or half written. Then the
//! component is compiled anew; a cache is never a reason to fail.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use stoplog_model::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Where the code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled just now.
    Compiled,
    /// Taken from the cache.
    Cached,
}

/// A directory of compiled code, or none.
pub(crate) struct Cache {
    dir: Option<PathBuf>,
    /// Another one, to be read from.
    also: Option<PathBuf>,
    /// Sixteen hex digits that stand for wasmtime's version and the engine's settings.
    engine: String,
}

impl Cache {
    pub(crate) fn open(
        dir: Option<PathBuf>,
        also: Option<PathBuf>,
        engine: &Engine,
    ) -> io::Result<Cache> {
        if let Some(dir) = &dir {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        let also = also.filter(|also| dir.as_ref().is_some_and(|own| is_as_private(own, also)));
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = hasher
            .0
            .finalize()
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect();
        Ok(Cache { dir, also, engine })
    }

    /// The compiled component, from the cache if it is there and whole.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        digest: &Digest,
        bytes: &[u8],
    ) -> wasmtime::Result<(Component, Origin)> {
        let own = self.dir.as_deref();
        if let Some(component) = own.and_then(|dir| self.read(dir, engine, digest)) {
            return Ok((component, Origin::Cached));
        }
        let also = self.also.as_deref();
        if let Some(component) = also.and_then(|dir| self.read(dir, engine, digest)) {
            self.keep(digest, &component);
            return Ok((component, Origin::Cached));
        }
        let component = Component::from_binary(engine, bytes)?;
        self.keep(digest, &component);
        Ok((component, Origin::Compiled))
    }

    fn keep(&self, digest: &Digest, component: &Component) {
        if let Ok(code) = component.serialize() {
            // A cache that cannot be written costs time at the next start, nothing else.
            let _ = self.write(digest, &code);
        }
    }

    fn path(&self, dir: &Path, digest: &Digest, extension: &str) -> PathBuf {
        dir.join(format!("{digest}-{}.{extension}", self.engine))
    }

    /// Binds code to component and engine, so that two good files cannot be exchanged.
    fn seal(&self, digest: &Digest, code: &[u8]) -> Digest {
        let code = Digest::of(code);
        Digest::of_parts(
            "stoplog/cwasm1",
            &[digest.as_str(), &self.engine, code.as_str()],
        )
    }

    fn read(&self, dir: &Path, engine: &Engine, digest: &Digest) -> Option<Component> {
        let code_path = self.path(dir, digest, "cwasm");
        let code = fs::read(&code_path).ok()?;
        let seal_path = self.path(dir, digest, "sha256");
        let seal = fs::read_to_string(&seal_path).unwrap_or_default();
        let component = if seal.trim() == self.seal(digest, &code).as_str() {
            load_sealed(engine, &code).ok()
        } else {
            None
        };
        if component.is_none() {
            let _ = fs::remove_file(code_path);
            let _ = fs::remove_file(seal_path);
        }
        component
    }

    fn write(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        replace(&self.path(dir, digest, "cwasm"), code)?;
        let seal_path = self.path(dir, digest, "sha256");
        replace(&seal_path, self.seal(digest, code).as_str().as_bytes())
    }
}

/// Whether a directory is there, is no link, belongs to whoever owns ours, and can be made as private.
fn is_as_private(own: &Path, also: &Path) -> bool {
    let private = || -> io::Result<bool> {
        let (own, other) = (fs::metadata(own)?, fs::symlink_metadata(also)?);
        if !other.is_dir() || own.uid() != other.uid() {
            return Ok(false);
        }
        fs::set_permissions(also, Permissions::from_mode(0o700))?;
        Ok(true)
    };
    private().unwrap_or(false)
}

#[expect(unsafe_code, reason = "the only way to load compiled code")]
fn load_sealed(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` must be given what `Component::serialize` gave. The caller has checked
    // that these very bytes carry the seal which this host wrote beside them when it compiled
    // them, in a directory that only this user can write to.
    unsafe { Component::deserialize(engine, code) }
}

/// Writes a file beside its place and moves it there: a reader sees all of it or nothing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    let beside = PathBuf::from(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// The compatibility hash through SHA-256: the standard hasher may change between versions of
/// Rust.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
