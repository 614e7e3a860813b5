use super::*;
use crate::testkit::*;

fn told(spans: &[Span]) -> String {
    let story = Story::of(spans).expect("a story");
    explain(&story, |ms| format!("at {}", ms % 100_000)).join("\n")
}

#[track_caller]
fn says(text: &str, sentences: &[&str]) {
    let mut rest = text;
    for sentence in sentences {
        let at = rest.find(sentence);
        let at =
            at.unwrap_or_else(|| panic!("`{sentence}` is not there, or not in its place:\n{text}"));
        rest = &rest[at + sentence.len()..];
    }
}

#[test]
fn a_run_that_was_killed_is_told_in_its_order() {
    let mut spans = killed("s");
    // Whatever order they come in.
    spans.reverse();
    says(
        &told(&spans),
        &[
            "Session s of tenant acme, user suresh, workflow refunds: 3 runs, 3 steps. It ended with an answer.",
            "cost 0.013000 dollars in all.",
            "Run 1 (trace 00000000000000000000000000000001) began",
            "Step 1  The model m (version m-1, prompt abc) read 100 tokens and wrote 10 in 20 ms, for \
             0.004000 dollars. It asked for orders.",
            "orders (class 1, read-only) answered in 20 ms",
            "Step 2  The model m",
            "It asked for refund.",
            "A person was asked about refund (class 4, irreversible); after 20 ms, Meera said yes.",
            "The run stopped there, to wait for a person (approval_required).",
            "Run 2",
            "went on with iteration 2.",
            "It remembered what was done before, and did none of it again: orders.",
            "The host died in refund (class 4, irreversible), begun under the key refund_448200~",
            "nobody knew then whether it was done.",
            "The host died there. The run has no end.",
            "because the host of the run before had died.",
            "The host had not seen the answer of refund (class 4, irreversible). It asked the far side under",
            "it was done: {\"refund_id\":\"rf_78\"}",
            "It gave its answer.",
            "The run ended with an answer after 20 ms.",
        ],
    );
}

#[test]
fn every_way_a_call_can_come_about_has_its_sentence() {
    use ToolStatus::*;
    for (status, disposition, sentence) in [
        (Success, "executed", "was done in 20 ms under the key k"),
        (
            Error,
            "executed",
            "failed after 20 ms under the key k: precondition.",
        ),
        (Timeout, "executed", "ran out of time after 20 ms"),
        (
            Success,
            "deduplicated",
            "was not done again: it had been done before under the key k",
        ),
        (
            Error,
            "probed",
            "It asked the far side under the key k: it was not done.",
        ),
        (
            Error,
            "refused",
            "The host refused refund (class 4, irreversible), and nothing was run: precondition.",
        ),
        (
            Waiting,
            "parked",
            "waits for a person under the key k: nobody knows whether it was done",
        ),
        (Success, "parked", "A person decided what became of refund"),
        (Running, "running", "is under way under the key k."),
    ] {
        let spans = [
            span(
                "s",
                1,
                0,
                0,
                end(Outcome::Interrupt, Some("shutting_down"), None, 1),
            ),
            span("s", 1, 0, 1, call("refund", 4, status, disposition, "k")),
        ];
        says(&told(&spans), &[sentence]);
    }
    let nothing_left = call("refund", 4, ToolStatus::Error, "in_doubt", "");
    let crashed = [
        span("s", 1, 0, 0, end(Outcome::Crashed, None, None, 1)),
        span("s", 1, 0, 1, nothing_left),
    ];
    says(
        &told(&crashed),
        &[
            "nobody has gone on with it yet",
            "nothing that changes anything had left",
        ],
    );
}

#[test]
fn a_claim_without_a_deed_is_told() {
    let spans = [
        span(
            "s",
            1,
            0,
            0,
            end(Outcome::Error, Some("unsupported_claim"), None, 1),
        ),
        span("s", 1, 0, 1, crate::testkit::turn(10)),
    ];
    says(
        &told(&spans),
        &["The answer said that something was done, and no call had done it. It was not delivered"],
    );
}

#[test]
fn people_who_say_no_or_nothing_are_told() {
    for (decision, by, sentence) in [
        (Decision::Rejected, "Meera", "Meera said no."),
        (
            Decision::Expired,
            "clock",
            "nobody answered within 20 ms, which is a no.",
        ),
        (Decision::Pending, "", "and has not answered yet."),
    ] {
        let spans = [
            span(
                "s",
                1,
                0,
                0,
                end(Outcome::Interrupt, Some("approval_required"), None, 1),
            ),
            span("s", 1, 0, 1, question(decision, by)),
        ];
        says(&told(&spans), &[sentence]);
    }
}
