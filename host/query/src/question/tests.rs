use super::*;
use crate::slowest;

fn filter(among: &[(Dimension, &str)]) -> Filter {
    let one = |(d, v): &(Dimension, &str)| (*d, vec![Cell::from(*v)]);
    Filter {
        among: among.iter().map(one).collect(),
        ..Filter::default()
    }
}

#[test]
fn the_kind_follows_from_what_is_asked() {
    use Dimension::*;
    let check = |among: &[Dimension], by: &[Dimension], expected: Kind| {
        let among: Vec<(Dimension, &str)> = among.iter().map(|d| (*d, "x")).collect();
        assert_eq!(
            filter(&among).kind_for(by),
            Ok(expected),
            "{among:?} {by:?}"
        );
    };
    check(&[Tenant], &[], Kind::Run);
    check(&[Status], &[Tenant, Day], Kind::Run);
    check(&[], &[ModelVersion], Kind::LlmCall);
    check(&[Tenant], &[PromptVersionHash, FinishReason], Kind::LlmCall);
    check(&[Tool, Status], &[], Kind::ToolCall);
    check(&[Class], &[Tenant], Kind::ToolCall);
    check(&[Tool], &[ModelVersion], Kind::ToolCall);
    check(&[], &[Decision], Kind::Approval);
}

#[test]
fn what_a_kind_has_not_is_an_error_that_names_who_has_it() {
    let runs = Filter {
        kind: Some(Kind::Run),
        ..Filter::default()
    };
    let error = groups(&runs, &[Dimension::ModelVersion], SortBy::Count, 10).expect_err("none");
    assert_eq!(
        error.to_string(),
        "a final_response has no model_version; what has one: llm_call, tool_call"
    );
    let calls = filter(&[(Dimension::Tool, "issue_refund")]);
    let error = list(&calls, SortBy::Cost, 10).expect_err("free");
    assert_eq!(
        error.to_string(),
        "a list of tool_call cannot be sorted by cost; sort by latency or start"
    );
    let error = groups(&calls, &[Dimension::Tool], SortBy::Start, 10).expect_err("no start");
    assert!(
        error
            .to_string()
            .ends_with("sort by latency, count or errors"),
        "{error}"
    );
}

/// Whatever a person types is a value, and never SQL.
#[test]
fn values_are_bound() {
    let evil = "x' OR 1=1 --";
    for dimension in Dimension::ALL {
        for kind in Kind::ALL.into_iter().filter(|k| k.has(dimension)) {
            let filter = Filter {
                kind: Some(kind),
                since_ms: Some(1),
                until_ms: Some(2),
                ..filter(&[(dimension, evil)])
            };
            let (listed, columns) = list(&filter, SortBy::Start, 5).expect("list");
            let (grouped, _) = groups(&filter, &[dimension], SortBy::Count, 5).expect("groups");
            let (slow, _) = slowest::spans(&filter, 5);
            for said in [&listed, &grouped, &slow] {
                assert!(!said.sql.contains("OR 1=1"), "{}", said.sql);
                let marks = said.sql.matches('?').count();
                assert_eq!(marks, said.values.len(), "{}", said.sql);
                assert_eq!(said.values[0], Cell::from(evil));
            }
            assert!(columns.len() > 5);
        }
    }
}

#[test]
fn what_was_replayed_is_counted_only_where_dispositions_are_asked_for() {
    let replayed = "disposition <> 'replayed'";
    let calls = filter(&[(Dimension::Tool, "t")]);
    let (said, _) = list(&calls, SortBy::Start, 5).expect("list");
    assert!(said.sql.contains(replayed));
    let (said, _) = groups(&calls, &[Dimension::Disposition], SortBy::Count, 5).expect("groups");
    assert!(!said.sql.contains(replayed));
    let (said, _) = slowest::spans(&calls, 5);
    assert!(said.sql.contains("<> 'replayed'"));
}
