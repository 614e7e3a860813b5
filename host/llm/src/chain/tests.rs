//! Retries, the shared budget, and who takes over from whom.

use stoplog_model::UsdMicros;
use stoplog_model::session::Spent;

use super::*;
use crate::Kind;
use crate::testkit::{Fake, Say, Told, chain, remote, request, settings};

const ANSWER: &str = include_str!("../chat/golden/answer.response.json");
const STREAM: &str = include_str!("../chat/golden/tool_calls.stream.txt");

fn whole(status: u16, body: &str) -> Say {
    Say::Whole(status, body.to_owned())
}

fn said() -> Say {
    whole(200, ANSWER)
}

/// A chain of two, on one fake each. The second is armed for overloads, and speaks of itself.
async fn two(first: Vec<Say>, second: Vec<Say>, after_write: bool) -> (Chain, Fake, Fake) {
    let (a, b) = (Fake::start(first).await, Fake::start(second).await);
    let fallback = Fallback {
        name: "spare".into(),
        remote: remote(settings(Kind::Chat, b.address, "spare-model")),
        system_prompt: Some("You are the spare.".into()),
        armed: true,
        on: vec![
            FailureClass::ProviderOverloaded,
            FailureClass::TruncatedOutput,
        ],
        after_write,
    };
    let first = remote(settings(Kind::Chat, a.address, "first-model"));
    (
        chain(first, Budget::default()).with_fallback(fallback),
        a,
        b,
    )
}

fn lines(told: &Told) -> Vec<String> {
    told.lines.lock().expect("lock").clone()
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_written_down() {
    let half: String = STREAM.split_inclusive("\n\n").take(3).collect();
    let says = vec![
        whole(429, "slow down"),
        Say::Nothing,
        Say::Stream(half),
        whole(502, "<html>"),
        said(),
    ];
    let fake = Fake::start(says).await;
    let first = remote(settings(Kind::Chat, fake.address, "m"));
    let told = Told::default();
    let turn = chain(first, Budget::default())
        .ask(&request(), &told)
        .await
        .expect("turn");
    assert_eq!(fake.bodies().len(), 5);
    let classes: Vec<_> = turn.failed_attempts.iter().map(|a| a.failure).collect();
    use FailureClass::*;
    assert_eq!(
        classes,
        [
            ProviderOverloaded,
            ProviderTransient,
            ProviderTransient,
            ProviderTransient
        ]
    );
    let paid: Vec<_> = turn
        .failed_attempts
        .iter()
        .map(|a| (a.cost.0 > 0, a.cost_is_estimated))
        .collect();
    assert_eq!(
        paid,
        [(false, false), (true, true), (true, true), (false, false)]
    );
    let failed: UsdMicros = turn.failed_attempts.iter().map(|a| a.cost).sum();
    assert_eq!(
        turn.cost,
        UsdMicros(11) + failed,
        "the answer's 10.2, rounded up, and all that broke"
    );
    // The broken stream was heard, and taken back before the whole request was made again.
    assert_eq!(
        lines(&told),
        [
            "asked 1 m",
            "retracted 1",
            "asked 2 m",
            "retracted 2",
            "asked 3 m",
            "heard 3 Let me ",
            "heard 3 look.",
            "retracted 3",
            "asked 4 m",
            "retracted 4",
            "asked 5 m"
        ]
    );
    let bodies = fake.bodies();
    assert!(
        bodies.iter().all(|b| *b == bodies[0]),
        "the same request each time"
    );
    let asked = told.asked.lock().expect("lock");
    assert_eq!(
        asked.iter().map(|a| a.again).collect::<Vec<_>>(),
        [false, true, true, true, true]
    );
    assert_eq!(asked[1].after.as_ref(), turn.failed_attempts.first());
    assert!(asked[0].input_tokens > 0 && asked[0].cost.0 > 0);
}

#[tokio::test]
async fn five_attempts_and_no_more() {
    let fake = Fake::start(vec![whole(504, "")]).await;
    let first = remote(settings(Kind::Chat, fake.address, "m"));
    let error = chain(first, Budget::default())
        .ask(&request(), &Told::default())
        .await
        .expect_err("none");
    assert_eq!((fake.bodies().len(), error.attempts.len()), (5, 5));
    assert!(error.message.starts_with("after 5 attempts: "), "{error}");
}

/// What the runs of a session have spent counts, whoever asks now.
#[tokio::test]
async fn the_budget_is_the_sessions_and_a_resume_does_not_renew_it() {
    let spent = |retries, requests, tokens| Spent {
        retries,
        requests,
        input_tokens: tokens,
        output_tokens: 0,
    };
    let limits = |requests, tokens| Budget {
        retries: 4,
        requests,
        tokens,
    };
    for (spent, budget, sent, words) in [
        (spent(0, 0, 0), limits(None, None), 5, "after 5 attempts: "),
        (
            spent(3, 9, 0),
            limits(None, None),
            2,
            "none is left of the session's `retries`",
        ),
        (spent(4, 9, 0), limits(None, None), 1, "none is left"),
        (spent(0, 7, 0), limits(Some(9), None), 2, "raise `requests`"),
        (
            spent(0, 0, 50),
            limits(None, Some(50)),
            0,
            "its budget is 50",
        ),
    ] {
        let fake = Fake::start(vec![whole(504, "")]).await;
        let first = remote(settings(Kind::Chat, fake.address, "m"));
        let mut asked = request();
        asked.course.spent = spent;
        let error = chain(first, budget)
            .ask(&asked, &Told::default())
            .await
            .expect_err("none");
        assert_eq!(fake.bodies().len(), sent, "{error}");
        assert!(error.message.contains(words), "{error}");
        let is_budget = sent != 5 && !words.contains("none");
        assert_eq!(
            error.failure == FailureClass::BudgetExhausted,
            is_budget,
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_fallback_takes_over_with_its_own_prompt_and_says_so() {
    let (chain, a, b) = two(vec![whole(429, "")], vec![said()], false).await;
    let told = Told::default();
    let turn = chain.ask(&request(), &told).await.expect("turn");
    assert_eq!((a.bodies().len(), b.bodies().len()), (5, 1));
    assert_eq!(turn.model_id, "spare-model");
    assert_ne!(turn.prompt_version_hash, request().prompt_version_hash);
    assert_eq!(
        b.bodies()[0]["messages"][0]["content"],
        "You are the spare."
    );
    assert_eq!(turn.failed_attempts.len(), 5);
    let asked = told.asked.lock().expect("lock");
    let last = asked.last().expect("asked");
    assert_eq!(
        (last.profile.as_str(), last.attempt, last.again),
        ("spare", 6, false)
    );
    assert_eq!(last.prompt_version_hash, turn.prompt_version_hash);
}

#[tokio::test]
async fn a_fallback_is_asked_for_its_own_failures_alone() {
    for (says, to_spare) in [
        (vec![whole(401, "")], false),
        (vec![whole(500, "")], false),
        (
            vec![whole(200, &ANSWER.replace("\"stop\"", "\"length\""))],
            true,
        ),
        (
            vec![whole(
                200,
                &ANSWER.replace("\"stop\"", "\"content_filter\""),
            )],
            false,
        ),
    ] {
        let (chain, a, b) = two(says, vec![said()], false).await;
        let came = chain.ask(&request(), &Told::default()).await;
        assert_eq!(
            (a.bodies().len(), b.bodies().len()),
            (1, usize::from(to_spare))
        );
        let Ok(turn) = came else { continue };
        match to_spare {
            // The cut answer was paid for, and its cost is known.
            true => assert_eq!(turn.cost, UsdMicros(22)),
            false => assert_eq!(turn.finish_raw, "content_filter", "told as it came"),
        }
    }
}

/// Before a write every turn begins at the first; behind one the session stays where it is.
#[tokio::test]
async fn a_session_that_has_written_stays_with_who_wrote() {
    let course = |profile: &str, wrote| Course {
        profile: profile.into(),
        wrote,
        spent: Spent::default(),
    };
    for (course, after_write, first_is_well, asked) in [
        (course("", false), false, true, (1, 0)),
        (course("spare", false), false, true, (1, 0)),
        (course("spare", true), false, true, (0, 1)),
        (course("", true), false, false, (5, 0)),
        (course("", true), true, false, (5, 1)),
        // A profile that the configuration does not have any more: the first one is asked.
        (course("gone", true), false, true, (1, 0)),
    ] {
        let first = if first_is_well {
            said()
        } else {
            whole(429, "")
        };
        let (chain, a, b) = two(vec![first], vec![said()], after_write).await;
        let asking = TurnRequest {
            course: course.clone(),
            ..request()
        };
        let _ = chain.ask(&asking, &Told::default()).await;
        assert_eq!((a.bodies().len(), b.bodies().len()), asked, "{course:?}");
    }
}

#[test]
fn the_window_is_that_of_who_is_asked_first() {
    let address = "127.0.0.1:9".parse().expect("address");
    let own = settings(Kind::Chat, address, "m");
    let window = chain(remote(own.clone()), Budget::default()).window(&Course::default());
    assert_eq!(window.map(|w| w.tokens), Some(127_000));
    let unknown = RemoteSettings {
        context_window_tokens: 0,
        ..own
    };
    assert_eq!(
        chain(remote(unknown), Budget::default()).window(&Course::default()),
        None
    );
}

use crate::RemoteSettings;
