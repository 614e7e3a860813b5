//! Spans as lines of a file, with the literal field names of requirements 28 to 34: what is over, in
//! the order in which it ended.
//!
//! Invariants:
//! * the file itself says how far it is: its last whole line is the last span that was written. A line
//!   that a dying host left half is cut off, and written again; none is there twice;
//! * it is read from its end, however long it is;
//! * a file that is large or old is put aside under the place of its last span, and the oldest of
//!   those are deleted.
//!
//! It is one of the trace store's sinks: it can be deleted, and goes on with what ends then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::span::Span;
use crate::traces::{Finished, TraceError, TraceStore};

/// The name of the place in the trace store: for when the file is not there any more.
const JSONL: &str = "jsonl";

/// Spans that are written at once.
const BATCH: u32 = 1000;

/// Longest line that is looked for at the end of a file, bytes. A span's arguments are a tool's input,
/// which is bounded by what a model writes.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// When a file is put aside, and how many of those are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A file of this size is, bytes.
    pub bytes: u64,
    /// A file that was made so long ago is, milliseconds.
    pub age_ms: u64,
    /// So many that were put aside stay.
    pub kept: usize,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation {
            bytes: 64 * 1024 * 1024,
            age_ms: 24 * 60 * 60 * 1000,
            kept: 7,
        }
    }
}

/// Why no line was written.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The trace store cannot be read.
    #[error(transparent)]
    Traces(#[from] TraceError),
}

struct Open {
    file: File,
    bytes: u64,
    /// When it was made, milliseconds since the Unix epoch; none where the file system does not say.
    made_ms: Option<u64>,
    /// Place of its last span.
    place: u64,
}

/// The file.
pub struct Jsonl {
    traces: Arc<dyn TraceStore>,
    path: PathBuf,
    rotation: Rotation,
    open: Option<Open>,
}

impl Jsonl {
    /// A file over an open trace store. Opened when there is something to write.
    pub fn new(traces: Arc<dyn TraceStore>, path: &Path, rotation: Rotation) -> Jsonl {
        Jsonl {
            traces,
            path: path.to_owned(),
            rotation,
            open: None,
        }
    }

    /// Writes what ended since. How many spans that were.
    pub async fn catch_up(&mut self, now_ms: u64) -> Result<u64, JsonlError> {
        let mut all = 0;
        loop {
            let open = match self.open.take() {
                Some(open) if self.path.exists() => open,
                // Somebody has taken the file away: it is theirs, and a new one goes on behind it.
                Some(open) => {
                    let file = open_private(&self.path);
                    self.begun(file, open.place)?
                }
                None => self.opened().await?,
            };
            let finished = self.traces.finished(open.place, BATCH).await?;
            let (open, written) = match finished.is_empty() {
                true => (open, 0),
                false => {
                    let open = self.room(open, now_ms).await?;
                    self.write(open, &finished)?
                }
            };
            self.open = Some(open);
            if written == 0 {
                return Ok(all);
            }
            all += written;
        }
    }

    /// Puts what is written on the disk, and notes how far that is.
    pub async fn sync(&self) -> Result<(), JsonlError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        open.file.sync_all().map_err(|e| self.failed(e))?;
        Ok(self.traces.note_sent(JSONL, open.place).await?)
    }

    fn failed(&self, error: io::Error) -> JsonlError {
        JsonlError::File {
            path: self.path.display().to_string(),
            error,
        }
    }

    /// Opens the file, or makes it, and finds out how far it is.
    async fn opened(&self) -> Result<Open, JsonlError> {
        let mut file = open_private(&self.path).map_err(|e| self.failed(e))?;
        cut_torn_line(&mut file).map_err(|e| self.failed(e))?;
        let last = last_line(&mut file).map_err(|e| self.failed(e))?;
        let told = match last.and_then(|line| id_of(&line)) {
            Some(id) => self.traces.place_of(&id).await?,
            None => None,
        };
        let place = match told {
            Some(place) => place,
            // There is no line, or its span is not in the store any more: what is on the disk for sure
            // was noted, and the name of a file that was put aside says the same.
            None => {
                let noted = self.traces.sent(JSONL).await?.unwrap_or(0);
                let aside = self.aside().map_err(|e| self.failed(e))?.pop();
                noted.max(aside.map_or(0, |(place, _)| place))
            }
        };
        let about = file.metadata().map_err(|e| self.failed(e))?;
        Ok(Open {
            file,
            bytes: about.len(),
            made_ms: made_ms(&about),
            place,
        })
    }

    /// The file, or a new one if it is large or old.
    async fn room(&self, open: Open, now_ms: u64) -> Result<Open, JsonlError> {
        let age_ms = open.made_ms.map_or(0, |made| now_ms.saturating_sub(made));
        let is_full = open.bytes >= self.rotation.bytes;
        let is_old = open.bytes > 0 && age_ms >= self.rotation.age_ms;
        if !is_full && !is_old {
            return Ok(open);
        }
        let open = self.put_aside(open)?;
        self.traces.note_sent(JSONL, open.place).await?;
        Ok(open)
    }

    /// Writes lines until the file is full. How many were.
    fn write(&self, mut open: Open, finished: &[Finished]) -> Result<(Open, u64), JsonlError> {
        let mut text = String::new();
        let mut written = 0;
        for span in finished {
            let next = open.bytes + text.len() as u64;
            if next >= self.rotation.bytes && written > 0 {
                break;
            }
            text.push_str(&span.body);
            text.push('\n');
            open.place = span.place;
            written += 1;
        }
        open.file
            .write_all(text.as_bytes())
            .map_err(|e| self.failed(e))?;
        open.bytes += text.len() as u64;
        Ok((open, written))
    }

    /// Puts the file aside and begins a new one; deletes the oldest of those put aside.
    fn put_aside(&self, open: Open) -> Result<Open, JsonlError> {
        let work = || -> io::Result<File> {
            open.file.sync_all()?;
            fs::rename(&self.path, self.aside_path(open.place))?;
            let aside = self.aside()?;
            let surplus = aside.len().saturating_sub(self.rotation.kept);
            for (_, path) in aside.into_iter().take(surplus) {
                fs::remove_file(path)?;
            }
            open_private(&self.path)
        };
        self.begun(work(), open.place)
    }

    /// A new file, which goes on behind a place.
    fn begun(&self, file: io::Result<File>, place: u64) -> Result<Open, JsonlError> {
        let file = file.map_err(|e| self.failed(e))?;
        let about = file.metadata().map_err(|e| self.failed(e))?;
        Ok(Open {
            file,
            bytes: 0,
            made_ms: made_ms(&about),
            place,
        })
    }

    /// `spans.jsonl` is put aside as `spans.PLACE.jsonl`.
    fn aside_path(&self, place: u64) -> PathBuf {
        self.path.with_extension(format!("{place:012}.jsonl"))
    }

    /// The files put aside, the oldest first.
    fn aside(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let place = name
                .strip_prefix(&*stem)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.strip_suffix(".jsonl"))
                .and_then(|place| place.parse::<u64>().ok());
            if let Some(place) = place {
                found.push((place, path));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// For its owner alone.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn id_of(line: &str) -> Option<String> {
    let span: Span = serde_json::from_str(line).ok()?;
    Some(span.common.span_id.to_string())
}

fn made_ms(about: &fs::Metadata) -> Option<u64> {
    let since = about.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// A line that a dying host left half written is cut off: its span is written anew.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let (start, tail) = tail(file, length)?;
    let keep = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => start + at as u64 + 1,
        None => start,
    };
    if keep < length {
        file.set_len(keep)?;
    }
    Ok(())
}

/// The last line of a file that ends with one.
fn last_line(file: &mut File) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let (_, tail) = tail(file, length.saturating_sub(1))?;
    let line = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => &tail[at + 1..],
        None => &tail[..],
    };
    let text = String::from_utf8_lossy(line).into_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The bytes before a place, back to a line end at least, and where they begin.
fn tail(file: &mut File, end: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut size = 64 * 1024;
    loop {
        let start = end.saturating_sub(size);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if start == 0 || bytes.contains(&b'\n') || size >= MAX_LINE_BYTES {
            return Ok((start, bytes));
        }
        size *= 8;
    }
}
