use super::*;
use crate::conformance::{chained, row};
use crate::store::{Head, SessionRow};

fn reading(rows: Vec<Row>) -> Reading {
    let last = rows.last().expect("rows");
    let row = SessionRow {
        session: "s".into(),
        head: Head {
            tenant: "acme".into(),
            user: "u".into(),
            feature: "f".into(),
            status: "active".into(),
            trace_id: String::new(),
        },
        last_seq: last.seq,
        chain: Some(last.chain),
        updated_at_ms: last.at_ms,
        lease: None,
    };
    Reading {
        row: Some(row),
        snapshot: None,
        rows,
    }
}

fn three() -> Reading {
    let rows = (1..=3).map(|seq| row(seq, 1, "{}")).collect();
    reading(chained("s", rows))
}

fn refused(change: impl FnOnce(&mut Reading)) -> String {
    let mut reading = three();
    change(&mut reading);
    check("s", &reading).expect_err("damage").to_string()
}

#[test]
fn a_chain_holds() {
    let reading = three();
    assert_eq!(check("s", &reading), Ok(reading.rows[2].chain));
}

#[test]
fn every_kind_of_damage_names_the_first_broken_row() {
    type Change = fn(&mut Reading);
    let second: [Change; 10] = [
        |r| r.rows[1].body = "{ }".into(),
        |r| r.rows[1].kind = "run_ended".into(),
        |r| r.rows[1].at_ms += 1,
        |r| r.rows[1].epoch += 1,
        |r| r.rows[1].format += 1,
        |r| r.rows[1].summary = Some(String::new()),
        |r| r.rows[1].tool = Some("t".into()),
        |r| r.rows[1].key = Some("k".into()),
        |r| r.rows[1].iteration = Some(0),
        |r| r.rows[1].chain[31] ^= 1,
    ];
    for change in second {
        let why = refused(change);
        assert!(why.contains("session s, event 2"), "{why}");
    }
    assert!(refused(|r| drop(r.rows.remove(1))).contains("event 3"));
    assert!(refused(|r| drop(r.rows.pop())).contains("ends with event 2"));
    assert!(refused(|r| r.rows.swap(0, 1)).contains("event 2"));
    assert!(refused(|r| r.row = None).contains("not listed"));
}

#[test]
fn a_row_of_another_session_does_not_fit() {
    let reading = three();
    assert!(check("t", &reading).is_err());
}

#[test]
fn iteration_and_ordinal_are_told_apart() {
    let mut one = row(1, 1, "{}");
    let mut other = one.clone();
    one.iteration = Some(1);
    other.ordinal = Some(1);
    let before = genesis("s");
    assert_ne!(link(&before, &one), link(&before, &other));
}

/// Whoever has the file and no key must not be able to try out texts: of two encryptions of one
/// text, the links have nothing in common.
#[test]
fn a_link_is_made_over_what_is_stored() {
    let encrypted = |stored: &str| Row {
        encrypted: Some(stored.into()),
        ..row(1, 1, "{}")
    };
    let before = genesis("s");
    let (one, other) = (encrypted("enc1:a"), encrypted("enc1:b"));
    assert_ne!(link(&before, &one), link(&before, &other));
    let other_text = Row {
        body: "{\"a\":1}".into(),
        ..one.clone()
    };
    assert_eq!(link(&before, &one), link(&before, &other_text));
}
