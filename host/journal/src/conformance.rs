//! The suite that every store passes: what a [`Store`] promises, as checks.
//!
//! Each check takes a fresh, empty store and panics with what was expected. A store's tests call
//! [`run_all`] with a function that makes one.

mod feed;

use std::sync::Arc;

pub use feed::run_feed;
use stoplog_model::SessionId;
use stoplog_model::state::{StateAsk, StateSeen};

use crate::chain;
use crate::opening::read_one;
use crate::state::StateRow;
use crate::store::{
    ActKeyRow, ActKeyState, Batch, CLEAR_FORMAT, Head, Lease, Link, OpenIntentRow,
    PAYLOAD_APART_BYTES, Part, Retention, Row, SnapshotRow, Store, StoreError, Upkeep, Which,
};

/// Milliseconds that the leases of the checks last.
const TTL_MS: u64 = 1000;

/// Runs every check of what a session needs, each on a fresh store.
pub async fn run_all<S, F>(mut fresh: F)
where
    S: Store + 'static,
    F: FnMut() -> Arc<S>,
{
    rows_come_back_as_written(&*fresh()).await;
    a_gap_and_a_repeat_are_refused(&*fresh()).await;
    a_lease_keeps_others_out_and_an_old_epoch_cannot_write(&*fresh()).await;
    a_dead_holder_is_replaced_at_once(&*fresh()).await;
    a_refused_batch_leaves_nothing(&*fresh()).await;
    an_act_is_claimed_once(&*fresh()).await;
    open_intents_open_and_close(&*fresh()).await;
    sessions_are_listed_latest_first(&*fresh()).await;
    a_snapshot_shortens_the_reading(&*fresh()).await;
    many_sessions_are_read_as_each_alone(&*fresh()).await;
    unfinished_sessions_are_listed_alone(&*fresh()).await;
    state_is_what_was_committed_last(&*fresh()).await;
    state_is_of_one_tenant_and_one_tool(&*fresh()).await;
    a_refused_batch_keeps_nothing(&*fresh()).await;
    many_writers_lose_nothing(fresh()).await;
}

/// Runs every check of what an operator needs, each on a fresh store.
pub async fn run_upkeep<S, F>(mut fresh: F)
where
    S: Store + Upkeep,
    F: FnMut() -> Arc<S>,
{
    pruning_takes_what_is_over_and_keeps_what_counts(&*fresh()).await;
    pruning_spares_what_is_held_or_recent(&*fresh()).await;
    a_kept_claim_is_not_that_of_a_new_session_of_the_name(&*fresh()).await;
    an_open_intent_keeps_its_own_session_alone(&*fresh()).await;
    pruning_leaves_what_tools_keep(&*fresh()).await;
    what_a_tool_keeps_can_be_forgotten(&*fresh()).await;
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("a plain name")
}

/// A row that is not about a call.
pub fn row(seq: u64, epoch: u64, body: &str) -> Row {
    Row {
        seq,
        format: CLEAR_FORMAT,
        epoch,
        at_ms: 1000 + seq,
        kind: "run_started".into(),
        iteration: None,
        ordinal: None,
        tool: None,
        args_digest: None,
        key: None,
        summary: None,
        body: body.into(),
        encrypted: None,
        chain: [seq as u8; 32],
    }
}

/// The rows with the links that they have as the first rows of a session.
pub fn chained(session: &str, mut rows: Vec<Row>) -> Vec<Row> {
    let mut before = chain::genesis(session);
    for row in &mut rows {
        row.chain = chain::link(&before, row);
        before = row.chain;
    }
    rows
}

/// A batch of rows and nothing else.
pub fn batch(session: &str, epoch: u64, rows: Vec<Row>) -> Batch {
    Batch {
        session: session.into(),
        epoch,
        rows,
        head: Head {
            tenant: "acme".into(),
            user: "u".into(),
            feature: "f".into(),
            status: "active".into(),
            trace_id: String::new(),
        },
        opened: vec![],
        closed: vec![],
        claims: vec![],
        released: vec![],
        state: vec![],
        snapshot: None,
    }
}

async fn whole(store: &dyn Store, session: &str) -> Vec<Row> {
    let reading = read_one(store, &id(session), Part::Whole).await;
    reading.expect("read").rows
}

async fn leased(store: &dyn Store, session: &str) -> Lease {
    store
        .lease(&id(session), "host-1", 0, TTL_MS, false)
        .await
        .expect("a free lease")
}

fn claim(session: &str, ordinal: u32, digest: &str, state: ActKeyState) -> ActKeyRow {
    ActKeyRow {
        scope: "tenant/acme".into(),
        key: "refund_1".into(),
        tool: "issue_refund".into(),
        session: session.into(),
        iteration: 1,
        ordinal,
        args_digest: digest.into(),
        state,
        seq: 7,
        class: 3,
        at_ms: 20,
        kept: None,
    }
}

async fn rows_come_back_as_written(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let large = format!("\"{}\"", "x".repeat(PAYLOAD_APART_BYTES + 1));
    let mut observed = row(3, lease.epoch, "{\"a\": \"\u{fc}\"}");
    observed.kind = "observed".into();
    observed.iteration = Some(4);
    observed.ordinal = Some(0);
    observed.tool = Some("t".into());
    observed.args_digest = Some("d".into());
    observed.key = Some("k".into());
    observed.summary = Some("r".into());
    let rows = vec![
        row(1, lease.epoch, "1"),
        row(2, lease.epoch, &large),
        observed,
    ];
    store
        .append(batch("s", lease.epoch, rows.clone()))
        .await
        .expect("append");
    let reading = read_one(store, &id("s"), Part::Whole).await.expect("read");
    assert_eq!(reading.rows, rows);
    let listed = reading.row.expect("listed");
    assert_eq!((listed.last_seq, listed.chain), (3, Some([3; 32])));
    let two = read_one(store, &id("s"), Part::Event(3))
        .await
        .expect("read");
    assert_eq!(two.rows, rows[1..]);
    let one = read_one(store, &id("s"), Part::Event(1))
        .await
        .expect("read");
    assert_eq!(one.rows, rows[..1]);
    let none = read_one(store, &id("none"), Part::Whole)
        .await
        .expect("read");
    assert_eq!(none, Default::default());
}

async fn a_gap_and_a_repeat_are_refused(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let one = batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]);
    store.append(one.clone()).await.expect("append");
    for (seq, got) in [(1, 1), (3, 3)] {
        let again = batch("s", lease.epoch, vec![row(seq, lease.epoch, "2")]);
        let refused = store.append(again).await;
        assert_eq!(refused, Err(StoreError::SeqTaken { last: 1, got }));
    }
    assert_eq!(whole(store, "s").await.len(), 1);
}

async fn a_lease_keeps_others_out_and_an_old_epoch_cannot_write(store: &dyn Store) {
    let first = leased(store, "s").await;
    store
        .append(batch("s", first.epoch, vec![row(1, first.epoch, "1")]))
        .await
        .expect("append");
    let refused = store
        .lease(&id("s"), "host-2", TTL_MS - 1, TTL_MS, false)
        .await;
    assert_eq!(
        refused,
        Err(StoreError::Leased(first.clone())),
        "it says who has it"
    );
    store.renew(&first, 2 * TTL_MS).await.expect("renew");
    assert!(
        store
            .lease(&id("s"), "host-2", TTL_MS + 1, TTL_MS, false)
            .await
            .is_err()
    );

    let second = store
        .lease(&id("s"), "host-2", 2 * TTL_MS, TTL_MS, false)
        .await
        .expect("lease");
    assert!(second.epoch > first.epoch);
    let fenced = Err(StoreError::Fenced {
        had: first.epoch,
        now: second.epoch,
    });
    let zombie = batch("s", first.epoch, vec![row(2, first.epoch, "z")]);
    assert_eq!(store.append(zombie).await, fenced, "a zombie cannot write");
    assert_eq!(store.renew(&first, 9 * TTL_MS).await, fenced, "nor renew");
    store
        .release(&first)
        .await
        .expect("and its release does nothing");
    assert!(
        store
            .lease(&id("s"), "host-3", 2 * TTL_MS, TTL_MS, false)
            .await
            .is_err()
    );
    store.release(&second).await.expect("release");
    let third = store
        .lease(&id("s"), "host-3", 2 * TTL_MS, TTL_MS, false)
        .await
        .expect("lease");
    assert!(third.epoch > second.epoch, "epochs never come back");
}

async fn a_dead_holder_is_replaced_at_once(store: &dyn Store) {
    let first = leased(store, "s").await;
    let second = store
        .lease(&id("s"), "host-2", 1, TTL_MS, true)
        .await
        .expect("lease");
    assert!(second.epoch > first.epoch);
}

async fn a_refused_batch_leaves_nothing(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let other = leased(store, "other").await;
    let mut taken = batch("other", other.epoch, vec![row(1, other.epoch, "1")]);
    taken.claims = vec![claim("other", 0, "d", ActKeyState::InFlight)];
    store.append(taken).await.expect("append");

    let mut refused = batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]);
    refused.opened = vec![open("s", "")];
    refused.claims = vec![claim("s", 0, "d", ActKeyState::InFlight)];
    assert!(matches!(
        store.append(refused).await,
        Err(StoreError::ActTaken(_))
    ));
    assert_eq!(whole(store, "s").await, []);
    assert_eq!(store.open_intents().await.expect("open"), []);
    store
        .append(batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]))
        .await
        .expect("the session goes on");
}

async fn an_act_is_claimed_once(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let mut first = batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]);
    first.claims = vec![claim("s", 0, "d", ActKeyState::InFlight)];
    store.append(first).await.expect("append");
    let found = store
        .act_key("tenant/acme", "refund_1")
        .await
        .expect("act key");
    assert_eq!(found, Some(claim("s", 0, "d", ActKeyState::InFlight)));
    assert_eq!(
        store
            .act_key("tenant/initech", "refund_1")
            .await
            .expect("act key"),
        None
    );

    let mut other = batch("s", lease.epoch, vec![row(2, lease.epoch, "2")]);
    other.claims = vec![claim("s", 1, "d", ActKeyState::InFlight)];
    let refused = store.append(other.clone()).await;
    assert_eq!(
        refused,
        Err(StoreError::ActTaken(claim(
            "s",
            0,
            "d",
            ActKeyState::InFlight
        ))),
        "it says who was first"
    );

    let mut done = batch("s", lease.epoch, vec![row(2, lease.epoch, "2")]);
    done.claims = vec![claim("s", 0, "d", ActKeyState::Done)];
    store
        .append(done)
        .await
        .expect("the same call settles its claim");
    let found = store
        .act_key("tenant/acme", "refund_1")
        .await
        .expect("act key");
    assert_eq!(
        found.map(|r| (r.state, r.seq)),
        Some((ActKeyState::Done, 7))
    );

    let mut foreign = batch("s", lease.epoch, vec![row(3, lease.epoch, "3")]);
    foreign.released = vec![("tenant/acme".into(), "refund_1".into(), 1, 1)];
    store.append(foreign).await.expect("append");
    assert!(
        store
            .act_key("tenant/acme", "refund_1")
            .await
            .expect("act key")
            .is_some(),
        "another call cannot give it up"
    );
    let mut own = batch("s", lease.epoch, vec![row(4, lease.epoch, "4")]);
    own.released = vec![("tenant/acme".into(), "refund_1".into(), 1, 0)];
    store.append(own).await.expect("append");
    assert_eq!(
        store
            .act_key("tenant/acme", "refund_1")
            .await
            .expect("act key"),
        None
    );
}

fn open(session: &str, label: &str) -> OpenIntentRow {
    OpenIntentRow {
        session: session.into(),
        iteration: 1,
        ordinal: 0,
        label: label.into(),
        key: "k".into(),
        attempt: 1,
        at_ms: 5,
    }
}

async fn open_intents_open_and_close(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let mut one = batch("s", lease.epoch, vec![row(1, lease.epoch, "1")]);
    one.opened = vec![open("s", ""), open("s", "b")];
    store.append(one).await.expect("append");
    assert_eq!(
        store.open_intents().await.expect("open"),
        [open("s", ""), open("s", "b")]
    );

    let mut again = batch("s", lease.epoch, vec![row(2, lease.epoch, "2")]);
    let resent = OpenIntentRow {
        attempt: 2,
        ..open("s", "")
    };
    again.opened = vec![resent.clone()];
    again.closed = vec![(1, 0, Some("b".into()))];
    store.append(again).await.expect("append");
    assert_eq!(store.open_intents().await.expect("open"), [resent]);

    let mut done = batch("s", lease.epoch, vec![row(3, lease.epoch, "3")]);
    done.closed = vec![(1, 0, None)];
    store.append(done).await.expect("append");
    assert_eq!(store.open_intents().await.expect("open"), []);
}

async fn sessions_are_listed_latest_first(store: &dyn Store) {
    for (name, at_ms) in [("a", 10), ("b", 30), ("c", 20)] {
        let lease = leased(store, name).await;
        let mut first = row(1, lease.epoch, "1");
        first.at_ms = at_ms;
        store
            .append(batch(name, lease.epoch, vec![first]))
            .await
            .expect("append");
    }
    leased(store, "empty").await;
    let listed = store.sessions(Which::All).await.expect("sessions");
    let names: Vec<&str> = listed.iter().map(|s| s.session.as_str()).collect();
    assert_eq!(
        names,
        ["b", "c", "a"],
        "a session without events is not listed"
    );
    let one = store
        .sessions(Which::One(&id("c")))
        .await
        .expect("sessions");
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].last_seq, one[0].updated_at_ms), (1, 20));
    assert_eq!(
        one[0].lease.as_ref().map(|l| l.holder.as_str()),
        Some("host-1")
    );
}

async fn a_snapshot_shortens_the_reading(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let rows: Vec<Row> = (1..=6).map(|n| row(n, lease.epoch, "1")).collect();
    let snapshot = |seq: u64, body: &str| SnapshotRow {
        seq,
        format: CLEAR_FORMAT,
        chain: [seq as u8; 32],
        seal: chain::seal(&[seq as u8; 32], body),
        body: body.into(),
    };
    let mut first = batch("s", lease.epoch, rows[..3].to_vec());
    first.snapshot = Some(snapshot(3, "old"));
    store.append(first).await.expect("append");
    let mut second = batch("s", lease.epoch, rows[3..5].to_vec());
    second.snapshot = Some(snapshot(5, "new"));
    store.append(second).await.expect("append");
    let third = batch("s", lease.epoch, rows[5..].to_vec());
    store.append(third).await.expect("append");

    let tail = read_one(store, &id("s"), Part::Tail).await.expect("read");
    assert_eq!(tail.snapshot, Some(snapshot(5, "new")));
    assert_eq!(tail.rows, [rows[0].clone(), rows[5].clone()]);
    assert_eq!(tail.row.map(|r| r.last_seq), Some(6));
    let all = read_one(store, &id("s"), Part::Whole).await.expect("read");
    assert_eq!((all.snapshot, all.rows), (None, rows));

    let lease = leased(store, "t").await;
    let only = batch("t", lease.epoch, vec![row(1, lease.epoch, "1")]);
    store.append(only).await.expect("append");
    let tail = read_one(store, &id("t"), Part::Tail).await.expect("read");
    assert_eq!((tail.snapshot, tail.rows.len()), (None, 1));
}

async fn many_sessions_are_read_as_each_alone(store: &dyn Store) {
    for (name, events) in [("a", 1), ("b", 3)] {
        let lease = leased(store, name).await;
        let rows: Vec<Row> = (1..=events).map(|n| row(n, lease.epoch, "1")).collect();
        let last = rows.last().map(|r| (r.seq, r.chain));
        let mut batch = batch(name, lease.epoch, rows);
        batch.snapshot = last
            .filter(|_| name == "b")
            .map(|(seq, chain)| SnapshotRow {
                seq,
                format: CLEAR_FORMAT,
                chain,
                seal: Link::default(),
                body: "{}".into(),
            });
        store.append(batch).await.expect("append");
    }
    // In the order in which they are asked for; one that is not there keeps its place.
    let asked: Vec<SessionId> = ["b", "none", "a", "b"].map(id).into();
    for part in [Part::Whole, Part::Tail, Part::Event(1)] {
        let together = store.read(&asked, part).await.expect("read");
        let mut alone = Vec::new();
        for id in &asked {
            alone.push(read_one(store, id, part).await.expect("read"));
        }
        assert_eq!(together, alone, "{part:?}");
        let rows: Vec<usize> = together.iter().map(|r| r.rows.len()).collect();
        let expected = match part {
            Part::Whole => [3, 0, 1, 3],
            Part::Tail | Part::Event(_) => [1, 0, 1, 1],
        };
        assert_eq!(rows, expected, "{part:?}");
    }
    assert_eq!(store.read(&[], Part::Whole).await, Ok(vec![]));
}

/// A session of one event, in this state; its lease is given back.
async fn over(store: &dyn Store, session: &str, status: &str, at_ms: u64, claims: Vec<ActKeyRow>) {
    let lease = leased(store, session).await;
    let mut first = row(1, lease.epoch, "1");
    first.at_ms = at_ms;
    let mut batch = batch(session, lease.epoch, vec![first]);
    batch.head.status = status.into();
    batch.claims = claims;
    store.append(batch).await.expect("append");
    store.release(&lease).await.expect("release");
}

async fn unfinished_sessions_are_listed_alone(store: &dyn Store) {
    for (name, status) in [("a", "active"), ("b", "ended"), ("c", "parked")] {
        over(store, name, status, 10, vec![]).await;
    }
    let names = || async {
        let listed = store.sessions(Which::Unfinished).await.expect("sessions");
        let mut names: Vec<String> = listed.into_iter().map(|s| s.session).collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["a", "c"]);
    let lease = leased(store, "a").await;
    let mut last = batch("a", lease.epoch, vec![row(2, lease.epoch, "2")]);
    last.head.status = "ended".into();
    store.append(last).await.expect("append");
    assert_eq!(names().await, ["c"]);
}

fn retention(before_ms: u64, keep_latest: u64, class_4_before_ms: u64) -> Retention {
    Retention {
        sessions_before_ms: before_ms,
        keep_latest,
        keys_before_ms: [
            before_ms,
            before_ms,
            before_ms,
            before_ms,
            class_4_before_ms,
        ],
        now_ms: 5000,
        batch: 2,
    }
}

async fn pruning_takes_what_is_over_and_keeps_what_counts<S: Store + Upkeep>(store: &S) {
    let key = |name: &str, session: &str, class: u8| ActKeyRow {
        key: name.into(),
        class,
        seq: 1,
        ..claim(session, 0, "d", ActKeyState::Done)
    };
    let both = vec![key("mail", "a", 3), key("refund", "a", 4)];
    over(store, "a", "ended", 10, both).await;
    for (name, status) in [("b", "failed"), ("c", "ended"), ("d", "active")] {
        over(store, name, status, 20, vec![]).await;
    }
    over(store, "e", "ended", 200, vec![]).await;

    let rule = retention(100, 0, 5);
    let mut sessions = 0;
    let mut steps = 0;
    loop {
        let step = store.prune(&rule).await.expect("prune");
        if step.is_nothing() {
            break;
        }
        sessions += step.sessions;
        steps += 1;
    }
    assert_eq!(
        (sessions, steps),
        (3, 2),
        "two sessions a step, three in all"
    );
    assert_eq!(whole(store, "a").await, []);
    assert_eq!(whole(store, "d").await.len(), 1, "an open session stays");
    assert_eq!(whole(store, "e").await.len(), 1, "a young session stays");
    let scope = "tenant/acme";
    assert_eq!(store.act_key(scope, "mail").await.expect("act key"), None);
    let kept = store.act_key(scope, "refund").await.expect("act key");
    let kept = kept.expect("the key of class 4 stays");
    assert_eq!(kept.kept.as_deref(), Some("1"), "with its result");

    let later = store.prune(&retention(100, 0, 100)).await.expect("prune");
    assert_eq!((later.sessions, later.keys), (0, 1), "until its own time");
    assert_eq!(store.act_key(scope, "refund").await.expect("act key"), None);
}

async fn pruning_spares_what_is_held_or_recent<S: Store + Upkeep>(store: &S) {
    for (name, at_ms) in [("a", 10), ("b", 20), ("c", 30)] {
        over(store, name, "ended", at_ms, vec![]).await;
    }
    // Its holder is good for longer than `now_ms` of the rule.
    let held = store.lease(&id("a"), "host-2", 0, 10_000, false).await;
    let held = held.expect("a free lease");
    let rule = retention(100, 1, 100);
    let step = store.prune(&rule).await.expect("prune");
    assert_eq!(step.sessions, 1, "b: a is held, c is the latest");
    assert_eq!(whole(store, "a").await.len(), 1);
    assert_eq!(whole(store, "c").await.len(), 1);
    store.release(&held).await.expect("release");
    let step = store.prune(&rule).await.expect("prune");
    assert_eq!((step.sessions, step.events), (1, 1));
    assert!(store.prune(&rule).await.expect("prune").is_nothing());
}

async fn a_kept_claim_is_not_that_of_a_new_session_of_the_name<S: Store + Upkeep>(store: &S) {
    let scope = "tenant/acme";
    let key = |name: &str, state| ActKeyRow {
        key: name.into(),
        class: 4,
        seq: 1,
        ..claim("a", 0, "d", state)
    };
    let claims = vec![
        key("refund", ActKeyState::Done),
        key("unclear", ActKeyState::InFlight),
    ];
    over(store, "a", "ended", 10, claims.clone()).await;
    let rule = retention(100, 0, 5);
    assert_eq!(store.prune(&rule).await.expect("prune").sessions, 1);

    let lease = leased(store, "a").await;
    for claim in claims {
        let mut again = batch("a", lease.epoch, vec![row(1, lease.epoch, "other")]);
        again.claims = vec![claim];
        let refused = store.append(again).await;
        assert!(
            matches!(refused, Err(StoreError::ActTaken(_))),
            "{refused:?}"
        );
    }
    store.release(&lease).await.expect("release");
    over(store, "a", "ended", 10, vec![]).await;
    assert_eq!(store.prune(&rule).await.expect("prune").sessions, 1);
    for (name, kept) in [("refund", "1"), ("unclear", "")] {
        let found = store.act_key(scope, name).await.expect("act key");
        let found = found.and_then(|r| r.kept);
        assert_eq!(
            found.as_deref(),
            Some(kept),
            "the result of the first session"
        );
    }
    let later = store.prune(&retention(100, 0, 100)).await.expect("prune");
    assert_eq!(later.keys, 2, "both go by their own time");
}

async fn an_open_intent_keeps_its_own_session_alone<S: Store + Upkeep>(store: &S) {
    for name in ["a", "b"] {
        over(store, name, "failed", 10, vec![]).await;
    }
    let lease = leased(store, "b").await;
    let mut doubt = batch("b", lease.epoch, vec![row(2, lease.epoch, "2")]);
    doubt.head.status = "failed".into();
    doubt.rows[0].at_ms = 10;
    doubt.opened = vec![OpenIntentRow {
        session: "b".into(),
        iteration: 1,
        ordinal: 0,
        label: "main".into(),
        key: "k".into(),
        attempt: 1,
        at_ms: 10,
    }];
    store.append(doubt).await.expect("append");
    store.release(&lease).await.expect("release");
    let step = store.prune(&retention(100, 0, 100)).await.expect("prune");
    assert_eq!(step.sessions, 1);
    assert_eq!(whole(store, "b").await.len(), 2, "in doubt, so it stays");
}

/// Many sessions at once, so that a store with group commit puts many batches into one.
async fn many_writers_lose_nothing<S: Store + 'static>(store: Arc<S>) {
    const WRITERS: u64 = 16;
    const BATCHES: u64 = 20;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let name = format!("s{writer}");
            let lease = leased(&*store, &name).await;
            for seq in 1..=BATCHES {
                let body = format!("{seq}");
                let rows = vec![row(seq, lease.epoch, &body)];
                store
                    .append(batch(&name, lease.epoch, rows))
                    .await
                    .expect("append");
                // One in four writers also sends what must be refused, alone.
                if writer % 4 == 0 {
                    let bad = batch(&name, lease.epoch, vec![row(seq, lease.epoch, "bad")]);
                    assert!(store.append(bad).await.is_err());
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("writer");
    }
    for writer in 0..WRITERS {
        let rows = whole(&*store, &format!("s{writer}")).await;
        let bodies: Vec<String> = rows.into_iter().map(|r| r.body).collect();
        let expected: Vec<String> = (1..=BATCHES).map(|n| n.to_string()).collect();
        assert_eq!(bodies, expected);
    }
}

/// A row of the state of `acme` and `counter`, of the event with this number.
fn kept(key: &str, value: Option<&[u8]>, seq: u64) -> StateRow {
    StateRow {
        tenant: "acme".into(),
        tool: "counter".into(),
        key: key.into(),
        value: value.map(<[u8]>::to_vec),
        seq,
        at_ms: 1000 + seq,
    }
}

/// A batch of one event that writes state.
fn keeping(session: &str, epoch: u64, seq: u64, state: Vec<StateRow>) -> Batch {
    Batch {
        state,
        ..batch(session, epoch, vec![row(seq, epoch, "1")])
    }
}

async fn value_of(store: &dyn Store, tenant: &str, tool: &str, key: &str) -> Option<Vec<u8>> {
    let ask = StateAsk::Value(key.into());
    match store.state(tenant, tool, &ask).await.expect("a look") {
        StateSeen::Value { key: told, value } if told == key => value.map(|v| v.0),
        other => panic!("{other:?}"),
    }
}

async fn keys_of(store: &dyn Store, tenant: &str, tool: &str) -> Vec<String> {
    match store.state(tenant, tool, &StateAsk::Keys).await {
        Ok(StateSeen::Keys { keys }) => keys,
        other => panic!("{other:?}"),
    }
}

async fn state_is_what_was_committed_last(store: &dyn Store) {
    let (a, b) = (leased(store, "a").await, leased(store, "b").await);
    let bytes = b"\xff\x00\xfe";
    let first = vec![
        kept("n", Some(b"1"), 1),
        kept("raw", Some(bytes), 1),
        kept("empty", Some(b""), 1),
        kept("\u{fc}", Some(b"x"), 1),
    ];
    let one = keeping("a", a.epoch, 1, first);
    store.append(one).await.expect("append");
    assert_eq!(
        value_of(store, "acme", "counter", "n").await,
        Some(b"1".to_vec())
    );
    assert_eq!(
        value_of(store, "acme", "counter", "raw").await,
        Some(bytes.to_vec())
    );
    assert_eq!(
        value_of(store, "acme", "counter", "empty").await,
        Some(vec![])
    );
    assert_eq!(value_of(store, "acme", "counter", "none").await, None);
    let order = ["empty", "n", "raw", "\u{fc}"];
    assert_eq!(keys_of(store, "acme", "counter").await, order);
    let room = store.state("acme", "counter", &StateAsk::Room).await;
    let (keys, bytes) = (4, 5 + (1 + 1) + (3 + 3) + (2 + 1));
    assert_eq!(room, Ok(StateSeen::Room { keys, bytes }));

    // Another session's commit comes later, and stands; within one, the last write does.
    let second = vec![
        kept("n", Some(b"2"), 1),
        kept("raw", None, 1),
        kept("n", Some(b"3"), 1),
        kept("none", None, 1),
    ];
    let one = keeping("b", b.epoch, 1, second);
    store.append(one).await.expect("append");
    assert_eq!(
        value_of(store, "acme", "counter", "n").await,
        Some(b"3".to_vec())
    );
    assert_eq!(
        keys_of(store, "acme", "counter").await,
        ["empty", "n", "\u{fc}"]
    );
    let third = keeping("a", a.epoch, 2, vec![kept("n", Some(b"4"), 2)]);
    store.append(third).await.expect("append");
    assert_eq!(
        value_of(store, "acme", "counter", "n").await,
        Some(b"4".to_vec())
    );
}

async fn state_is_of_one_tenant_and_one_tool(store: &dyn Store) {
    let lease = leased(store, "s").await;
    let of = |tenant: &str, tool: &str, value: &[u8]| StateRow {
        tenant: tenant.into(),
        tool: tool.into(),
        ..kept("n", Some(value), 1)
    };
    let rows = vec![
        of("acme", "counter", b"1"),
        of("acme", "other", b"2"),
        of("initech", "counter", b"3"),
    ];
    let one = keeping("s", lease.epoch, 1, rows);
    store.append(one).await.expect("append");
    for (tenant, tool, value) in [
        ("acme", "counter", Some(b"1".to_vec())),
        ("acme", "other", Some(b"2".to_vec())),
        ("initech", "counter", Some(b"3".to_vec())),
        ("initech", "other", None),
        ("acm", "ecounter", None),
    ] {
        let keys = usize::from(value.is_some());
        assert_eq!(
            value_of(store, tenant, tool, "n").await,
            value,
            "{tenant} {tool}"
        );
        assert_eq!(keys_of(store, tenant, tool).await.len(), keys);
    }
}

/// A host that lost its session writes no state either, and a batch that is refused for an act none.
async fn a_refused_batch_keeps_nothing(store: &dyn Store) {
    let first = leased(store, "s").await;
    let second = store.lease(&id("s"), "host-2", 1, TTL_MS, true).await;
    let second = second.expect("lease");
    let zombie = keeping("s", first.epoch, 1, vec![kept("n", Some(b"1"), 1)]);
    assert!(matches!(
        store.append(zombie).await,
        Err(StoreError::Fenced { .. })
    ));
    let other = leased(store, "other").await;
    let mut taken = batch("other", other.epoch, vec![row(1, other.epoch, "1")]);
    taken.claims = vec![claim("other", 0, "d", ActKeyState::InFlight)];
    store.append(taken).await.expect("append");
    let mut refused = keeping("s", second.epoch, 1, vec![kept("n", Some(b"2"), 1)]);
    refused.claims = vec![claim("s", 0, "d", ActKeyState::InFlight)];
    assert!(matches!(
        store.append(refused).await,
        Err(StoreError::ActTaken(_))
    ));
    assert_eq!(value_of(store, "acme", "counter", "n").await, None);
    assert_eq!(keys_of(store, "acme", "counter").await, [""; 0]);
    let own = keeping("s", second.epoch, 1, vec![kept("n", Some(b"3"), 1)]);
    store.append(own).await.expect("append");
    assert_eq!(
        value_of(store, "acme", "counter", "n").await,
        Some(b"3".to_vec())
    );
}

async fn pruning_leaves_what_tools_keep<S: Store + Upkeep>(store: &S) {
    let lease = leased(store, "s").await;
    let mut over = keeping("s", lease.epoch, 1, vec![kept("n", Some(b"1"), 1)]);
    over.head.status = "ended".into();
    store.append(over).await.expect("append");
    store.release(&lease).await.expect("release");
    let retention = Retention {
        sessions_before_ms: 1_000_000,
        keep_latest: 0,
        keys_before_ms: [1_000_000; 5],
        now_ms: 0,
        batch: 10,
    };
    let pruned = store.prune(&retention).await.expect("prune");
    assert_eq!(pruned.sessions, 1);
    assert_eq!(
        value_of(store, "acme", "counter", "n").await,
        Some(b"1".to_vec())
    );
}

async fn what_a_tool_keeps_can_be_forgotten<S: Store + Upkeep>(store: &S) {
    let lease = leased(store, "s").await;
    let mut rows: Vec<StateRow> = ["a", "b", "c"].map(|k| kept(k, Some(b"1"), 1)).into();
    rows.push(StateRow {
        tenant: "initech".into(),
        ..kept("a", Some(b"2"), 1)
    });
    let one = keeping("s", lease.epoch, 1, rows);
    store.append(one).await.expect("append");
    let forget = |key| store.forget_state("acme", "counter", key);
    assert_eq!(forget(Some("none")).await, Ok(0));
    assert_eq!(forget(Some("a")).await, Ok(1));
    assert_eq!(keys_of(store, "acme", "counter").await, ["b", "c"]);
    assert_eq!(forget(None).await, Ok(2));
    assert_eq!(keys_of(store, "acme", "counter").await, [""; 0]);
    assert_eq!(
        value_of(store, "initech", "counter", "a").await,
        Some(b"2".to_vec())
    );
}
