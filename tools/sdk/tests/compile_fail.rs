//! Each file of `compile_fail/` breaks one rule; the message beside it says what to add.
//! `TRYBUILD=overwrite cargo test -p stoplog-sdk --test compile_fail` rewrites the messages.

#[test]
fn broken_tools_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
