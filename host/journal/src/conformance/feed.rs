//! What a [`Feed`] promises, as checks.

use std::sync::Arc;

use super::{batch, leased, over, retention, row};
use crate::chain;
use crate::feed::{Cursor, Fed, Feed, Portion};
use crate::store::{Store, Upkeep};

/// Runs every check of what a projection needs, each on fresh stores.
pub async fn run_feed<S, F>(mut fresh: F)
where
    S: Store + Upkeep + Feed + 'static,
    F: FnMut() -> Arc<S>,
{
    rows_come_once_in_the_order_of_their_commits(&*fresh()).await;
    portions_are_kept_and_one_row_always_comes(&*fresh()).await;
    a_place_outlives_what_lay_before_it(&*fresh()).await;
    a_place_of_another_journal_is_told(&*fresh(), &*fresh()).await;
    many_writers_are_all_followed(fresh()).await;
}

/// More than any check writes.
const ALL: Portion = Portion {
    rows: 1_000_000,
    bytes: usize::MAX,
};

async fn fed(store: &dyn Feed, after: &Cursor, portion: Portion) -> Fed {
    let fed = store.feed(after, portion).await.expect("feed");
    fed.expect("a place of this journal")
}

fn names(fed: &Fed) -> Vec<(&str, u64)> {
    fed.rows
        .iter()
        .map(|(session, row)| (session.as_str(), row.seq))
        .collect()
}

async fn write(store: &dyn Store, session: &str, seqs: &[u64]) {
    let lease = leased(store, session).await;
    let one = |seq: &u64| {
        let mut row = row(*seq, lease.epoch, "1");
        row.chain = chain::link(&chain::genesis(session), &row);
        row
    };
    let rows = batch(session, lease.epoch, seqs.iter().map(one).collect());
    store.append(rows).await.expect("append");
    store.release(&lease).await.expect("release");
}

async fn rows_come_once_in_the_order_of_their_commits<S: Store + Feed>(store: &S) {
    let start = Cursor::start();
    assert_eq!(fed(store, &start, ALL).await, Fed::default(), "empty");
    write(store, "a", &[1, 2]).await;
    write(store, "b", &[1]).await;
    let first = fed(store, &start, ALL).await;
    assert_eq!(names(&first), [("a", 1), ("a", 2), ("b", 1)]);
    assert!(!first.has_more);
    write(store, "a", &[3]).await;
    let second = fed(store, &first.cursor, ALL).await;
    assert_eq!(names(&second), [("a", 3)], "only what is new");
    assert_eq!(second.rows[0].1.body, "1", "whole rows");
    let third = fed(store, &second.cursor, ALL).await;
    assert_eq!((third.rows.len(), &third.cursor), (0, &second.cursor));
    let again = Cursor::from_text(first.cursor.as_text());
    assert_eq!(
        fed(store, &again, ALL).await,
        second,
        "a place is kept as text"
    );
}

async fn portions_are_kept_and_one_row_always_comes<S: Store + Feed>(store: &S) {
    write(store, "a", &[1, 2, 3]).await;
    let two = Portion { rows: 2, ..ALL };
    let first = fed(store, &Cursor::start(), two).await;
    assert_eq!(names(&first), [("a", 1), ("a", 2)]);
    assert!(first.has_more);
    let narrow = Portion { bytes: 0, ..ALL };
    let second = fed(store, &Cursor::start(), narrow).await;
    assert_eq!(names(&second), [("a", 1)], "one, however large");
    let rest = fed(store, &second.cursor, ALL).await;
    assert_eq!(names(&rest), [("a", 2), ("a", 3)]);
}

/// Pruning may take the very last row, and what comes next must not hide behind the place.
async fn a_place_outlives_what_lay_before_it<S: Store + Upkeep + Feed>(store: &S) {
    for name in ["a", "b"] {
        over(store, name, "ended", 10, vec![]).await;
    }
    let all = fed(store, &Cursor::start(), ALL).await;
    while !store
        .prune(&retention(100, 0, 100))
        .await
        .expect("prune")
        .is_nothing()
    {}
    let left = fed(store, &Cursor::start(), ALL).await;
    assert_eq!(names(&left), [], "all of it is pruned");
    write(store, "c", &[1]).await;
    let new = fed(store, &all.cursor, ALL).await;
    assert_eq!(names(&new), [("c", 1)]);
}

async fn a_place_of_another_journal_is_told<S: Store + Feed>(store: &S, other: &S) {
    write(store, "a", &[1, 2, 3]).await;
    let cursor = fed(store, &Cursor::start(), ALL).await.cursor;
    write(other, "z", &[1]).await;
    let foreign = other.feed(&cursor, ALL).await.expect("feed");
    assert_eq!(foreign, None, "it was never so far");
    write(other, "z", &[2, 3, 4]).await;
    let foreign = other.feed(&cursor, ALL).await.expect("feed");
    assert_eq!(foreign, None, "it has another row there");
    let nonsense = Cursor::from_text("nonsense");
    let foreign = other.feed(&nonsense, ALL).await.expect("feed");
    assert_eq!(foreign, None);
}

async fn many_writers_are_all_followed<S: Store + Feed + 'static>(store: Arc<S>) {
    const WRITERS: u64 = 8;
    const BATCHES: u64 = 20;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for seq in 1..=BATCHES {
                write(&*store, &format!("s{writer}"), &[seq]).await;
            }
        }));
    }
    let mut seen = Vec::new();
    let mut cursor = Cursor::start();
    while seen.len() < (WRITERS * BATCHES) as usize {
        let portion = Portion { rows: 7, ..ALL };
        let next = fed(&*store, &cursor, portion).await;
        seen.extend(
            next.rows
                .into_iter()
                .map(|(session, row)| (session, row.seq)),
        );
        cursor = next.cursor;
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.expect("writer");
    }
    for writer in 0..WRITERS {
        let own = |(session, _): &&(String, u64)| *session == format!("s{writer}");
        let seqs: Vec<u64> = seen.iter().filter(own).map(|(_, seq)| *seq).collect();
        assert_eq!(
            seqs,
            (1..=BATCHES).collect::<Vec<_>>(),
            "each once, in order"
        );
    }
}
