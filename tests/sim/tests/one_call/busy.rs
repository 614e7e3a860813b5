//! A call that finds no place: refused with nothing begun, or, when it has begun, not refused.

use std::num::NonZeroU32;
use std::time::Duration;

use stoplog_admission::{Bounds, Place, Places};
use stoplog_model::ApprovalId;
use stoplog_model::event::{Approval, ApprovalDecided, CallStarted, Verdict};
use tokio_util::sync::CancellationToken;

use super::*;

/// A scene with one place, which is taken, and no room in line.
async fn full() -> (Scene, Place) {
    let mut scene = Scene::new(Tool::SendsWhatItRead, "", 0).await;
    let bounds = Bounds::open(NonZeroU32::MIN, 0, Duration::from_secs(30));
    let places = Places::new(bounds);
    let tenant = Tenant::new("acme").expect("id");
    let place = places.acquire(&tenant).await.expect("the only place");
    scene.dispatcher = scene.dispatcher.with_places(places);
    (scene, place)
}

#[tokio::test(start_paused = true)]
async fn without_room_a_call_is_refused_and_nothing_of_it_is_begun() {
    let (scene, place) = full().await;
    let Dispatched::Observed(observation) = scene.dispatch(AT).await else {
        panic!("it waits");
    };
    let observed = observation.observed();
    assert_eq!(observed.disposition, Disposition::Refused);
    let CallResult::Err(error) = &observed.result else {
        panic!("{:?}", observed.result);
    };
    assert_eq!(error.reason, Some(Reason::HostBusy));
    assert!(
        error.retry_after_ms.is_some_and(|ms| ms >= 100),
        "{error:?}"
    );
    assert_eq!(scene.sent(), [""; 0]);

    // The model comes again: the act was not claimed.
    drop(place);
    let taken = Event::TurnTaken(turn(2, PERSONAL));
    scene.journal.append(vec![taken]).await.expect("a turn");
    let again = scene.dispatch(Position { iteration: 2, ..AT }).await;
    let Dispatched::Observed(observation) = again else {
        panic!("{again:?}");
    };
    let disposition = observation.observed().disposition;
    assert_eq!(disposition, Disposition::Executed);
    assert_eq!(scene.sent(), ["/price", "/pay"]);
}

/// A refusal says that nothing was done, and would spend what a person has decided.
#[tokio::test(start_paused = true)]
async fn what_has_begun_or_was_approved_waits_for_as_long_as_it_takes() {
    let started = Event::CallStarted(CallStarted {
        position: AT,
        started_at_ms: 1,
    });
    for events in [vec![started], approved()] {
        let (scene, place) = full().await;
        scene.journal.append(events).await.expect("before a crash");
        let mut dispatched = Box::pin(scene.dispatch(AT));
        let hour = tokio::time::sleep(Duration::from_secs(3_600));
        tokio::select! {
            biased;
            over = &mut dispatched => panic!("{over:?}"),
            () = hour => drop(place),
        }
        let over = dispatched.await;
        assert!(matches!(over, Dispatched::Observed(_)), "{over:?}");
        assert_eq!(scene.sent(), ["/price", "/pay"]);
    }
}

/// The events of a call that a person was asked about, and agreed to.
fn approved() -> Vec<Event> {
    let args = turn(1, PERSONAL).calls.remove(0).arguments;
    let args_digest = Digest::of_json(&args);
    let id = ApprovalId::derived(&session(), AT, &args_digest);
    let asked = Approval {
        id: id.clone(),
        position: AT,
        tool: "tool".into(),
        tool_version: "1.0.0".into(),
        component: Digest::of(b"tool"),
        class: Class::External,
        preview: String::new(),
        arguments: args,
        args_digest,
        why: "a rule".into(),
        requested_at_ms: 1,
        expires_at_ms: u64::MAX,
    };
    let decided = ApprovalDecided {
        id,
        position: AT,
        verdict: Verdict::Approved,
        by: "asha".into(),
        note: String::new(),
    };
    vec![
        Event::ApprovalRequested(asked),
        Event::ApprovalDecided(decided),
    ]
}

/// Who stands in line when the host is told to stop has begun nothing, and is left to the next host.
#[tokio::test(start_paused = true)]
async fn a_shutdown_empties_the_line() {
    let mut scene = Scene::new(Tool::SendsWhatItRead, "", 0).await;
    let bounds = Bounds::open(NonZeroU32::MIN, 1, Duration::from_secs(30));
    let places = Places::new(bounds);
    let _taken = places.acquire(&Tenant::new("acme").expect("id")).await;
    let shutdown = CancellationToken::new();
    scene.dispatcher = scene
        .dispatcher
        .with_places(places.clone())
        .with_shutdown(shutdown.clone());
    let mut dispatched = Box::pin(scene.dispatch(AT));
    let moment = tokio::time::sleep(Duration::from_secs(1));
    tokio::select! {
        biased;
        over = &mut dispatched => panic!("{over:?}"),
        () = moment => shutdown.cancel(),
    }
    let over = dispatched.await;
    assert!(
        matches!(over, Dispatched::Waits(Wait::ShuttingDown)),
        "{over:?}"
    );
    assert_eq!(places.load().waiting, 0);
    assert_eq!(scene.sent(), [""; 0]);
}
