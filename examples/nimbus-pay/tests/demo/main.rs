//! The demo as a newcomer runs it, and what the people on call then ask of its data.

mod desk;
mod evidence;
mod questions;
mod runbook;
mod scene;
#[path = "../waiting/mod.rs"]
mod waiting;

/// Twice in one folder: see [`desk::played`].
#[test]
fn the_demo_keeps_its_promise_again_and_again() {
    for said in &desk::played().said {
        let last = said.lines().last();
        assert_eq!(last, Some("refunds done by the backend: 1"), "{said}");
        // Priya's four turns: 0.004 + 0.005 + 0.006 + 0.003 dollars, exactly.
        assert!(said.contains("0.018000"), "{said}");
        assert!(said.contains("refund_448100_delay"), "{said}");
        assert!(said.contains("It resumed at iteration 4"), "{said}");
        let nothing = "Beyond the resume nothing differs.";
        assert!(said.contains(nothing), "{said}");
    }
}
