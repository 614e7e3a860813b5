//! The demo as a newcomer runs it, twice in one folder.

use std::path::Path;
use std::process::Command;

fn play(dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nimbus-pay"))
        .arg("demo")
        .arg("--dir")
        .arg(dir)
        .output()
        .expect("the demo runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}

#[test]
fn the_demo_keeps_its_promise_again_and_again() {
    let dir = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let said = play(dir.path());
        let last = said.lines().last();
        assert_eq!(last, Some("refunds done by the backend: 1"), "{said}");
        // Priya's four turns: 0.004 + 0.005 + 0.006 + 0.003 dollars, exactly.
        assert!(said.contains("0.018000"), "{said}");
        assert!(said.contains("refund_448100_delay"), "{said}");
        assert!(said.contains("It resumed at iteration 4"), "{said}");
    }
}
