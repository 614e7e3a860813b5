//! The way of a request: claim its key, write it down, play its faults, do it, answer.

use std::collections::HashSet;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rusqlite::Connection;

use super::answer::{Answer, Failure};
use super::deeds::{self, Footing, Post};
use super::faults::{Mode, Played};
use super::ledger::{self, Line, Outcome};
use super::wire::Cut;

/// The exit code of a process that SIGKILL ended, as a shell shows it.
const EXIT_AS_IF_KILLED: i32 = 137;

/// What all requests share. A clone is a handle to the same backend.
#[derive(Clone)]
pub(super) struct App {
    db: Arc<Mutex<Connection>>,
    in_flight: Arc<Mutex<HashSet<String>>>,
}

/// A step on the database, run on a thread that may block.
type Step = Box<dyn FnOnce(&mut Connection) -> Result<Answer, Failure> + Send>;

/// What a request wants.
pub(super) enum Work {
    /// To know something.
    Read(Step),
    /// To have something done, at most once under its key.
    Post(Post),
    /// To have the acts of a key undone.
    UndoActs(String),
}

impl App {
    pub(super) fn new(db: Connection) -> Self {
        Self {
            db: Arc::new(Mutex::new(db)),
            in_flight: Arc::default(),
        }
    }

    /// Carries a request through and answers it, or cuts its connection.
    pub(super) async fn run(self, cut: Cut, line: Line, work: Work) -> Response {
        // A task of its own: hyper drops the handler when the caller goes away, and a write that
        // has arrived must be carried through all the same.
        let carried = tokio::spawn(async move {
            let (answer, after) = match work {
                Work::Read(step) => self.read(line, step).await,
                Work::Post(post) => self.post(line, post).await,
                Work::UndoActs(key) => self.undo_acts(line, key).await,
            }?;
            Ok::<_, Failure>(finish(answer, after).await)
        });
        match carried.await {
            Ok(Ok(Some(answer))) => answer.into_response(),
            Ok(Ok(None)) => {
                cut.cut();
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Ok(Err(failure)) => Answer::from(failure).into_response(),
            Err(lost) => Answer::from(Failure::Lost(lost)).into_response(),
        }
    }

    /// Runs a step that no fault strikes.
    pub(super) async fn admin(&self, step: Step) -> Response {
        self.answer(step).await.into_response()
    }

    async fn read(&self, line: Line, step: Step) -> Result<(Answer, Played), Failure> {
        let played = self
            .db(move |db| Ok(ledger::receive_read(db, &line)?))
            .await?;
        if let Some(failed) = before(played).await {
            return Ok((failed, Played::default()));
        }
        Ok((self.answer(step).await, played))
    }

    async fn post(&self, line: Line, post: Post) -> Result<(Answer, Played), Failure> {
        let claim = post
            .key
            .as_ref()
            .map(|key| Claim::take(&self.in_flight, key));
        let (seq, played) = self
            .db(move |db| Ok(ledger::receive_write(db, &line)?))
            .await?;
        if let Some(failed) = before(played).await {
            return self.fail(seq, failed).await;
        }
        let footing = match &claim {
            None => Footing::Keyless,
            Some(_) if played.forget_keys => Footing::Keyless,
            Some(Some(_)) => Footing::Alone,
            Some(None) => Footing::Behind,
        };
        let done = self
            .db(move |db| deeds::perform(db, seq, &post, footing))
            .await;
        match done {
            Ok(answer) => Ok((answer, played)),
            Err(failure) => self.fail(seq, failure.into()).await,
        }
    }

    async fn undo_acts(&self, line: Line, key: String) -> Result<(Answer, Played), Failure> {
        let (seq, played) = self
            .db(move |db| Ok(ledger::receive_write(db, &line)?))
            .await?;
        if let Some(failed) = before(played).await {
            return self.fail(seq, failed).await;
        }
        match self.db(move |db| deeds::undo_acts(db, seq, &key)).await {
            Ok(answer) => Ok((answer, played)),
            Err(failure) => self.fail(seq, failure.into()).await,
        }
    }

    /// Nothing was done; the faults that come after doing are not played.
    async fn fail(&self, seq: i64, answer: Answer) -> Result<(Answer, Played), Failure> {
        self.db(move |db| Ok(ledger::close(db, seq, Outcome::Failed)?))
            .await?;
        Ok((answer, Played::default()))
    }

    async fn answer(&self, step: Step) -> Answer {
        self.db(step).await.unwrap_or_else(Answer::from)
    }

    async fn db<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let db = Arc::clone(&self.db);
        let stepped = tokio::task::spawn_blocking(move || step(&mut lock(&db))).await;
        stepped.unwrap_or_else(|lost| Err(Failure::Lost(lost)))
    }
}

/// The faults that come before doing. Gives the answer of a request that is not to be done.
async fn before(played: Played) -> Option<Answer> {
    match played.mode {
        Some((Mode::FailBefore, _)) => Some(Answer::failed("told to fail before doing anything")),
        Some((Mode::DelayBefore, delay)) => {
            tokio::time::sleep(delay).await;
            None
        }
        _ => None,
    }
}

/// The faults that come after doing. No answer: the connection is to be cut.
async fn finish(answer: Answer, played: Played) -> Option<Answer> {
    match played.mode {
        Some((Mode::HoldAnswer, delay)) => tokio::time::sleep(delay).await,
        Some((Mode::FailAfter, _)) => return Some(Answer::failed("told to fail after doing it")),
        Some((Mode::DieAfterCommit, _)) => process::exit(EXIT_AS_IF_KILLED),
        Some((Mode::HangUpAfter, _)) => return None,
        Some((Mode::DelayBefore | Mode::FailBefore | Mode::ForgetKeys, _)) | None => {}
    }
    Some(answer)
}

/// A key whose first request is being done. It ends when the request is committed or refused: from
/// then on a repeat finds the kept answer, even while the first answer is held.
struct Claim {
    in_flight: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl Claim {
    fn take(in_flight: &Arc<Mutex<HashSet<String>>>, key: &str) -> Option<Self> {
        lock(in_flight).insert(key.to_owned()).then(|| Self {
            in_flight: Arc::clone(in_flight),
            key: key.to_owned(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.in_flight).remove(&self.key);
    }
}

/// A panic under the lock leaves nothing half done: an open transaction is rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
