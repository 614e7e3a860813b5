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
    /// Of the sessions that are worked on.
    makers: HashMap<String, SpanMaker>,
    /// Ids of the spans in the file, by session, once somebody has asked.
    there: Option<HashMap<String, There>>,
}

/// What is known of a session's spans in the file.
enum There {
    /// These are in it, and nobody has added to them since it was read.
    Ids(HashSet<String>),
    /// This process has written some: read the file again.
    ReadAgain,
}

/// The part of a line that says which span it is.
#[derive(serde::Deserialize)]
struct LineId {
    session_id: String,
    span_id: String,
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
            there: None,
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
        let mut state = self.state();
        let there = self.span_ids(&mut state, &session)?;
        for record in records {
            let made = maker.push(record).map_err(io::Error::other)?;
            missing.extend(
                made.into_iter()
                    .filter(|span| !there.contains(span.common.span_id.as_str())),
            );
        }
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

    /// Ids of a session's spans in the file. The file is read once for all sessions, and again
    /// only for one that this process has written to since.
    fn span_ids(&self, state: &mut State, session: &str) -> io::Result<HashSet<String>> {
        if state.there.is_none() {
            let mut there: HashMap<String, There> = HashMap::new();
            self.each_id(|id| {
                let ids = there
                    .entry(id.session_id)
                    .or_insert_with(|| There::Ids(HashSet::new()));
                if let There::Ids(ids) = ids {
                    ids.insert(id.span_id);
                }
            })?;
            state.there = Some(there);
        }
        let known = state.there.get_or_insert_default();
        match known.insert(session.to_owned(), There::ReadAgain) {
            None => Ok(HashSet::new()),
            Some(There::Ids(ids)) => Ok(ids),
            Some(There::ReadAgain) => {
                let mut ids = HashSet::new();
                self.each_id(|id| {
                    if id.session_id == session {
                        ids.insert(id.span_id);
                    }
                })?;
                Ok(ids)
            }
        }
    }

    fn each_id(&self, mut each: impl FnMut(LineId)) -> io::Result<()> {
        for line in BufReader::new(File::open(&self.path)?).lines() {
            if let Ok(id) = serde_json::from_str(&line?) {
                each(id);
            }
        }
        Ok(())
    }
}

/// Whether a run ended with this event: what comes behind it comes from somebody who has taken the
/// session up again, and primed it.
fn is_over(last: Option<&Record>) -> bool {
    last.is_some_and(|r| matches!(r.event, stoplog_model::Event::RunEnded(_)))
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
            if let Some(there) = &mut state.there {
                there.insert(id.clone(), There::ReadAgain);
            }
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
        if is_over(records.last()) {
            state.makers.remove(&id);
        }
        // A span that cannot be written is no reason to stop: the journal has it.
        if let Err(error) = write_lines(&mut state.file, &made) {
            tracing::error!(path = %self.path.display(), %error, "spans not written");
        }
    }
}
