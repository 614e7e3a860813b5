//! A session as a file that stands for itself: JSON lines that anyone can check again.
//!
//! The first line is the header, then comes a line for each event with every column that its link
//! covers and the link, then a trailer with SHA-256 over all bytes before it. Bodies are in it as
//! they are in the journal: raw, with personal data, or encrypted.
//!
//! Invariant: no byte can be changed without the check finding it, short of writing the chain and
//! the trailer anew. Against that, keep the last link somewhere else.

use serde::{Deserialize, Serialize};
use stoplog_journal::{Cipher, Link, Row, StoreError, chain};
use stoplog_model::Digest;

use crate::verify::{hex, walk};

/// Version of the file.
pub const FORMAT: u32 = 1;

const KIND: &str = "stoplog.export";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: String,
    format: u32,
    session: String,
    tenant: String,
    exported_at_ms: u64,
    events: u64,
    last_link: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    format: u32,
    epoch: u64,
    at_ms: u64,
    kind: String,
    iteration: Option<u32>,
    ordinal: Option<u32>,
    tool: Option<String>,
    args_digest: Option<String>,
    key: Option<String>,
    summary: Option<String>,
    body: String,
    link: Digest,
}

/// What a sound file has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The session.
    pub session: String,
    /// Whose it is.
    pub tenant: String,
    /// When it was exported, milliseconds since the Unix epoch.
    pub exported_at_ms: u64,
    /// Events.
    pub events: u64,
    /// Link of the last event.
    pub last: Link,
}

/// The first line of a file that is not as it was exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BrokenExport {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

fn digest(link: &Link) -> Option<Digest> {
    Digest::try_from(hex(link)).ok()
}

/// The links of rows that have none yet: those that they are given when a host opens the journal.
pub fn linked(session: &str, mut rows: Vec<Row>) -> Vec<Row> {
    let mut before = chain::genesis(session);
    for row in &mut rows {
        row.chain = chain::link(&before, row);
        before = row.chain;
    }
    rows
}

/// The whole file. None for a session without events.
pub fn text(session: &str, tenant: &str, exported_at_ms: u64, rows: Vec<Row>) -> Option<String> {
    let last = rows.last()?;
    let header = Header {
        kind: KIND.to_owned(),
        format: FORMAT,
        session: session.to_owned(),
        tenant: tenant.to_owned(),
        exported_at_ms,
        events: rows.len() as u64,
        last_link: digest(&last.chain)?,
    };
    let mut text = json_line(&header)?;
    for row in rows {
        let line = Line {
            link: digest(&row.chain)?,
            seq: row.seq,
            format: row.format,
            epoch: row.epoch,
            at_ms: row.at_ms,
            kind: row.kind,
            iteration: row.iteration,
            ordinal: row.ordinal,
            tool: row.tool,
            args_digest: row.args_digest,
            key: row.key,
            summary: row.summary,
            body: row.encrypted.unwrap_or(row.body),
        };
        text.push_str(&json_line(&line)?);
    }
    let end = trailer(text.as_bytes());
    Some(text + &end)
}

fn json_line(value: &impl Serialize) -> Option<String> {
    let mut text = serde_json::to_string(value).ok()?;
    text.push('\n');
    Some(text)
}

fn trailer(before: &[u8]) -> String {
    format!(
        "{{\"kind\":\"end\",\"sha256\":\"{}\"}}\n",
        Digest::of(before)
    )
}

/// Why a file was not found sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// It is not as it was exported.
    #[error(transparent)]
    Broken(#[from] BrokenExport),
    /// It is encrypted, and the key is not there.
    #[error(transparent)]
    Shut(StoreError),
}

/// Checks a file from its first byte to its last. Encrypted bodies need the journal's keys.
///
/// # Errors
/// [`Unsound::Broken`] with the first line that is not as it was exported; [`Unsound::Shut`] when it
/// cannot be said, for want of a key.
pub fn check(bytes: &[u8], cipher: &Cipher) -> Result<Exported, Unsound> {
    let broken = |line: usize, what: String| BrokenExport {
        line: line as u64 + 1,
        what,
    };
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let [first, events @ .., last] = &lines[..] else {
        return Err(broken(0, "it is too short to be an export".into()).into());
    };
    let header: Header = parse(first).map_err(|e| broken(0, e))?;
    if header.kind != KIND || header.format != FORMAT {
        let what = format!("it is `{}`, format {}", header.kind, header.format);
        return Err(broken(0, what).into());
    }
    let mut rows = Vec::with_capacity(events.len());
    for (i, line) in events.iter().enumerate() {
        let mut row = row(parse(line).map_err(|e| broken(i + 1, e))?);
        match row.decrypt(&header.session, cipher) {
            Ok(()) => rows.push(row),
            Err(shut @ StoreError::Encrypted { .. }) => return Err(Unsound::Shut(shut)),
            Err(e) => return Err(broken(i + 1, e.to_string()).into()),
        }
    }
    let walked = walk(&header.session, &rows, true).map_err(|f| {
        let line = rows.iter().position(|r| Some(r.seq) == f.seq);
        broken(line.map_or(0, |i| i + 1), f.what)
    })?;
    let Some(walked) = walked else {
        return Err(broken(1, "there are no events".into()).into());
    };
    let told = (&header.tenant[..], header.events, header.last_link.bytes());
    let tenant = walked.session.started.tenant.as_str();
    if told != (tenant, rows.len() as u64, walked.last) {
        let what = "tenant, number of events or last link are not those of the events";
        return Err(broken(0, what.into()).into());
    }
    let before = bytes.len() - last.len();
    if **last != *trailer(&bytes[..before]).as_bytes() {
        let what = "the digest of all lines is another: the header or this line was changed";
        return Err(broken(lines.len() - 1, what.into()).into());
    }
    Ok(Exported {
        session: header.session,
        tenant: header.tenant,
        exported_at_ms: header.exported_at_ms,
        events: header.events,
        last: walked.last,
    })
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|e| e.to_string())
}

fn row(line: Line) -> Row {
    Row {
        seq: line.seq,
        format: line.format,
        epoch: line.epoch,
        at_ms: line.at_ms,
        kind: line.kind,
        iteration: line.iteration,
        ordinal: line.ordinal,
        tool: line.tool,
        args_digest: line.args_digest,
        key: line.key,
        summary: line.summary,
        body: line.body,
        encrypted: None,
        chain: line.link.bytes(),
    }
}
