//! The questions of three in the morning (requirements 41 to 48, 54 to 56, 64, 65), on Priya's, Suresh's
//! and Farhan's traces.

use serde_json::{Value, json};

use crate::desk::{Desk, column};

/// Requirement 41.
#[test]
fn slow_runs_of_a_tenant() {
    let desk = Desk::new();
    let args = "traces --tenant acme --since 1h --sort-by latency";
    let rows = desk.rows(&args.split(' ').collect::<Vec<_>>());
    assert_eq!(column(&rows, "session_id"), ["sess_88"]);
    assert_eq!(rows[0]["status"], "success");
    assert_eq!(rows[0]["cost_usd"], 0.018);
    // Of all tenants together: each run, a killed one too, the slowest first.
    let rows = desk.rows(&["traces", "--since", "1h", "--sort-by", "latency"]);
    let latencies: Vec<u64> = rows
        .iter()
        .filter_map(|r| r["latency_ms"].as_u64())
        .collect();
    assert_eq!(latencies.len(), 7);
    assert!(latencies.is_sorted_by(|a, b| a >= b), "{latencies:?}");
    let crashed = rows.iter().filter(|r| r["status"] == "crashed");
    assert_eq!(crashed.count(), 1);
    // Nothing of an hour that has not come.
    let said = desk.run(&["traces", "--until", "2020-01-01"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.contains("of 7 run(s)"), "{said:?}");
}

/// Requirements 42 and 54.
#[test]
fn failing_calls_of_a_tool() {
    let desk = Desk::new();
    let args = "traces --tool issue_refund --status error --since 24h";
    let rows = desk.rows(&args.split(' ').collect::<Vec<_>>());
    // The latest first: nobody knew then what had become of Suresh's; Farhan's was declined.
    assert_eq!(column(&rows, "session_id"), ["sess_suresh", "sess_farhan"]);
    assert_eq!(column(&rows, "disposition"), ["in_doubt", "executed"]);
    assert_eq!(rows[1]["error_code"], "precondition");
    assert_eq!(rows[1]["idempotency_key"], "refund_441800_delay");
    // What the far side answered with an error, alone.
    let rows = desk.rows(&[
        "traces",
        "--tool",
        "issue_refund",
        "--status",
        "error",
        "--disposition",
        "executed",
    ]);
    assert_eq!(column(&rows, "session_id"), ["sess_farhan"]);
    // Sessions, by SQL.
    let sql = "SELECT DISTINCT session_id FROM tool_calls WHERE tool_name = 'issue_refund'
               AND status = 'error' AND disposition = 'executed'";
    assert_eq!(
        desk.json(&["sql", sql]),
        json!([{"session_id": "sess_farhan"}])
    );
}

/// Requirements 43, 44 and 64: another model shows in every roll-up.
#[test]
fn by_model_and_by_prompt() {
    let desk = Desk::new();
    let rows = desk.rows(&["traces", "--group-by", "model_version"]);
    assert_eq!(
        column(&rows, "model_version"),
        ["2026-03-01", "2026-04-01-fast"]
    );
    assert_eq!(column(&rows, "count"), [17, 4]);
    assert_eq!(column(&rows, "cost_usd"), [0.06, 0.0045]);
    let rows = desk.rows(&["traces", "--group-by", "prompt_version_hash"]);
    assert_eq!(column(&rows, "count"), [21], "one prompt, in all sessions");
    let hash = rows[0]["prompt_version_hash"].as_str().unwrap_or_default();
    assert_eq!(hash.len(), 12, "{rows:?}");
    // The new model's calls fail, though each of its turns is a success.
    let rows = desk.rows(&[
        "traces",
        "--kind",
        "tool_call",
        "--group-by",
        "model_version,prompt_version_hash",
        "--sort-by",
        "errors",
        "--disposition",
        "executed",
    ]);
    assert_eq!(
        column(&rows, "model_version"),
        ["2026-04-01-fast", "2026-03-01"]
    );
    assert_eq!(column(&rows, "errors"), [1, 0]);
    assert_eq!(rows[0]["error_rate"], 0.25);
}

/// Requirements 47, 48 and 55.
#[test]
fn cost_by_tenant_and_feature() {
    let desk = Desk::new();
    let csv = desk.file("cost-summary.csv");
    let path = csv.to_str().expect("text");
    desk.ask(&["cost", "--by", "tenant,feature,day", "--csv", path]);
    let text = std::fs::read_to_string(&csv).expect("the file");
    let mut lines = text.lines();
    let header = "tenant_id,feature,day,llm_calls,failed_attempts,input_tokens,output_tokens,\
                  cache_read_tokens,cache_write_tokens,cost_usd,price_versions";
    assert_eq!(lines.next(), Some(header));
    let day = desk.json(&["sql", "SELECT day FROM runs WHERE tenant_id = 'acme'"]);
    let day = day[0]["day"].as_str().expect("a day");
    let acme = format!("acme,refund_handling,{day},5,0,5740,340,0,0,0.018000,none");
    assert_eq!(lines.next(), Some(acme.as_str()), "Priya: 4 + 5 + 6 + 3");
    let tenants: Vec<&str> = lines.filter_map(|l| l.split(',').next()).collect();
    assert!(tenants.contains(&"initech"), "{text}");
    // The sums are those of the spans, to the micro-dollar, whatever they are asked by.
    let spent = desk.json(&["sql", "SELECT sum(cost_usd_micros) AS n FROM all_spans"]);
    for by in [
        "tenant",
        "feature,model",
        "user,day",
        "session",
        "price_version",
    ] {
        let csv = desk.ask(&["cost", "--by", by, "--since", "7d", "--csv", "-"]);
        let at = csv
            .lines()
            .next()
            .and_then(|h| h.split(',').position(|c| c == "cost_usd"));
        let at = at.expect("a column");
        let sum: u64 = csv.lines().skip(1).map(|line| micros(line, at)).sum();
        assert_eq!(json!(sum), spent[0]["n"], "{by}: {csv}");
    }
    // The file is for whoever made it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&csv)
            .expect("the file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Dollars with six decimals, as micro-dollars.
fn micros(line: &str, at: usize) -> u64 {
    let dollars = line.split(',').nth(at).expect("a column");
    let digits = dollars.replace('.', "");
    assert_eq!(digits.len() + 1, dollars.len(), "{dollars}");
    assert_eq!(dollars.len() - dollars.find('.').expect("a point"), 7);
    digits.parse().expect("a number")
}

/// Requirement 35.
#[test]
fn priyas_trace_from_end_to_end() {
    let desk = Desk::new();
    let Value::Array(spans) = desk.json(&["trace", "show", "sess_88"]) else {
        panic!("no list of spans");
    };
    for span in &spans {
        assert_eq!(span["tenant_id"], "acme", "{span}");
        assert_eq!(span["session_id"], "sess_88", "{span}");
        assert_eq!(span["trace_id"], spans[0]["trace_id"], "{span}");
    }
    let of = |kind: &'static str| spans.iter().filter(move |s| s["span_kind"] == kind);
    let costs: Vec<&Value> = of("llm_call").map(|s| &s["cost_usd"]).collect();
    assert_eq!(costs, [0.004, 0.005, 0.006, 0.003, 0.0]);
    let root = of("final_response").next().expect("a root");
    assert_eq!(root["cost_total"], 0.018);
    // Two siblings at one step: the reads of the second turn.
    let second: Vec<&Value> = of("tool_call").filter(|s| s["step_index"] == 1).collect();
    assert_eq!(second.len(), 2);
    assert_eq!(second[0]["parent_span_id"], second[1]["parent_span_id"]);
    let refund = of("tool_call").find(|s| s["tool_name"] == "issue_refund");
    let refund = refund.expect("a refund");
    assert_eq!(refund["blast_radius_class"], 4);
    assert_eq!(
        refund["args_redacted"]["idempotency_key"],
        "refund_448100_delay"
    );
    // For people.
    let text = desk.ask(&["trace", "show", "sess_88"]);
    assert!(
        text.contains("final_response  success  cost 0.018000"),
        "{text}"
    );
    let said = desk.run(&["trace", "show", "sess_nobody"]);
    assert_eq!(said.code, Some(5), "{said:?}");
}

/// Requirement 21.
#[test]
fn a_clean_and_a_resumed_run_side_by_side() {
    let desk = Desk::new();
    let text = desk.ask(&["trace", "diff", "sess_suresh_clean", "sess_suresh"]);
    assert!(
        text.contains("the second: the host died in run 2"),
        "{text}"
    );
    assert!(text.contains("the second: run 3 went on with iteration 4"));
    assert!(
        text.ends_with("Beyond the resume nothing differs.\n"),
        "{text}"
    );
    let diff = desk.json(&["trace", "diff", "sess_suresh_clean", "sess_suresh"]);
    assert_eq!(diff["differences"], json!([]));
    assert_eq!(
        diff["same"],
        json!({"call": 5, "cost": 1, "end": 1, "question": 1, "turn": 6})
    );
    // Two that are not the same are told so, with another exit code.
    let said = desk.run(&["trace", "diff", "sess_88", "sess_suresh"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("thing(s) differ"), "{said:?}");
}

/// Requirement 56: no text of the conversation is needed, and none is told.
#[test]
fn what_the_agent_did_from_spans_alone() {
    let desk = Desk::new();
    let said = |session: &str| desk.ask(&["trace", "explain", session]);
    let (suresh, farhan) = (said("sess_suresh"), said("sess_farhan"));
    for sentence in [
        "3 runs, 6 steps. It ended with an answer.",
        "A person was asked about issue_refund (class 4, irreversible); after ",
        "Meera, finance lead said yes.",
        "The host died in issue_refund (class 4, irreversible), begun under the key refund_448200_delay",
        "went on with iteration 4, because the host of the run before had died.",
        "It remembered what was done before, and did none of it again: find_customer_by_email",
        "It asked the far side under the key refund_448200_delay: it was done",
        "send_customer_email (class 3, external) was done",
    ] {
        assert!(suresh.contains(sentence), "{sentence}: {suresh}");
    }
    for sentence in [
        "issue_refund (class 4, irreversible) failed after ",
        "under the key refund_441800_delay: precondition.",
        "The answer said that something was done, and no call had done it. It was not delivered",
    ] {
        assert!(farhan.contains(sentence), "{sentence}: {farhan}");
    }
    // The verdict about the answer stands in the tree, too.
    let tree = desk.ask(&["trace", "show", "sess_farhan"]);
    let last = tree.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("  final_response  error (unsupported_claim)"),
        "{tree}"
    );
    // Nothing of a customer is in it.
    for personal in ["@example.com", "laptop", "lamp", "Suresh "] {
        assert!(!suresh.contains(personal) && !farhan.contains(personal));
    }
}

/// Requirement 65.
#[test]
fn model_or_tool_what_was_slowest() {
    let desk = Desk::new();
    let text = desk.ask(&["trace", "slowest", "sess_88"]);
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("slowest: "), "{text}");
    assert!(
        last.contains("5 llm_call took ") && last.contains("5 tool_call took "),
        "{text}"
    );
    let rows = desk.rows(&["trace", "slowest", "sess_88"]);
    let latencies: Vec<u64> = rows
        .iter()
        .filter_map(|r| r["latency_ms"].as_u64())
        .collect();
    assert!(
        latencies.len() == 10 && latencies.is_sorted_by(|a, b| a >= b),
        "{rows:?}"
    );
    // Of a month, the person was.
    let rows = desk.rows(&["trace", "slowest", "--since", "30d", "--limit", "3"]);
    assert_eq!(rows.len(), 3);
}

/// A wrong value is an error that names the right ones; an empty answer says where it looked.
#[test]
fn wrong_words_and_empty_answers() {
    let desk = Desk::new();
    for (args, says) in [
        (
            "traces --status bad",
            "possible values: success, error, timeout",
        ),
        (
            "traces --since yesterday",
            "write an age such as 90m, 24h or 7d",
        ),
        (
            "traces --group-by colour",
            "possible values: tenant, user, feature",
        ),
        (
            "traces --group-by model_version --kind final_response",
            "what has one: llm_call, tool_call",
        ),
        (
            "traces --tool issue_refund --sort-by cost",
            "sort by latency or start",
        ),
        ("traces --since 1h --until 2h", "nothing lies between"),
        ("cost --by tool", "possible values: tenant, feature"),
        (
            "eval export --outcome fine",
            "possible values: success, error, interrupt",
        ),
    ] {
        let said = desk.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, Some(2), "{args}: {said:?}");
        assert!(said.err.contains(says), "{args}: {said:?}");
    }
    for (args, says) in [
        (
            "traces --tenant acmee",
            "no span has the tenant `acmee`; there is acme, initech, rehearsal",
        ),
        (
            "traces --tool refund",
            "no span has the tool `refund`; there is find_customer_by_email",
        ),
        (
            "cost --until 2020-01-01",
            "no money was spent, until 2020-01-01 00:00:00Z",
        ),
    ] {
        let said = desk.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(0), ""),
            "{args}: {said:?}"
        );
        assert!(said.err.contains(says), "{args}: {said:?}");
    }
    // An empty answer for machines is an empty list.
    assert_eq!(desk.json(&["traces", "--tenant", "acmee"]), json!([]));
}

/// What a person writes reads the views, and nothing else.
#[test]
fn sql_of_a_person() {
    let desk = Desk::new();
    let views = desk.ask(&["sql"]);
    for view in ["runs", "llm_calls", "tool_calls", "approvals", "costs"] {
        assert!(views.lines().any(|l| l == view), "{view}: {views}");
    }
    let csv = desk.ask(&[
        "sql",
        "SELECT tenant_id, count(*) AS n FROM runs GROUP BY 1 ORDER BY 1",
        "--csv",
        "-",
    ]);
    assert_eq!(csv, "tenant_id,n\nacme,1\ninitech,4\nrehearsal,2\n");
    let before = desk.json(&["trace", "show", "sess_88"]);
    for refused in ["DELETE FROM spans", "SELECT * FROM spans", "DROP VIEW runs"] {
        let said = desk.run(&["sql", refused]);
        assert_eq!(said.code, Some(2), "{refused}: {said:?}");
        assert!(said.err.contains("question_invalid"), "{refused}: {said:?}");
    }
    assert_eq!(desk.json(&["trace", "show", "sess_88"]), before);
    // A question of the command is SQL that a person can go on from.
    let question = ["traces", "--tool", "issue_refund", "--status", "error"];
    let sql = desk.ask(&[&question[..], &["--as-sql"]].concat());
    assert_eq!(
        desk.rows(&["sql", &sql]).len(),
        desk.rows(&question).len(),
        "{sql}"
    );
}
