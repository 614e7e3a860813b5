//! The line of sessions that are to go on: runs that were admitted, and sessions whose person has
//! decided.

use stoplog_model::SessionId;
use tokio::sync::mpsc;

/// Sessions that may stand in line. One that finds it full is found in the journal a moment later.
const LENGTH: usize = 4096;

/// Where sessions are put in line.
#[derive(Clone)]
pub(crate) struct Line(mpsc::Sender<SessionId>);

impl Line {
    /// A line, and its end.
    pub(crate) fn new() -> (Line, mpsc::Receiver<SessionId>) {
        let (line, end) = mpsc::channel(LENGTH);
        (Line(line), end)
    }

    /// Puts a session in line. What does not fit is active in the journal all the same.
    pub(crate) fn put(&self, session: &SessionId) {
        let _ = self.0.try_send(session.clone());
    }
}
