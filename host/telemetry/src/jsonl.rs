//! Spans as lines of a file. A projection: it can be deleted, and the journal brings it back.
//!
//! What may go wrong: the host dies between a commit and the line. So before a session is worked
//! on, [`JsonlSink::prime`] makes all spans of its records anew and writes those that the file
//! does not have; ids are derived, so none is there twice. A torn last line is cut off first.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use stoplog_journal::OnCommit;
use stoplog_model::{Record, SessionId};

use crate::maker::SpanMaker;
use crate::span::Span;

struct State {
    file: File,
    makers: HashMap<String, SpanMaker>,
}

/// Writes spans to a file, after each commit.
pub struct JsonlSink {
    path: PathBuf,
    state: Mutex<State>,
}

impl JsonlSink {
    /// Opens the file, or makes it, readable by its owner alone.
    pub fn open(path: &Path) -> io::Result<JsonlSink> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        cut_torn_line(&mut file)?;
        let state = State {
            file,
            makers: HashMap::new(),
        };
        Ok(JsonlSink {
            path: path.to_owned(),
            state: Mutex::new(state),
        })
    }

    /// Takes up a session that is there: writes what the file lacks of it.
    pub fn prime(&self, records: &[Record]) -> io::Result<()> {
        let Some(session) = session_of(records) else {
            return Ok(());
        };
        let mut maker = SpanMaker::default();
        let mut missing = Vec::new();
        let there = self.span_ids(&session)?;
        for record in records {
            let made = maker.push(record).map_err(io::Error::other)?;
            missing.extend(
                made.into_iter()
                    .filter(|span| !there.contains(span.common.span_id.as_str())),
            );
        }
        let mut state = self.state();
        write_lines(&mut state.file, &missing)?;
        state.makers.insert(session, maker);
        Ok(())
    }

    /// Puts every span that is written on the disk. For an orderly end; a crash needs none, since
    /// the journal brings the spans back.
    pub fn sync(&self) -> io::Result<()> {
        self.state().file.sync_all()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn span_ids(&self, session: &str) -> io::Result<HashSet<String>> {
        let mut ids = HashSet::new();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            let line = line?;
            if !line.contains(session) {
                continue;
            }
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else {
                continue;
            };
            if value["session_id"] == session
                && let Some(id) = value["span_id"].as_str()
            {
                ids.insert(id.to_owned());
            }
        }
        Ok(ids)
    }
}

fn session_of(records: &[Record]) -> Option<String> {
    match &records.first()?.event {
        stoplog_model::Event::SessionStarted(started) => Some(started.session.to_string()),
        _ => None,
    }
}

fn write_lines(file: &mut File, spans: &[Span]) -> io::Result<()> {
    let mut text = String::new();
    for span in spans {
        text.push_str(&serde_json::to_string(span).map_err(io::Error::other)?);
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}

/// A line that a dying host left half written is cut off: its span is written anew.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut keep = length;
    let mut byte = [0];
    while keep > 0 {
        file.seek(SeekFrom::Start(keep - 1))?;
        file.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        keep -= 1;
    }
    if keep < length {
        file.set_len(keep)?;
    }
    Ok(())
}

impl OnCommit for JsonlSink {
    fn committed(&self, session: &SessionId, records: &[Record]) {
        let id = session.to_string();
        let mut state = self.state();
        let begins = records.first().is_some_and(|r| r.seq == 1);
        if begins {
            state.makers.insert(id.clone(), SpanMaker::default());
        }
        let Some(maker) = state.makers.get_mut(&id) else {
            return;
        };
        let mut made = Vec::new();
        let known = maker.last_seq();
        for record in records.iter().filter(|r| r.seq > known) {
            match maker.push(record) {
                Ok(spans) => made.extend(spans),
                Err(error) => tracing::error!(session = id, %error, "no span"),
            }
        }
        // A span that cannot be written is no reason to stop: the journal has it.
        if let Err(error) = write_lines(&mut state.file, &made) {
            tracing::error!(path = %self.path.display(), %error, "spans not written");
        }
    }
}
