use super::*;
use crate::testkit::*;

use stoplog_telemetry::ToolStatus;

fn compared(first: &[Span], second: &[Span]) -> Diff {
    let story = |spans| Story::of(spans).expect("a story");
    diff(&story(first), &story(second))
}

#[test]
fn a_kill_and_a_resume_are_no_difference() {
    let diff = compared(&clean("a"), &killed("b"));
    assert_eq!(diff.differences, []);
    let same: Vec<(&str, usize)> = diff.same.into_iter().collect();
    assert_eq!(
        same,
        [
            ("call", 2),
            ("cost", 1),
            ("end", 1),
            ("question", 1),
            ("turn", 3)
        ]
    );
    let told = diff.resume.join("\n");
    for sentence in [
        "the first: run 1 stopped in order (approval_required)",
        "the second: the host died in run 2",
        "the second: refund was under way when the host died",
        "the second: run 3 went on with iteration 2",
        "the second: run 3 remembered 1 call(s)",
        "the second: the far side was asked what had become of refund",
    ] {
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
}

#[test]
fn what_was_done_otherwise_is_a_difference() {
    let check = |change: &dyn Fn(&mut Vec<Span>), expected: &str| {
        let mut other = killed("b");
        change(&mut other);
        let diff = compared(&clean("a"), &other);
        assert_eq!(
            diff.differences.len(),
            1,
            "{expected}: {:?}",
            diff.differences
        );
        let what = &diff.differences[0].what;
        assert!(what.contains(expected), "{expected}: {what}");
    };
    let last_call = |spans: &mut Vec<Span>, change: &dyn Fn(&mut ToolCall)| {
        for span in spans {
            if let Detail::ToolCall(call) = &mut span.detail
                && call.disposition == "probed"
            {
                change(call);
            }
        }
    };
    check(
        &|spans| {
            for span in spans {
                if let Detail::ToolCall(call) = &mut span.detail
                    && call.tool_name == "refund"
                {
                    call.idempotency_key = "refund_448201".into();
                }
            }
        },
        "idempotency_key",
    );
    check(
        &|s| last_call(s, &|c| c.result_summary = "{}".into()),
        "result",
    );
    check(
        &|s| last_call(s, &|c| c.result_status = ToolStatus::Timeout),
        "result_status",
    );
    check(
        &|s| last_call(s, &|c| c.disposition = "deduplicated".into()),
        "disposition",
    );
    check(
        &|s| {
            s.push(span(
                "b",
                3,
                1,
                25,
                call("refund", 4, ToolStatus::Success, "executed", "x"),
            ))
        },
        "call of refund in step 2",
    );
    check(
        &|s| {
            for span in s {
                if let Detail::HitlApproval { decided_by, .. } = &mut span.detail {
                    *decided_by = "the agent".into();
                }
            }
        },
        "decided_by",
    );
}

/// A call has one key, whatever happens to its host.
#[test]
fn another_key_behind_the_crash_is_a_difference() {
    let mut other = killed("b");
    for span in &mut other {
        if let Detail::ToolCall(call) = &mut span.detail
            && call.disposition == "in_doubt"
        {
            call.idempotency_key = "refund_448200_again".into();
        }
    }
    let found = compared(&clean("a"), &other).differences;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].what,
        "key of refund in the second, before and after the host died"
    );
}

/// An answer of a model that died with its host is paid for, and told apart from the rest.
#[test]
fn what_died_with_the_host_is_no_difference_of_cost() {
    let attempt = |cost: u64| Detail::Retry {
        what: "chat m".into(),
        attempt: 1,
        error: "provider_transient".into(),
        cost_usd: cost as f64 / 1e6,
        cost_usd_micros: UsdMicros(cost),
    };
    let mut other = killed("b");
    other.push(span("b", 2, 1, 15, attempt(700)));
    let diff = compared(&clean("a"), &other);
    assert_eq!(diff.differences, []);
    assert!(
        diff.resume
            .iter()
            .any(|l| l.contains("died with the host, and cost 0.000700")),
        "{diff:?}"
    );
    // In a run that lived it is one.
    other.push(span("b", 3, 1, 25, attempt(700)));
    let found = compared(&clean("a"), &other).differences;
    let found: Vec<&str> = found.iter().map(|d| d.what.as_str()).collect();
    assert_eq!(
        found,
        ["attempt at chat m in step 2", "cost in all: cost_usd"]
    );
}
