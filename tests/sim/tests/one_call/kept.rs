//! What a tool keeps between its calls, as its runs see it.

use stoplog_journal::conformance::{batch, row};
use stoplog_journal::{StateRow, States, Store, read_one};
use stoplog_model::state::{
    BYTES, KEY_BYTES, KEYS, LOOKS_A_CALL, PAGE_KEYS, StateAsk, StateGot, StateOp, StateRefused,
    StateSeen, VALUE_BYTES, WRITES_A_CALL, WRITTEN_BYTES_A_CALL,
};

use super::*;

/// One thing that a run does.
#[derive(Debug, Clone)]
enum Step {
    Get(&'static str),
    Set(&'static str, &'static str),
    /// A value of so many bytes.
    Fill(String, usize),
    Delete(&'static str),
    /// All pages of keys, each as `N keys, LAST`.
    Keys,
    /// What is committed, past the run.
    Outside(&'static str),
    /// A call of another session writes, and is committed.
    Another(&'static str, &'static str),
    Post,
    /// The run ends with an error of the tool's own.
    Fail,
}
use Step::{Another, Delete, Fail, Fill, Get, Keys, Outside, Post, Set};

/// A tool that does in its so-manieth run what its list says, and the last list from then on.
struct Script {
    runs: Vec<Vec<Step>>,
    /// What its probe does.
    probe: Vec<Step>,
    store: Arc<MemoryStore>,
    /// What `call` got, a list a run.
    got: Mutex<Vec<Vec<String>>>,
    /// What the last probe got.
    probed: Mutex<Vec<String>>,
}

fn shown(got: Result<StateGot, StateRefused>) -> String {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    match got {
        Ok(StateGot::Value(value)) => value.map_or("none".into(), text),
        Ok(StateGot::Done) => "done".into(),
        Ok(other) => format!("{other:?}"),
        Err(refused) => refused.to_string(),
    }
}

async fn committed(store: &MemoryStore, key: &str) -> String {
    let seen = store
        .state("acme", "tool", &StateAsk::Value(key.into()))
        .await;
    match seen {
        Ok(StateSeen::Value { value, .. }) => shown(Ok(StateGot::Value(value.map(|v| v.0)))),
        other => panic!("{other:?}"),
    }
}

/// Another session, of the same tenant, has kept these.
async fn another_keeps(store: &MemoryStore, rows: &[(&str, &[u8])]) {
    let id = SessionId::new("another").expect("id");
    let lease = store.lease(&id, "h", 0, 1_000, true).await.expect("lease");
    let read = read_one(store, &id, Part::Whole).await.expect("read");
    let seq = read.rows.len() as u64 + 1;
    let row_of = |(key, value): &(&str, &[u8])| StateRow {
        tenant: "acme".into(),
        tool: "tool".into(),
        key: (*key).into(),
        value: Some(value.to_vec()),
        seq,
        at_ms: 1,
    };
    let mut commit = batch("another", lease.epoch, vec![row(seq, lease.epoch, "1")]);
    commit.state = rows.iter().map(row_of).collect();
    store.append(commit).await.expect("append");
}

impl Script {
    async fn step(&self, step: &Step, gate: &dyn Gate) -> String {
        let op = match step.clone() {
            Get(key) => StateOp::Get(key.into()),
            Set(key, value) => StateOp::Set(key.into(), value.into()),
            Fill(key, bytes) => StateOp::Set(key, vec![b'v'; bytes]),
            Delete(key) => StateOp::Delete(key.into()),
            Outside(key) => return committed(&self.store, key).await,
            Another(key, value) => {
                another_keeps(&self.store, &[(key, value.as_bytes())]).await;
                return "kept".into();
            }
            Post => {
                let sent = gate.perform("", request("POST", "pay", b"1")).await;
                return sent.map_or_else(|e| e.to_string(), |r| r.status.to_string());
            }
            Keys => return pages(gate).await,
            Fail => return "failed".into(),
        };
        shown(gate.state(op).await)
    }
}

async fn pages(gate: &dyn Gate) -> String {
    let mut told = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        match gate.state(StateOp::Keys(at)).await {
            Ok(StateGot::Keys(keys, next)) => {
                let last = keys.last().cloned().unwrap_or_default();
                told.push(format!("{} keys, {last}", keys.len()));
                from = next;
            }
            other => return format!("{other:?}"),
        }
    }
    told.join("; ")
}

#[async_trait]
impl Runner for Script {
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran {
        let is_call = matches!(job.entry, Entry::Call { .. });
        let nth = self.got.lock().expect("lock").len();
        let steps = match is_call {
            true => &self.runs[nth.min(self.runs.len() - 1)],
            false => &self.probe,
        };
        let mut got = Vec::new();
        for step in steps {
            got.push(self.step(step, &*gate).await);
        }
        let failed = got.iter().any(|g| g == "failed");
        match is_call {
            true => self.got.lock().expect("lock").push(got),
            false => *self.probed.lock().expect("lock") = got,
        }
        let result = match job.entry {
            Entry::Call { .. } if failed => Returned::Error(
                ToolError::of_host(ErrorCode::Precondition, Reason::InputSchema, "no")
                    .with_aftermath(Aftermath::Untouched),
            ),
            Entry::Call { .. } => Returned::Text(json!({ "id": "1" }).to_string()),
            _ => Returned::Finding(Finding::Absent),
        };
        Ran {
            result: Ok(result),
            log: String::new(),
            annotations: Vec::new(),
            spans: Vec::new(),
        }
    }
}

/// A call of a tool whose runs are these, as far as it got.
struct Told {
    dispatched: Dispatched,
    got: Vec<Vec<String>>,
    scene: Scene,
}

async fn told(runs: &[&[Step]], losses: usize, state: bool) -> Told {
    let store = Arc::new(MemoryStore::new());
    told_with(store, runs, losses, state).await
}

async fn told_with(store: Arc<MemoryStore>, runs: &[&[Step]], losses: usize, state: bool) -> Told {
    let script = Arc::new(Script {
        runs: runs.iter().map(|steps| steps.to_vec()).collect(),
        probe: Vec::new(),
        store: store.clone(),
        got: Mutex::default(),
        probed: Mutex::default(),
    });
    let scene = Scene::of(store, script.clone(), ("/pay", losses), state).await;
    let dispatched = scene.dispatch(AT).await;
    let got = script.got.lock().expect("lock").clone();
    Told {
        dispatched,
        got,
        scene,
    }
}

fn is_ok(told: &Told) -> bool {
    let Dispatched::Observed(observation) = &told.dispatched else {
        return false;
    };
    matches!(observation.observed().result, CallResult::Ok(_))
}

#[tokio::test(start_paused = true)]
async fn a_call_sees_its_own_writes_and_others_see_them_once_it_is_observed() {
    let steps = [
        Get("n"),
        Set("n", "1"),
        Set("m", "2"),
        Get("n"),
        Outside("n"),
        Delete("m"),
        Get("m"),
        Keys,
    ];
    let told = told(&[&steps], 0, true).await;
    let expected = [
        "none",
        "done",
        "done",
        "1",
        "none",
        "done",
        "none",
        "1 keys, n",
    ];
    assert_eq!(told.got, [expected]);
    assert!(is_ok(&told), "{:?}", told.dispatched);
    assert_eq!(committed(&told.scene.store, "n").await, "1");
    assert_eq!(committed(&told.scene.store, "m").await, "none");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_keeps_nothing() {
    let told = told(&[&[Set("n", "1"), Fail]], 0, true).await;
    assert!(matches!(told.dispatched, Dispatched::Observed(_)) && !is_ok(&told));
    assert_eq!(committed(&told.scene.store, "n").await, "none");
}

/// The answer is lost and the tool is run again, and meanwhile another call has written: the rerun
/// sees what the first run saw, and of the two the one that is committed later stands.
#[tokio::test(start_paused = true)]
async fn a_rerun_sees_the_state_that_the_first_run_saw() {
    let first = [Get("n"), Get("old"), Keys, Post];
    let again = [
        Another("n", "9"),
        Get("n"),
        Get("old"),
        Keys,
        Post,
        Outside("n"),
        Set("n", "1"),
    ];
    let store = Arc::new(MemoryStore::new());
    another_keeps(&store, &[("old", b"7")]).await;
    let told = told_with(store, &[&first, &again], 1, true).await;
    assert_eq!(told.got[0][..3], ["none", "7", "1 keys, old"]);
    assert_eq!(
        told.got[1],
        ["kept", "none", "7", "1 keys, old", "200", "9", "done"]
    );
    assert!(is_ok(&told), "{:?}", told.dispatched);
    assert_eq!(committed(&told.scene.store, "n").await, "1");
}

/// A rerun that looks at something else first is another call: it sends nothing, and keeps nothing.
#[tokio::test(start_paused = true)]
async fn a_rerun_that_looks_at_other_state_is_parked() {
    let runs: [&[Step]; 2] = [&[Get("n"), Post], &[Get("other"), Set("n", "1"), Post]];
    let told = told(&runs, 1, true).await;
    assert!(
        told.got[1][0].contains("was not looked at before"),
        "{:?}",
        told.got
    );
    assert!(
        matches!(
            told.dispatched,
            Dispatched::Waits(Wait::Parked(Reason::Nondeterministic))
        ),
        "{:?}",
        told.dispatched
    );
    assert_eq!(told.scene.sent(), ["/pay"]);
    assert_eq!(committed(&told.scene.store, "n").await, "none");
}

/// So that a rerun before the observation writes what the first run would have: once, not twice.
#[tokio::test(start_paused = true)]
async fn writes_of_a_run_in_doubt_are_not_added_to_those_of_the_next() {
    let store = Arc::new(MemoryStore::new());
    another_keeps(&store, &[("n", b"1")]).await;
    let run = [Get("n"), Set("n", "2"), Post, Get("n")];
    let told = told_with(store, &[&run], 2, true).await;
    assert_eq!(told.got.len(), 3, "{:?}", told.got);
    assert!(told.got.iter().all(|got| got[0] == "1" && got[3] == "2"));
    assert_eq!(committed(&told.scene.store, "n").await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_the_lock_gives_no_state_has_none() {
    let told = told(&[&[Get("n"), Set("n", "1")]], 0, false).await;
    for got in &told.got[0] {
        assert!(got.starts_with("state_denied: stoplog.lock"), "{got}");
    }
    assert_eq!(committed(&told.scene.store, "n").await, "none");
}

#[tokio::test(start_paused = true)]
async fn a_probe_looks_and_does_not_write() {
    let run = [Post, Set("n", "1")];
    let probe = [Get("n"), Set("n", "2"), Delete("n")];
    let store = Arc::new(MemoryStore::new());
    let script = Arc::new(Script {
        runs: vec![run.to_vec()],
        probe: probe.to_vec(),
        store: store.clone(),
        got: Mutex::default(),
        probed: Mutex::default(),
    });
    let scene = Scene::of(store, script.clone(), ("", 0), true).await;
    let called = scene.dispatch(AT).await;
    assert!(matches!(called, Dispatched::Observed(_)), "{called:?}");
    scene
        .dispatcher
        .confirm(&scene.journal, AT)
        .await
        .expect("asked");
    let got = script.probed.lock().expect("lock").clone();
    assert_eq!(got[0], "1");
    assert!(got[1].starts_with("state_denied: `probe`"), "{got:?}");
    assert!(got[2].starts_with("state_denied: `probe`"), "{got:?}");
    assert_eq!(committed(&scene.store, "n").await, "1");
}

/// Each limit at its edge: what just fits, and what does not.
#[tokio::test(start_paused = true)]
async fn limits_of_one_call_are_kept() {
    let name = |n: usize| "k".repeat(n);
    let fill = |n: usize| Fill(format!("k{n:03}"), VALUE_BYTES - 4);
    let cases: [(&str, Vec<Step>, usize); 5] = [
        (
            "a key",
            vec![Fill(name(KEY_BYTES), 1), Fill(name(KEY_BYTES + 1), 1)],
            1,
        ),
        ("no key", vec![Fill(String::new(), 1)], 0),
        (
            "a value",
            vec![Fill(name(1), VALUE_BYTES), Fill(name(1), VALUE_BYTES + 1)],
            1,
        ),
        (
            "keys",
            (0..=WRITES_A_CALL)
                .map(|n| Fill(format!("{n}"), 1))
                .collect(),
            WRITES_A_CALL,
        ),
        (
            "bytes",
            (0..=WRITTEN_BYTES_A_CALL / VALUE_BYTES).map(fill).collect(),
            WRITTEN_BYTES_A_CALL / VALUE_BYTES,
        ),
    ];
    for (what, steps, fits) in cases {
        let told = told(&[&steps], 0, true).await;
        let (done, rest) = told.got[0].split_at(fits);
        assert!(done.iter().all(|got| got == "done"), "{what}: {done:?}");
        assert!(
            rest.len() == 1 && rest[0].starts_with("state_limit: "),
            "{what}: {rest:?}"
        );
        // What was written before stays the call's.
        let keys = told
            .scene
            .store
            .state("acme", "tool", &StateAsk::Keys)
            .await;
        let kept = matches!(&keys, Ok(StateSeen::Keys { keys }) if keys.len() == fits);
        assert!(kept, "{what}: {keys:?}");
    }
    let looks = vec![Get("n"); LOOKS_A_CALL as usize + 1];
    let told = told(&[&looks], 0, true).await;
    let refused = told.got[0]
        .iter()
        .filter(|got| got.starts_with("state_limit: "));
    assert_eq!(refused.count(), 1);
}

/// What is full takes nothing new; what is written over, deleted or made smaller is let.
#[tokio::test(start_paused = true)]
async fn what_a_tool_keeps_in_all_is_bounded() {
    let full: Vec<String> = (0..KEYS).map(|n| format!("k{n:04}")).collect();
    let rows: Vec<(&str, &[u8])> = full.iter().map(|key| (key.as_str(), &b"v"[..])).collect();
    let store = Arc::new(MemoryStore::new());
    another_keeps(&store, &rows).await;
    let steps = [
        Set("new", "1"),
        Get("k0001"),
        Set("k0001", "2"),
        Delete("k0001"),
        Set("new", "1"),
    ];
    let told = told_with(store, &[&steps], 0, true).await;
    assert!(told.got[0][0].starts_with("state_limit: more than 1000 keys"));
    assert_eq!(told.got[0][1..], ["v", "done", "done", "done"]);

    let value = vec![b'v'; VALUE_BYTES - 2];
    let names: Vec<String> = (10..10 + BYTES / VALUE_BYTES as u64)
        .map(|n| n.to_string())
        .collect();
    let rows: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &value[..])).collect();
    let store = Arc::new(MemoryStore::new());
    another_keeps(&store, &rows).await;
    let steps = [Set("n", ""), Get("10"), Set("10", "small"), Set("n", "")];
    let told = told_with(store, &[&steps], 0, true).await;
    assert!(told.got[0][0].starts_with("state_limit: more than 1048576 bytes"));
    assert_eq!(told.got[0][2..], ["done", "done"]);
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_pages() {
    let names: Vec<String> = (0..PAGE_KEYS + 1).map(|n| format!("k{n:03}")).collect();
    let rows: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"v"[..])).collect();
    let store = Arc::new(MemoryStore::new());
    another_keeps(&store, &rows).await;
    let steps = [Keys, Delete("k000"), Delete("k001"), Set("z", "1"), Keys];
    let told = told_with(store, &[&steps], 0, true).await;
    assert_eq!(told.got[0][0], "100 keys, k099; 1 keys, k100");
    assert_eq!(told.got[0][4], "100 keys, z");
}
