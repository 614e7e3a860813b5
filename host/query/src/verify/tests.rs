//! A sound journal, and one change at a time: each is named.

use std::path::Path;

use stoplog_journal::{ActKeyState, Cipher, OpenIntentRow, SnapshotRow, StoreError, chain, codec};
use stoplog_model::Session;
use stoplog_store::SqliteStore;

use super::*;
use crate::export;

const NAME: &str = "sess_suresh";

/// A session of a real run: 28 events, a refund that was killed and recovered.
async fn sound() -> Dossier {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/format-1.db");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("journal.db");
    std::fs::copy(golden, &path).expect("copy");
    let store = SqliteStore::open(&path).expect("open");
    let mut dossier = store.dossier(NAME).await.expect("dossier");
    dossier.snapshot = Some(snapshot(&dossier, 20));
    dossier
}

/// The snapshot behind so many events.
fn snapshot(dossier: &Dossier, events: usize) -> SnapshotRow {
    let rows = &dossier.rows[..events];
    let records: Result<Vec<_>, StoreError> = rows.iter().map(codec::decode).collect();
    let session = Session::fold(&records.expect("records"))
        .expect("legal")
        .expect("a session");
    codec::freeze(&session, rows[events - 1].chain).expect("freeze")
}

fn sealed(mut snapshot: SnapshotRow) -> SnapshotRow {
    snapshot.seal = chain::seal(&snapshot.chain, &snapshot.body);
    snapshot
}

#[tokio::test]
async fn a_session_as_it_was_written_is_sound() {
    let dossier = sound().await;
    assert!(!dossier.act_keys.is_empty(), "a refund claims its act");
    let found = session(NAME, &dossier, true).expect("sound");
    assert_eq!((found.events, found.snapshots), (28, 1));
    assert_eq!(found.last, dossier.rows.last().map(|r| r.chain));
    assert_eq!(
        session("nobody", &Dossier::default(), true),
        Ok(Sound::default())
    );
}

/// One change of the stored rows, the kind of row that is named, and its number.
#[tokio::test]
async fn every_change_is_named() {
    type Change = fn(&mut Dossier);
    let changes: [(Change, &str, Option<u64>); 22] = [
        (|d| d.rows[6].body.push(' '), "", Some(7)),
        (|d| d.rows[6].summary = Some("no".into()), "", Some(7)),
        (|d| d.rows[6].chain[0] ^= 1, "", Some(7)),
        (|d| d.rows[6].at_ms += 1, "", Some(7)),
        (|d| drop(d.rows.remove(6)), "", Some(8)),
        (|d| d.rows.swap(6, 7), "", Some(8)),
        (|d| drop(d.rows.pop()), "session", None),
        (|d| d.rows.clear(), "session", None),
        (|d| d.listed = None, "session", None),
        (|d| d.lease_epoch = 0, "session", None),
        (|d| listed(d).last_seq += 1, "session", None),
        (|d| listed(d).head.status = "active".into(), "session", None),
        (|d| listed(d).head.tenant = "other".into(), "session", None),
        (|d| listed(d).head.trace_id = "0".into(), "session", None),
        (|d| listed(d).chain = None, "session", None),
        (|d| stored(d).body.push(' '), "snapshot", None),
        (|d| stored(d).seq += 1, "snapshot", None),
        (
            |d| {
                let mut other = snapshot(d, 12);
                (other.seq, other.chain) = (20, d.rows[19].chain);
                d.snapshot = Some(sealed(other));
            },
            "snapshot",
            None,
        ),
        (|d| d.open_intents.push(stray_intent()), "open_intent", None),
        (|d| d.act_keys.clear(), "act_key", None),
        (
            |d| d.act_keys[0].state = ActKeyState::InFlight,
            "act_key",
            None,
        ),
        (|d| d.act_keys[0].args_digest.push('0'), "act_key", None),
    ];
    let good = sound().await;
    for (i, (change, kind, seq)) in changes.into_iter().enumerate() {
        let mut dossier = good.clone();
        change(&mut dossier);
        let flaw = session(NAME, &dossier, true).expect_err(&format!("change {i}"));
        assert_eq!((flaw.session.as_str(), flaw.seq), (NAME, seq), "change {i}");
        assert!(kind.is_empty() || flaw.kind == kind, "change {i}: {flaw}");
    }
}

fn listed(dossier: &mut Dossier) -> &mut SessionRow {
    dossier.listed.as_mut().expect("listed")
}

fn stored(dossier: &mut Dossier) -> &mut SnapshotRow {
    dossier.snapshot.as_mut().expect("a snapshot")
}

fn stray_intent() -> OpenIntentRow {
    OpenIntentRow {
        session: NAME.into(),
        iteration: 1,
        ordinal: 0,
        label: "main".into(),
        key: "k".into(),
        attempt: 1,
        at_ms: 1,
    }
}

/// Without a chain the numbers, the columns and the fold are left.
#[tokio::test]
async fn a_journal_without_a_chain_is_folded_and_compared() {
    let mut dossier = sound().await;
    dossier.snapshot = None;
    for row in &mut dossier.rows {
        row.chain = Link::default();
    }
    listed(&mut dossier).chain = None;
    assert_eq!(session(NAME, &dossier, false).map(|s| s.last), Ok(None));
    let observed = dossier.rows.iter().position(|r| r.kind == "observed");
    let observed = observed.expect("an observation");
    dossier.rows[observed].key = Some("another".into());
    let flaw = session(NAME, &dossier, false).expect_err("another key");
    assert_eq!(flaw.seq, Some(observed as u64 + 1));
}

#[tokio::test]
async fn a_kept_result_must_be_that_of_its_act() {
    let dossier = sound().await;
    let mut kept = dossier.act_keys[0].clone();
    let row = dossier.rows.iter().find(|r| r.seq == kept.seq);
    kept.kept = row.map(|r| r.body.clone());
    assert_eq!(kept_key(&kept), None);
    kept.args_digest.push('0');
    assert!(kept_key(&kept).is_some_and(|p| p.contains("another call")));
    kept.kept = None;
    assert!(kept_key(&kept).is_some());
}

#[tokio::test]
async fn any_byte_of_an_export_counts() {
    let dossier = sound().await;
    let tenant = dossier.listed.as_ref().map(|l| l.head.tenant.clone());
    let text = export::text(NAME, &tenant.expect("listed"), 1000, dossier.rows.clone());
    let good = text.expect("a file").into_bytes();
    let found = export::check(&good, &Cipher::none()).expect("sound");
    assert_eq!((found.events, found.session.as_str()), (28, NAME));
    assert_eq!(Some(found.last), dossier.rows.last().map(|r| r.chain));
    let lines = |upto: usize| good[..upto].iter().filter(|b| **b == b'\n').count() as u64;
    let mut named = 0;
    let sample: Vec<usize> = (0..good.len())
        .step_by(211)
        .chain(good.len() - 90..good.len())
        .collect();
    for at in &sample {
        let mut bytes = good.clone();
        bytes[*at] ^= 1 << (at % 8);
        let broken = export::check(&bytes, &Cipher::none()).expect_err(&format!("byte {at}"));
        let line = match broken {
            export::Unsound::Broken(e) => e.line,
            export::Unsound::Shut(e) => panic!("byte {at}: {e}"),
        };
        named += usize::from(line == lines(*at) + 1);
    }
    assert!(named * 10 > sample.len() * 8, "{named} of {}", sample.len());
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        assert!(
            export::check(&good[..cut], &Cipher::none()).is_err(),
            "cut at {cut}"
        );
    }
    let longer = [&good[..], b"\n"].concat();
    assert!(export::check(&longer, &Cipher::none()).is_err());
}

#[tokio::test]
async fn links_that_are_made_for_a_file_are_those_of_the_journal() {
    let dossier = sound().await;
    let mut bare = dossier.rows.clone();
    bare.iter_mut().for_each(|r| r.chain = Link::default());
    assert_eq!(export::linked(NAME, bare), dossier.rows);
}
