//! Components that are small and want to become large: tables, memories, segments, instances.

use std::fmt::Write as _;

use super::guests::{ECHO, EMPTY, pure_with};
use super::*;

/// What becomes of a component with this in its core module: `describe` says so, as `tool add`
/// would. A reason, and its message.
async fn described(more: &str) -> Result<(), (Reason, String)> {
    let bytes = pure_with(more, ECHO, EMPTY);
    let described = SANDBOX.describe(&bytes).await;
    described.map(|_| ()).map_err(|e| (e.reason, e.message))
}

async fn refused(more: &str, says: &str) {
    let (reason, message) = described(more).await.expect_err(says);
    let known = [Reason::ToolNotComponent, Reason::SandboxLimit];
    assert!(known.contains(&reason), "{reason}: {message}");
    assert!(message.contains(says), "{message}");
}

#[tokio::test]
async fn what_is_small_and_modest_is_taken() {
    let modest = "(table 1000 funcref) (func $f) (elem (i32.const 0) func $f $f) (data \"x\")";
    assert_eq!(described(modest).await, Ok(()));
}

#[tokio::test]
async fn tables_and_memories_are_not_reserved_at_will() {
    refused("(table 10000000 funcref)", "table").await;
    refused("(table 4294967295 funcref)", "table").await;
    refused("(memory 65536)", "memor").await;
    refused("(table 200001 funcref)", "table").await;
    refused(&"(table 1 funcref) ".repeat(100), "table").await;
    refused(&"(memory 1) ".repeat(10), "memor").await;
}

/// 2,000 segments of 2,000 elements each come from 8 MB, and are written one over the other.
#[tokio::test]
async fn segments_over_segments_cost_no_more_than_their_bytes() {
    let mut more = String::from("(table 2000 funcref) (func $f)");
    let elements = "$f ".repeat(2_000);
    for _ in 0..200 {
        let _ = write!(more, "(elem (i32.const 0) func {elements})");
    }
    assert_eq!(described(&more).await, Ok(()));
    // Beyond its end: a trap when it is instantiated, which is told as one.
    let beyond = "(table 1 funcref) (func $f) (elem (i32.const 1) func $f)";
    let (reason, message) = described(beyond).await.expect_err("out of bounds");
    assert_eq!(reason, Reason::SandboxTrap, "{message}");
}

/// A segment of a few bytes that a loop copies into all of its memory, again and again.
#[tokio::test]
async fn memory_that_is_filled_for_ever_is_stopped() {
    let fill = "(loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 1000000))
        (br $l)) (unreachable)";
    let inspection = SANDBOX.load(&pure_with("", fill, EMPTY)).expect("it loads");
    let ran = SANDBOX
        .run(
            job(&inspection.digest, Class::Pure, 300),
            Arc::new(Noting::default()),
        )
        .await;
    assert_eq!(ran.result, Err(RunError::Timeout(300)));
}

#[tokio::test]
async fn a_table_that_grows_is_counted() {
    let grow = "(loop $l
          (br_if $l (i32.ne (table.grow (ref.null func) (i32.const 999)) (i32.const -1))))
        (unreachable)";
    let more = "(table 0 funcref)";
    let inspection = SANDBOX.load(&pure_with(more, grow, EMPTY)).expect("loads");
    let ran = SANDBOX
        .run(
            job(&inspection.digest, Class::Pure, 10_000),
            Arc::new(Noting::default()),
        )
        .await;
    match ran.result {
        Err(RunError::Limit(message)) => assert!(message.starts_with("tables: "), "{message}"),
        other => panic!("{other:?}"),
    }
}

/// Components in components: 2 to the 20th core instances from a file of a few hundred bytes.
#[test]
fn instances_of_instances_are_counted_before_they_are_made() {
    let mut text = String::from("(component\n(component $c0 (core module $m) ");
    text.push_str("(core instance (instantiate $m)))\n");
    for level in 1..=20 {
        let below = level - 1;
        let _ = writeln!(
            text,
            "(component $c{level} (alias outer 1 $c{below} (component $b))
               (instance (instantiate $b)) (instance (instantiate $b)))"
        );
    }
    text.push_str("(instance (instantiate $c20)) (instance $empty)\n");
    for name in ["about", "pure-tool"] {
        let _ = writeln!(
            text,
            "(export \"stoplog:tool/{name}@0.1.0\" (instance $empty))"
        );
    }
    text.push(')');
    let bytes = wat::parse_str(&text).expect("wat");
    let error = SANDBOX.load(&bytes).expect_err("too many instances");
    assert_eq!(error.reason, Reason::ToolNotComponent, "{error}");
    assert!(error.message.contains("instan"), "{error}");
}

/// An answer of 1 GiB, which is more than the guest has: nothing of it is copied.
#[tokio::test]
async fn an_answer_beyond_the_guests_memory_is_a_trap() {
    let call = "(call $ok (i32.const 0) (i32.const 1073741824))";
    let ran = run_pure(call, 5_000).await;
    match ran.result {
        Err(RunError::Trapped(why)) => assert!(why.contains("out of bounds"), "{why}"),
        other => panic!("{other:?}"),
    }
}
