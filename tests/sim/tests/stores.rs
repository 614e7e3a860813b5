//! The three stores against each other: the same seeded calls, and the same answers call by call.
//! With faults, a store must be as one that did the call, or as one that did not, as the fault says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use stoplog_journal::conformance::{batch, row};
use stoplog_journal::{
    ActKeyRow, ActKeyState, Batch, Lease, OpenIntentRow, Part, Retention, SnapshotRow, StateRow,
    Store, StoreError, Upkeep, Which,
};
use stoplog_model::SessionId;
use stoplog_model::state::StateAsk;
use stoplog_sim::dice::Dice;
use stoplog_store::{FAULT_TEXT, Fault, FaultyStore, MemoryStore, Op, SqliteStore};

const SESSIONS: [&str; 2] = ["one", "two"];
const ACTS: [&str; 3] = ["a", "b", "c"];
/// Keys of the state that a tool keeps.
const KEYS: [&str; 3] = ["k", "l", "m"];
const CALLS: u32 = 60;

/// One call of a store, with all that it needs.
#[derive(Debug, Clone)]
enum Call {
    Append(Batch),
    Read(Vec<SessionId>, Part),
    Lease(SessionId, &'static str, u64, bool),
    Renew(Lease, u64),
    Release(Lease),
    Sessions(Listed),
    ActKey(&'static str),
    OpenIntents,
    State(&'static str, StateAsk),
}

/// Which sessions to list.
#[derive(Debug, Clone)]
enum Listed {
    All,
    One(SessionId),
    Unfinished,
}

impl Listed {
    fn which(&self) -> Which<'_> {
        match self {
            Listed::All => Which::All,
            Listed::One(id) => Which::One(id),
            Listed::Unfinished => Which::Unfinished,
        }
    }
}

/// Makes the call, and gives its answer as text: what it says must be the same in every store.
async fn answer(store: &dyn Store, call: &Call) -> Result<String, StoreError> {
    fn text<T: std::fmt::Debug>(value: T) -> String {
        format!("{value:?}")
    }
    match call.clone() {
        Call::Append(batch) => store.append(batch).await.map(text),
        Call::Read(ids, part) => store.read(&ids, part).await.map(text),
        Call::Lease(id, holder, now_ms, dead) => {
            store.lease(&id, holder, now_ms, 1000, dead).await.map(text)
        }
        Call::Renew(lease, until_ms) => store.renew(&lease, until_ms).await.map(text),
        Call::Release(lease) => store.release(&lease).await.map(text),
        Call::Sessions(listed) => store.sessions(listed.which()).await.map(text),
        Call::ActKey(key) => store.act_key("tenant/acme", key).await.map(text),
        Call::OpenIntents => store.open_intents().await.map(text),
        Call::State(tenant, ask) => store.state(tenant, "t", &ask).await.map(text),
    }
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("an id")
}

/// The next call: mostly one that fits the present state, at times one that is to be refused.
async fn next(dice: &mut Dice, store: &MemoryStore, now_ms: u64) -> Call {
    let session = *dice.pick(&SESSIONS);
    let found = store
        .sessions(Which::One(&id(session)))
        .await
        .expect("sessions");
    let last_seq = found.first().map_or(0, |s| s.last_seq);
    let epoch = dice.below(3) + epoch_of(store, session).await.saturating_sub(1);
    let lease = Lease {
        session: session.into(),
        holder: "h1".into(),
        epoch,
        expires_at_ms: now_ms + 1000,
    };
    match dice.below(22) {
        0..=9 => {
            let gap = if dice.percent(10) { dice.below(3) } else { 1 };
            let rows = (0..1 + dice.below(3))
                .map(|i| row(last_seq + gap + i, epoch, &format!("{}", dice.below(1000))))
                .collect();
            Call::Append(with_tables(dice, batch(session, epoch, rows)))
        }
        10 => {
            let part = [Part::Whole, Part::Tail, Part::Event(1 + dice.below(4))];
            let mut ids = vec![id(session)];
            ids.extend(SESSIONS.map(id).into_iter().filter(|_| dice.percent(30)));
            Call::Read(ids, *dice.pick(&part))
        }
        11..=13 => {
            let holder = *dice.pick(&["h1", "h2"]);
            Call::Lease(id(session), holder, now_ms, dice.percent(30))
        }
        14 => Call::Renew(lease, now_ms + 1000),
        15 => Call::Release(lease),
        16 => Call::Sessions(match dice.below(3) {
            0 => Listed::All,
            1 => Listed::One(id(session)),
            _ => Listed::Unfinished,
        }),
        17 => Call::OpenIntents,
        18..=19 => {
            let key = (*dice.pick(&KEYS)).to_owned();
            let ask = [StateAsk::Value(key), StateAsk::Keys, StateAsk::Room];
            Call::State(
                dice.pick::<&str>(&["acme", "initech"]),
                dice.pick(&ask).clone(),
            )
        }
        _ => Call::ActKey(dice.pick::<&str>(&ACTS)),
    }
}

/// The epoch in force, asked for by a batch that no epoch fits.
async fn epoch_of(store: &MemoryStore, session: &str) -> u64 {
    match store.append(batch(session, u64::MAX, Vec::new())).await {
        Err(StoreError::Fenced { now, .. }) => now,
        other => panic!("{other:?}"),
    }
}

fn with_tables(dice: &mut Dice, mut batch: Batch) -> Batch {
    let place = (1, dice.below(2) as u32);
    let label = ["", "fee"][dice.below(2) as usize].to_owned();
    if dice.percent(40) {
        batch.opened.push(OpenIntentRow {
            session: batch.session.clone(),
            iteration: place.0,
            ordinal: place.1,
            label: label.clone(),
            key: "k".into(),
            attempt: 1,
            at_ms: 5,
        });
    }
    if dice.percent(30) {
        let label = dice.percent(50).then_some(label);
        batch.closed.push((place.0, place.1, label));
    }
    if dice.percent(20) {
        batch.head.status = (*dice.pick(&["ended", "failed"])).to_owned();
    }
    if let Some(last) = batch.rows.last().filter(|_| dice.percent(20)) {
        batch.snapshot = Some(SnapshotRow {
            seq: last.seq,
            format: 1,
            chain: last.chain,
            seal: [7; 32],
            body: "{}".into(),
        });
    }
    if let Some(last) = batch.rows.last().filter(|_| dice.percent(30)) {
        let value = dice.percent(70).then(|| vec![dice.below(256) as u8]);
        batch.state.push(StateRow {
            tenant: (*dice.pick(&["acme", "initech"])).to_owned(),
            tool: "t".into(),
            key: (*dice.pick(&KEYS)).to_owned(),
            value,
            seq: last.seq,
            at_ms: 5,
        });
    }
    let key = (*dice.pick(&ACTS)).to_owned();
    if dice.percent(30) {
        batch.claims.push(ActKeyRow {
            scope: "tenant/acme".into(),
            key,
            tool: "t".into(),
            session: batch.session.clone(),
            iteration: place.0,
            ordinal: place.1,
            args_digest: "d".into(),
            state: *dice.pick(&[ActKeyState::InFlight, ActKeyState::Done]),
            seq: dice.below(5),
            class: dice.below(5) as u8,
            at_ms: dice.below(50),
            kept: None,
        });
    } else if dice.percent(30) {
        let act = ("tenant/acme".to_owned(), key, place.0, place.1);
        batch.released.push(act);
    }
    batch
}

/// Everything that a store holds, as text.
async fn all(store: &dyn Store) -> Vec<String> {
    let mut calls = vec![
        Call::Sessions(Listed::All),
        Call::OpenIntents,
        Call::Read(SESSIONS.map(id).to_vec(), Part::Tail),
    ];
    calls.extend(ACTS.map(Call::ActKey));
    for tenant in ["acme", "initech"] {
        calls.extend(KEYS.map(|key| Call::State(tenant, StateAsk::Value(key.into()))));
        calls.extend([StateAsk::Keys, StateAsk::Room].map(|ask| Call::State(tenant, ask)));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(answer(store, &call).await.expect("a look"));
    }
    answers
}

/// Prunes both stores, step by step with the same answers. Gives the number of sessions.
async fn prune_alike(memory: &MemoryStore, sqlite: &SqliteStore, seed: u64) -> u64 {
    let rule = Retention {
        sessions_before_ms: u64::MAX >> 1,
        keep_latest: 0,
        keys_before_ms: [30, 30, 30, 30, 10],
        now_ms: u64::from(CALLS) * 150,
        batch: 1,
    };
    let mut sessions = 0;
    loop {
        let step = memory.prune(&rule).await.expect("memory");
        assert_eq!(
            sqlite.prune(&rule).await.expect("sqlite"),
            step,
            "seed {seed}"
        );
        assert_eq!(all(sqlite).await, all(memory).await, "seed {seed}");
        if step.is_nothing() {
            return sessions;
        }
        sessions += step.sessions;
    }
}

#[tokio::test]
async fn three_stores_give_the_same_answers() {
    let (mut fine, mut refused, mut pruned) = (0, 0, 0);
    for seed in 0..60 {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = SqliteStore::open(&folder.path().join("journal.db")).expect("sqlite");
        let memory = Arc::new(MemoryStore::new());
        let under = Arc::new(MemoryStore::new());
        let faulty = FaultyStore::new(under, Arc::new(|_: Op| Fault::None));
        let mut dice = Dice::new(seed, "stores");
        for number in 0..CALLS {
            let call = next(&mut dice, &memory, u64::from(number) * 150).await;
            let expected = answer(&*memory, &call).await;
            let context = format!("seed {seed}, call {number}: {call:?}");
            assert_eq!(answer(&sqlite, &call).await, expected, "sqlite, {context}");
            assert_eq!(answer(&faulty, &call).await, expected, "faulty, {context}");
            match expected {
                Ok(_) => fine += 1,
                Err(_) => refused += 1,
            }
        }
        let expected = all(&*memory).await;
        assert_eq!(all(&sqlite).await, expected, "seed {seed}");
        assert_eq!(all(&faulty).await, expected, "seed {seed}");
        pruned += prune_alike(&memory, &sqlite, seed).await;
    }
    assert!(pruned > 0, "no session was over, and free to go");
    assert!(
        fine > 200 && refused > 100,
        "{fine} fine, {refused} refused"
    );
}

#[tokio::test]
async fn a_faulty_store_did_it_or_did_not_as_the_fault_says() {
    let mut faults = 0;
    let mut met = BTreeSet::new();
    for seed in 0..200 {
        let mut dice = Dice::new(seed, "faulty stores");
        let model = MemoryStore::new();
        let under = Arc::new(MemoryStore::new());
        let coming: Arc<Mutex<Fault>> = Arc::new(Mutex::new(Fault::None));
        let told = coming.clone();
        let called = Arc::new(Mutex::new(Op::Append));
        let calls = called.clone();
        let schedule = move |op: Op| {
            *calls.lock().expect("lock") = op;
            *told.lock().expect("lock")
        };
        let faulty = FaultyStore::new(under.clone(), Arc::new(schedule));
        for number in 0..CALLS {
            let call = next(&mut dice, &model, u64::from(number) * 150).await;
            let fault = *dice.pick(&[Fault::None, Fault::None, Fault::Before, Fault::After]);
            *coming.lock().expect("lock") = fault;
            let got = answer(&faulty, &call).await;
            let context = format!("seed {seed}, call {number}, {fault:?}: {call:?}");
            let expected = match fault {
                Fault::Before => None,
                _ => Some(answer(&model, &call).await),
            };
            let refused = matches!(&expected, Some(Err(_)));
            if fault == Fault::None || refused {
                assert_eq!(Some(got), expected, "{context}");
            } else {
                let error = got.expect_err("the fault").to_string();
                assert!(error.contains(FAULT_TEXT), "{error}, {context}");
                faults += 1;
                met.insert((*called.lock().expect("lock"), fault));
            }
            assert_eq!(all(&*under).await, all(&model).await, "{context}");
        }
    }
    assert!(faults > 1000, "{faults} faults");
    for op in Op::ALL {
        for fault in [Fault::Before, Fault::After] {
            assert!(met.contains(&(op, fault)), "never {fault:?} {op:?}");
        }
    }
}
