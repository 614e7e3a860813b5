//! Calls that go wrong, or come twice, without any crash: what the model is told, and what the far
//! side has done.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{Said, World, bins};

/// What was observed, in order: tool, disposition, and the result or the code of the error.
fn observed(world: &World) -> anyhow::Result<Vec<(String, String, Value)>> {
    let rows = world.sql(
        "SELECT coalesce(e.body, p.body) FROM events e LEFT JOIN payloads p ON p.digest = e.payload
         WHERE kind = 'observed' ORDER BY iteration, ordinal",
    )?;
    rows.iter()
        .map(|row| {
            let event: Value = serde_json::from_str(&row[0])?;
            let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
            let result = &event["result"];
            let told = match (&result["ok"], &result["err"]) {
                (Value::Null, error) if error["reason"].is_string() => error["reason"].clone(),
                (Value::Null, error) => error["code"].clone(),
                (output, _) => output.clone(),
            };
            Ok((text(&event["tool"]), text(&event["disposition"]), told))
        })
        .collect()
}

/// Runs one call, and checks how it was observed.
fn check(tool: &str, disposition: &str, told: Value) -> anyhow::Result<World> {
    let world = World::new(bins!(), &[tool])?;
    world.script(&[&[(tool, "x")]])?;
    let run = world.host(&World::run_args())?;
    ensure!(run.code == Some(0), "{run:?}");
    let seen = observed(&world)?;
    ensure!(
        seen == [(tool.to_owned(), disposition.to_owned(), told.clone())],
        "{seen:?}, expected {disposition} {told}"
    );
    Ok(world)
}

fn no_acts(world: &World) -> anyhow::Result<()> {
    ensure!(
        world.far.acts_done()? == 0,
        "{} acts were done",
        world.far.acts_done()?
    );
    Ok(())
}

#[test]
fn a_tool_that_misbehaves_is_stopped_and_the_agent_goes_on() -> anyhow::Result<()> {
    no_acts(&check("spinner", "executed", json!("sandbox_timeout"))?)?;
    no_acts(&check("glutton", "executed", json!("sandbox_limit"))?)?;
    no_acts(&check("trapper", "executed", json!("sandbox_trap"))?)?;
    no_acts(&check("babbler", "executed", json!("sandbox_limit"))?)
}

#[test]
fn a_reader_that_posts_changes_nothing() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["posting_reader"])?;
    world.script(&[&[("posting_reader", "x")]])?;
    let run = world.host(&World::run_args())?;
    ensure!(run.code == Some(0), "{run:?}");
    no_acts(&world)?;
    ensure!(world.far.keys("/acts")?.is_empty(), "a request left");
    Ok(())
}

#[test]
fn a_plain_http_post_is_journalled_and_keyed_and_recovered() -> anyhow::Result<()> {
    for stage in ["request_sent:before:1", "request_sent:after:1"] {
        let world = World::new(bins!(), &["plain_post"])?;
        world.script(&[&[("plain_post", "x")]])?;
        world.host_dies(&World::run_args(), stage)?;
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{stage}: {resumed:?}");
        ensure!(
            world.far.acts_done()? == 1,
            "{stage}: {}",
            world.far.acts_done()?
        );
        let keys = world.far.keys("/acts")?;
        ensure!(
            keys.iter()
                .all(|k| k.starts_with("act_x.http-post-") && k == &keys[0]),
            "{stage}: {keys:?}"
        );
    }
    Ok(())
}

#[test]
fn a_guest_cannot_choose_its_own_key() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["headstrong"])?;
    world.script(&[&[("headstrong", "x")]])?;
    world.host(&World::run_args())?;
    let keys = world.far.keys("/acts")?;
    ensure!(keys.iter().all(|k| k == "act_x"), "{keys:?}");
    Ok(())
}

/// The gate saw a 201: the tool's word that nothing changed is not believed.
#[test]
fn a_liar_is_not_believed() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["liar"])?;
    world.script(&[&[("liar", "x")]])?;
    world.host(&World::run_args())?;
    let rows = world.sql("SELECT body FROM events WHERE kind = 'observed'")?;
    let event: Value = serde_json::from_str(&rows[0][0])?;
    ensure!(event["result"]["err"]["aftermath"] == "changed", "{event}");
    Ok(())
}

/// The effect was done, then the tool trapped: the output is found by probe, and nothing is sent
/// again.
#[test]
fn a_trap_behind_an_effect_is_probed() -> anyhow::Result<()> {
    let world = check("trap_after_effect", "probed", json!({"act_id": "act_1"}))?;
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    Ok(())
}

#[test]
fn the_same_act_twice_in_a_turn_and_again_three_turns_later_is_done_once() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed", "lookup"])?;
    world.script(&[
        &[("keyed", "x"), ("keyed", "x")],
        &[("lookup", "x")],
        &[("lookup", "y")],
        &[("keyed", "x")],
    ])?;
    let run = world.host(&World::run_args())?;
    ensure!(run.code == Some(0), "{run:?}");
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    let seen = observed(&world)?;
    let dispositions: Vec<&str> = seen
        .iter()
        .filter(|s| s.0 == "keyed")
        .map(|s| s.1.as_str())
        .collect();
    ensure!(
        dispositions == ["executed", "deduplicated", "deduplicated"],
        "{seen:?}"
    );
    ensure!(
        seen.iter()
            .filter(|s| s.0 == "keyed")
            .all(|s| s.2 == json!({"act_id": "act_1"}))
    );
    Ok(())
}

/// A tenant-wide key reaches over sessions.
#[test]
fn another_session_of_the_tenant_gets_the_stored_result() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    let args = |tenant, session| ["run", "--tenant", tenant, "--session", session, "do it"];
    ensure!(world.host(&args("acme", "one"))?.code == Some(0));
    ensure!(world.host(&args("acme", "two"))?.code == Some(0));
    ensure!(
        world.far.keys("/acts")?.len() == 1,
        "{:?}",
        world.far.keys("/acts")?
    );
    Ok(())
}

fn refund(order: &str, amount: u64) -> Value {
    let arguments = json!({"order_id": order, "amount_inr": amount, "reason": "delay"});
    json!({"tool": "issue_refund", "arguments": arguments})
}

fn refund_world(turns: &[Vec<Value>], more: &str) -> anyhow::Result<(World, Said)> {
    let world = World::new(bins!(), &["issue_refund"])?;
    world.write_config(more)?;
    world.script_calls(turns)?;
    let run = world.host(&World::run_args())?;
    Ok((world, run))
}

const CLEARED: &str = "[tools.issue_refund]\nclear_when = [\"amount_inr <= 50000\"]\n";

#[test]
fn the_same_act_with_other_arguments_is_a_conflict_and_runs_nothing() -> anyhow::Result<()> {
    let turns = [vec![refund("448100", 6400)], vec![refund("448100", 100)]];
    let (world, run) = refund_world(&turns, CLEARED)?;
    ensure!(run.code == Some(0), "{run:?}");
    let seen = observed(&world)?;
    ensure!(
        seen[1].1 == "refused" && seen[1].2 == "key_conflict",
        "{seen:?}"
    );
    ensure!(world.far.keys("/refunds")?.len() == 1);
    Ok(())
}

/// A model that writes `6400.0` for an integer: the schema takes it, and so must rules, the approver and
/// the tool, as the same number; and with the same key it is the same act.
#[test]
fn a_whole_number_is_one_however_it_is_written() -> anyhow::Result<()> {
    let written = |amount: &str| -> anyhow::Result<Vec<Value>> {
        let text = refund("448100", 6400).to_string().replace("6400", amount);
        Ok(vec![serde_json::from_str(&text)?])
    };
    let turns = [written("6400.0")?, written("6.4e3")?, written("6400")?];
    let (world, run) = refund_world(&turns, CLEARED)?;
    ensure!(run.code == Some(0), "{run:?}");
    let seen = observed(&world)?;
    let dispositions: Vec<&str> = seen.iter().map(|s| s.1.as_str()).collect();
    ensure!(
        dispositions == ["executed", "deduplicated", "deduplicated"],
        "{seen:?}"
    );
    ensure!(world.far.counts("refunds")?["executed"] == 1);
    Ok(())
}

#[test]
fn a_refusal_of_the_far_side_frees_the_act() -> anyhow::Result<()> {
    // 448100 cost 6,400: more is refused with 422, and the right amount goes through after it.
    let turns = [vec![refund("448100", 9999)], vec![refund("448100", 6400)]];
    let (world, run) = refund_world(&turns, CLEARED)?;
    ensure!(run.code == Some(0), "{run:?}");
    let refunds = world.far.counts("refunds")?;
    ensure!(
        refunds["executed"] == 1,
        "{refunds} {:?}",
        observed(&world)?
    );
    Ok(())
}

#[test]
fn bad_calls_are_told_to_the_model_and_run_nothing() -> anyhow::Result<()> {
    let call = |tool: &str, arguments: Value| json!({"tool": tool, "arguments": arguments});
    let turns = [
        vec![call("no_such_tool", json!({}))],
        vec![call("issue_refund", json!({"order_id": "448100"}))],
        vec![call(
            "issue_refund",
            json!({"order_id": 448100, "amount_inr": 1, "reason": "delay"}),
        )],
        vec![call("issue_refund", json!([1]))],
    ];
    let (world, run) = refund_world(&turns, CLEARED)?;
    ensure!(run.code == Some(0), "{run:?}");
    let codes: Vec<Value> = observed(&world)?.into_iter().map(|s| s.2).collect();
    ensure!(
        codes
            == [
                json!("unknown_tool"),
                json!("input_schema"),
                json!("input_schema"),
                json!("input_schema")
            ],
        "{codes:?}"
    );
    ensure!(world.far.keys("/refunds")?.is_empty());
    Ok(())
}

#[test]
fn a_rejection_goes_back_to_the_model_and_an_expiry_rejects() -> anyhow::Result<()> {
    let turns = [vec![refund("448200", 72000)]];
    let (world, run) = refund_world(&turns, CLEARED)?;
    ensure!(run.code == Some(3), "{run:?}");
    let id = run.json["approval"]
        .as_str()
        .context("an approval")?
        .to_owned();
    let shown = world.host(&["approvals", "show", &id])?;
    ensure!(shown.json["arguments"]["amount_inr"] == 72000, "{shown:?}");
    ensure!(
        shown.json["preview"]
            .as_str()
            .is_some_and(|p| p.contains("72000")),
        "{shown:?}"
    );
    let rejected = world.host(&[
        "approvals",
        "reject",
        &id,
        "--by",
        "Meera",
        "--reason",
        "ask for a receipt",
    ])?;
    ensure!(rejected.code == Some(0), "{rejected:?}");
    let again = world.host(&["approvals", "approve", &id, "--by", "Mallory"])?;
    ensure!(again.stderr.contains("approval_not_pending"), "{again:?}");
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    let seen = observed(&world)?;
    ensure!(
        seen[0].1 == "refused" && seen[0].2 == "approval_rejected",
        "{seen:?}"
    );
    ensure!(world.far.keys("/refunds")?.is_empty());

    let short = format!("[approval]\nexpires_after_s = 1\n{CLEARED}");
    let (world, run) = refund_world(&turns, &short)?;
    let id = run.json["approval"]
        .as_str()
        .context("an approval")?
        .to_owned();
    let late = stoplog_tests::wait_for("the expiry", || {
        let listed = world.host(&["approvals", "list"]).ok()?;
        listed.json.as_array()?.is_empty().then_some(())
    });
    late?;
    let approve = world.host(&["approvals", "approve", &id, "--by", "Meera"])?;
    ensure!(approve.stderr.contains("approval_expired"), "{approve:?}");
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    ensure!(observed(&world)?[0].2 == "approval_expired");
    ensure!(world.far.keys("/refunds")?.is_empty());
    Ok(())
}

/// The far side fails in every way that it knows while the host lives.
#[test]
fn a_far_side_that_fails_is_cured_or_told() -> anyhow::Result<()> {
    for mode in ["fail_before", "fail_after", "hang_up_after"] {
        for tool in ["keyed", "probed"] {
            let world = World::new(bins!(), &[tool])?;
            world.script(&[&[(tool, "x")]])?;
            world.far.misbehave(mode, 1, 0)?;
            let run = world.host(&World::run_args())?;
            ensure!(run.code == Some(0), "{mode} {tool}: {run:?}");
            ensure!(
                world.far.acts_done()? == 1,
                "{mode} {tool}: {}",
                world.far.acts_done()?
            );
            let seen = observed(&world)?;
            ensure!(
                seen[0].2 == json!({"act_id": "act_1"}),
                "{mode} {tool}: {seen:?}"
            );
        }
    }
    Ok(())
}

/// The host is killed while the far side is still at the first request, and the second is refused
/// as in flight. The call is parked, and never observed as untouched.
#[test]
fn a_slow_far_side_is_never_taken_for_one_that_did_nothing() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["issue_refund"])?;
    world.write_config(CLEARED)?;
    world.script_calls(&[vec![refund("448100", 6400)]])?;
    let fault = json!({"path": "/refunds", "mode": "delay_before", "times": 1, "delay_ms": 12_000});
    world.far.ask("POST", "/admin/misbehave", Some(&fault))?;
    let mut host = world.command(&World::run_args()).spawn()?;
    stoplog_tests::wait_for("the request", || {
        (world.far.keys("/refunds").ok()?.len() == 1).then_some(())
    })?;
    host.kill()?;
    host.wait()?;
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(3), "{resumed:?}");
    ensure!(resumed.json["reason"] == "resend_exhausted", "{resumed:?}");
    ensure!(observed(&world)?.is_empty(), "the model was told something");
    stoplog_tests::wait_for("the slow refund", || {
        let counts = world.far.counts("refunds").ok()?;
        (counts["executed"] == 1).then_some(())
    })
}

/// A tool name that no tool has is the model's own text: it reaches neither spans nor lists.
#[test]
fn an_unknown_tool_name_is_not_spread() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    world.script(&[&[("priya@example.com\u{1b}[2J", "x")]])?;
    ensure!(world.host(&World::run_args())?.code == Some(0));
    ensure!(world.sql("SELECT tool_name FROM state_transitions")?[0][0] == "[unknown tool]");
    let spans = json!(world.spans()?).to_string();
    ensure!(!spans.contains("priya@"), "{spans}");
    Ok(())
}

/// The far side dies after its commit and before its answer; host and far side start again.
#[test]
fn a_far_side_that_dies_after_its_commit() -> anyhow::Result<()> {
    let mut world = World::new(bins!(), &["keyed"])?;
    world.script(&[&[("keyed", "x")]])?;
    world.far.misbehave("die_after_commit", 1, 0)?;
    let run = world.host(&World::run_args())?;
    // Nobody answers any more: the host sends again under the key, and parks in the end.
    ensure!(run.code == Some(3), "{run:?}");
    world.restart_far_side()?;
    let parked = world.host(&["parked", "list"])?;
    let id = parked.json[0]["id"]
        .as_str()
        .context("a parked call")?
        .to_owned();
    let resolved = world.host(&[
        "parked", "resolve", &id, "--as", "not-done", "--by", "Meera",
    ])?;
    ensure!(resolved.code == Some(0), "{resolved:?}");
    let resumed = world.host(&["resume", "s"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    // The person was wrong, and the key saved the day.
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    Ok(())
}

/// A guest sees a virtual world: no environment, the recorded clock, the same numbers each run.
#[test]
fn a_guest_sees_no_environment_and_a_recorded_clock() -> anyhow::Result<()> {
    let outputs: Vec<Value> = (0..2)
        .map(|_| {
            let world = World::new(bins!(), &["dice"])?;
            world.script(&[&[("dice", "x"), ("dice", "x")]])?;
            let run = world.host(&World::run_args())?;
            ensure!(run.code == Some(0), "{run:?}");
            let seen = observed(&world)?;
            ensure!(seen[0].2 != seen[1].2, "two calls draw different numbers");
            Ok(seen[0].2.clone())
        })
        .collect::<anyhow::Result<_>>()?;
    for output in &outputs {
        ensure!(output["env_vars"] == 0 && output["args"] == 0, "{output}");
    }
    ensure!(outputs[0]["rolls"] == outputs[1]["rolls"], "{outputs:?}");
    Ok(())
}

#[test]
fn a_run_that_never_answers_ends_at_the_iteration_limit() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["lookup"])?;
    let turn: &[(&str, &str)] = &[("lookup", "x")];
    world.script(&[turn; 25])?;
    let run = world.host(&World::run_args())?;
    ensure!(
        run.code == Some(1) && run.json["reason"] == "iteration_limit",
        "{run:?}"
    );
    ensure!(run.json["iterations"] == 20, "{run:?}");
    Ok(())
}
