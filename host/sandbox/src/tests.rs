//! Runs of small guests: what a run gives back, and what stops one that does not end well.

mod bombs;
pub(crate) mod guests;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::port::{CallInfo, Entry, Gate, Job, Ran, Returned, RunError, Runner};
use stoplog_model::{Class, Digest, Reason};

use crate::cache::Origin;
use crate::tests::guests::{ECHO, EMPTY, external, pure};
use crate::{Sandbox, Settings, limits};

/// One for all tests: engines are dear, and runs share nothing.
static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(Settings::default()).expect("the engine starts"));

/// A gate that notes what it is asked, and answers with this status.
#[derive(Default)]
struct Noting(Mutex<Vec<String>>);

impl Noting {
    fn note(&self, what: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    fn seen(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Gate for Noting {
    fn key(&self, label: &str) -> String {
        format!("key.{label}")
    }

    fn split(&self, label: &str) -> Result<(), String> {
        self.note(format!("split {label}"));
        Ok(())
    }

    async fn perform(&self, label: &str, request: Request) -> Result<Response, EffectError> {
        let Request {
            method,
            url,
            headers,
            body,
        } = request;
        let body = String::from_utf8_lossy(&body);
        self.note(format!(
            "perform `{label}` {method} {url} {headers:?} {body}"
        ));
        Ok(Response {
            status: 200,
            headers: vec![],
            body: b"done".to_vec(),
        })
    }

    async fn fetch(&self, request: Request) -> Result<Response, EffectError> {
        self.note(format!("fetch {} {}", request.method, request.url));
        Ok(Response {
            status: 200,
            headers: vec![],
            body: vec![],
        })
    }
}

fn job(component: &Digest, class: Class, timeout_ms: u64) -> Job {
    Job {
        component: component.clone(),
        class,
        entry: Entry::Call {
            input: "{\"a\":1}".to_owned(),
        },
        info: CallInfo {
            tenant: "acme".to_owned(),
            session: "s".to_owned(),
            call_id: "c".repeat(64),
            attempt: 1,
            started_at_ms: 1_700_000_000_500,
            scheduled_for_ms: None,
            deadline_ms: 1_700_000_010_500,
        },
        timeout_ms,
        seed: [7; 32],
    }
}

async fn run_pure(call: &str, timeout_ms: u64) -> Ran {
    let inspection = SANDBOX.load(&pure(call, EMPTY)).expect("it loads");
    SANDBOX
        .run(
            job(&inspection.digest, Class::Pure, timeout_ms),
            Arc::new(Noting::default()),
        )
        .await
}

fn text(ran: Ran) -> String {
    match ran.result {
        Ok(Returned::Text(text)) => text,
        other => panic!("no text: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_returns() {
    assert_eq!(text(run_pure(ECHO, 5_000).await), "{\"a\":1}");
}

#[tokio::test]
async fn an_endless_loop_is_stopped_and_starves_nobody() {
    let started = Instant::now();
    let beside = tokio::spawn(async {
        let mut ticks = 0;
        while ticks < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            ticks += 1;
        }
        Instant::now()
    });
    // One thread: the guest must give it back.
    let ran = run_pure("(loop $l (br $l)) (unreachable)", 600).await;
    let ended = Instant::now();
    assert_eq!(ran.result, Err(RunError::Timeout(600)));
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert!(beside.await.expect("the other task") < ended);
}

#[tokio::test]
async fn a_guest_that_sleeps_too_long_is_stopped() {
    let year_ns = 31_536_000_000_000_000_u64;
    let body = format!("(call $block (call $subscribe (i64.const {year_ns}))) (unreachable)");
    assert_eq!(
        run_pure(&body, 200).await.result,
        Err(RunError::Timeout(200))
    );
}

#[tokio::test]
async fn a_trap_is_a_short_sentence() {
    let ran = run_pure("(unreachable)", 5_000).await;
    let why = "wasm `unreachable` instruction executed".to_owned();
    assert_eq!(ran.result, Err(RunError::Trapped(why)));
}

#[tokio::test]
async fn limits_have_names() {
    for (body, limit) in [
        // Grows by 64 pages until it is refused, then traps.
        (
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) (unreachable)",
            "memory",
        ),
        ("(call $ok (i32.const 0) (i32.const 1048577))", "output"),
        (
            "(call $rand_bytes (i64.const 4294967296) (i32.const 3072)) (unreachable)",
            "random",
        ),
        (
            "(call $call (local.get 0) (local.get 1)) (drop) (call $call (i32.const 0) (i32.const 0))",
            "stack",
        ),
        // Resources of its own, which cost the host a handle each.
        (
            "(loop $l (drop (call $new (i32.const 0))) (br $l)) (unreachable)",
            "handles",
        ),
    ] {
        match run_pure(body, 10_000).await.result {
            Err(RunError::Limit(message)) => assert!(message.contains(limit), "{message}"),
            other => panic!("{limit}: {other:?}"),
        }
    }
}

/// Seconds and nanoseconds less what they should be, as two bytes: results must be UTF-8.
#[tokio::test]
async fn the_clock_shows_the_recorded_start() {
    let body = "(call $now (i32.const 3072))
        (i32.store8 (i32.const 3090) (i32.sub (i32.load (i32.const 3072)) (i32.const 1700000000)))
        (i32.store8 (i32.const 3091) (i32.sub (i32.load (i32.const 3080)) (i32.const 500000000)))
        (call $ok (i32.const 3090) (i32.const 2))";
    assert_eq!(text(run_pure(body, 5_000).await), "\0\0");
}

/// The low byte of the seconds after waiting 700 ms, from a start at 0.5 s.
#[tokio::test]
async fn the_clock_moves_when_the_guest_waits() {
    let body = "(call $block (call $subscribe (i64.const 700000000)))
        (call $now (i32.const 3072)) (i32.store8 (i32.const 3080)
          (i32.sub (i32.load (i32.const 3072)) (i32.const 1700000000)))
        (call $ok (i32.const 3080) (i32.const 1))";
    assert_eq!(text(run_pure(body, 5_000).await), "\u{1}");
}

/// Random bits as seven-bit text, so that it is UTF-8.
#[tokio::test]
async fn the_same_seed_gives_the_same_numbers() {
    let body = "(i64.store (i32.const 3072)
          (i64.and (call $rand) (i64.const 0x7f7f7f7f7f7f7f7f)))
        (call $ok (i32.const 3072) (i32.const 8))";
    let inspection = SANDBOX.load(&pure(body, EMPTY)).expect("it loads");
    let draw = async |seed| {
        let mut job = job(&inspection.digest, Class::Pure, 5_000);
        job.seed = [seed; 32];
        text(SANDBOX.run(job, Arc::new(Noting::default())).await)
    };
    assert_eq!(draw(1).await, draw(1).await);
    assert_ne!(draw(1).await, draw(2).await);
}

async fn run_external(call: &str, entry: Option<Entry>) -> (Ran, Vec<String>) {
    let inspection = SANDBOX.load(&external(call)).expect("it loads");
    let gate = Arc::new(Noting::default());
    let mut job = job(&inspection.digest, Class::External, 5_000);
    if let Some(entry) = entry {
        job.entry = entry;
    }
    let ran = SANDBOX.run(job, Arc::clone(&gate) as Arc<dyn Gate>).await;
    (ran, gate.seen())
}

const SEEN: &str = r#"POST http://far.test/x [("x-am", "Y")] post"#;

#[tokio::test]
async fn what_leaves_passes_the_gate() {
    let call = "(local $other i32)
        (local.set $other (call $split (local.get $permit)))
        (drop (call $send (local.get $permit))) (drop (call $send (local.get $other)))
        (call $ok (i32.const 2048) (i32.const 4))";
    let (ran, seen) = run_external(call, None).await;
    assert_eq!(text(ran), "post");
    let expected = [
        "split fee".to_owned(),
        format!("perform `` {SEEN}"),
        format!("perform `fee` {SEEN}"),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_permit_is_good_once() {
    let call = "(drop (call $send (local.get $permit))) (drop (call $send (local.get $permit)))
        (unreachable)";
    let (ran, seen) = run_external(call, None).await;
    match ran.result {
        Err(RunError::Trapped(why)) => assert!(why.contains("handle"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn a_probe_has_no_permit_to_use() {
    let probe = Entry::Probe {
        input: "{}".to_owned(),
        key: "k".to_owned(),
    };
    let (ran, seen) = run_external("(unreachable)", Some(probe)).await;
    assert!(
        matches!(ran.result, Err(RunError::Trapped(_))),
        "{:?}",
        ran.result
    );
    assert_eq!(seen, [""; 0]);
    // Nor has it an `undo`: class 3 owes none.
    let undo = Entry::Undo {
        input: "{}".to_owned(),
        output: String::new(),
    };
    let (ran, _) = run_external("(unreachable)", Some(undo)).await;
    assert!(
        matches!(ran.result, Err(RunError::NotLoaded(_))),
        "{:?}",
        ran.result
    );
}

#[tokio::test]
async fn requests_are_counted() {
    // Splits and sends for ever: the sixty-fifth is denied, and the guest then returns.
    let call = "(loop $l (br_if $l
          (i32.eqz (call $send (call $split (local.get $permit))))))
        (call $ok (i32.const 2048) (i32.const 4))";
    let (ran, seen) = run_external(call, None).await;
    assert_eq!(text(ran), "post");
    let sent = seen.iter().filter(|s| s.starts_with("perform")).count();
    assert_eq!(sent, limits::REQUESTS as usize);
}

#[tokio::test]
async fn what_is_not_loaded_does_not_run() {
    let gate = Arc::new(Noting::default());
    let ran = SANDBOX
        .run(job(&Digest::of(b"nobody"), Class::Pure, 100), gate)
        .await;
    assert!(matches!(ran.result, Err(RunError::NotLoaded(_))));
    let gate = Arc::new(Noting::default());
    let external = SANDBOX.load(&external("(unreachable)")).expect("it loads");
    let ran = SANDBOX
        .run(job(&external.digest, Class::Pure, 100), gate)
        .await;
    assert!(
        matches!(ran.result, Err(RunError::NotLoaded(_))),
        "a lower class than its own"
    );
}

#[tokio::test]
async fn describe_is_asked_twice() {
    let (inspection, described) = SANDBOX
        .describe(&pure(ECHO, EMPTY))
        .await
        .expect("described");
    assert_eq!(inspection.class, Class::Pure);
    assert_eq!((described.name.as_str(), described.timeout_ms), ("", 0));
    // The timeout is a random number.
    let moody = "(i64.store32 (i32.const 576) (call $rand)) (i32.const 512)";
    let error = SANDBOX
        .describe(&pure(ECHO, moody))
        .await
        .expect_err("unstable");
    assert_eq!(error.reason, Reason::ToolUnstable);
    let error = SANDBOX
        .describe(&pure(ECHO, "(unreachable)"))
        .await
        .expect_err("trap");
    assert_eq!(error.reason, Reason::SandboxTrap);
}

/// Every inert interface that is let through by name is there to link with, and `wasi:http` is.
#[test]
fn what_the_loader_lets_through_links() {
    for class in Class::ALL {
        let mut names: Vec<String> = crate::loader::INERT
            .iter()
            .map(|name| format!("{name}@0.2.6"))
            .collect();
        names.push("stoplog:tool/context@0.1.0".to_owned());
        if class.reaches_out() {
            names.extend(
                crate::loader::HTTP
                    .iter()
                    .map(|name| format!("{name}@0.2.12")),
            );
            names.push(crate::loader::KEYVALUE.to_owned());
        }
        if class.writes() {
            names.push("stoplog:tool/effects@0.1.0".to_owned());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let tool = format!("stoplog:tool/{}@0.1.0", class.interface());
        let bytes = guests::component_of_names(&names, &["stoplog:tool/about@0.1.0", &tool]);
        // It links, and only then is found to have no functions.
        let error = SANDBOX.load(&bytes).expect_err("it has no functions");
        assert_eq!(error.reason, Reason::ToolClassUnclear, "{error}");
        assert!(error.message.contains("no function `describe`"), "{error}");
    }
}

/// What one directory has is kept in another one, after the same checks.
#[test]
fn compiled_code_is_taken_over_from_another_directory_of_the_user() {
    let dir = tempfile::tempdir().expect("a directory");
    let guest = pure(ECHO, EMPTY);
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let origin = |cache_dir: &std::path::Path, also: Option<&std::path::Path>| {
        let settings = Settings {
            cache_dir: Some(cache_dir.to_owned()),
            also: also.map(std::path::Path::to_owned),
        };
        let sandbox = Sandbox::new(settings).expect("the engine starts");
        let digest = sandbox.load(&guest).expect("it loads").digest;
        sandbox.origin(&digest)
    };
    assert_eq!(origin(&first, None), Some(Origin::Compiled));
    assert_eq!(origin(&second, Some(&first)), Some(Origin::Cached));
    assert_eq!(origin(&second, None), Some(Origin::Cached), "it is kept");

    // A damaged one is not taken over, and neither is one behind a link.
    let third = dir.path().join("third");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&first, &link).expect("a link");
    assert_eq!(origin(&third, Some(&link)), Some(Origin::Compiled));
    for file in std::fs::read_dir(&first).expect("the cache") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|e| e == "cwasm") {
            let mut bytes = std::fs::read(&path).expect("code");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).expect("damage");
        }
    }
    let fourth = dir.path().join("fourth");
    assert_eq!(origin(&fourth, Some(&first)), Some(Origin::Compiled));
}

#[test]
fn compiled_code_is_kept_and_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache_dir = dir.path().join("compiled");
    let guest = pure(ECHO, EMPTY);
    let origin = || {
        let settings = Settings {
            cache_dir: Some(cache_dir.clone()),
            also: None,
        };
        let sandbox = Sandbox::new(settings).expect("the engine starts");
        let digest = sandbox.load(&guest).expect("it loads").digest;
        assert!(sandbox.is_loaded(&digest));
        sandbox.origin(&digest)
    };
    let file = |extension: &str| {
        let mut files = std::fs::read_dir(&cache_dir).expect("the cache");
        let found = files.find_map(|f| {
            let path = f.expect("a file").path();
            path.extension()
                .is_some_and(|e| e == extension)
                .then_some(path)
        });
        found.expect("a file of the cache")
    };
    assert_eq!(origin(), Some(Origin::Compiled));
    assert_eq!(origin(), Some(Origin::Cached));

    let code = file("cwasm");
    let mut bytes = std::fs::read(&code).expect("code");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&code, bytes).expect("damage");
    assert_eq!(origin(), Some(Origin::Compiled), "damaged code");
    assert_eq!(origin(), Some(Origin::Cached));

    std::fs::write(file("sha256"), "0".repeat(64)).expect("damage");
    assert_eq!(origin(), Some(Origin::Compiled), "another seal");
    std::fs::remove_file(file("sha256")).expect("remove");
    assert_eq!(origin(), Some(Origin::Compiled), "no seal");

    use std::os::unix::fs::PermissionsExt;
    let mode = |path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode(cache_dir.clone()), mode(file("cwasm"))),
        (0o700, 0o600)
    );
}
