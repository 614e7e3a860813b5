use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Mutex as StdMutex;

use super::*;
use crate::bounds::Share;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a name")
}

fn places(places: u32, each: u32, waiting: u32) -> Places {
    let some = |n: u32| NonZeroU32::new(n).expect("some");
    let bounds = Bounds {
        places: some(places),
        waiting: 10_000,
        wait: Duration::from_secs(30),
        each: Share {
            places: some(each),
            waiting,
        },
        tenants: BTreeMap::from([(
            tenant("small"),
            Share {
                places: some(1),
                waiting: 0,
            },
        )]),
    };
    Places::new(bounds)
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_calls_of_one_tenant_are_one_turn_for_another() {
    let places = places(2, 2, 2_000);
    let held = [
        places.acquire(&tenant("loud")).await.expect("a place"),
        places.acquire(&tenant("loud")).await.expect("a place"),
    ];
    let order = Arc::new(StdMutex::new(Vec::new()));
    let ask = |name: &'static str| {
        let (places, order) = (places.clone(), order.clone());
        tokio::spawn(async move {
            let place = places.acquire(&tenant(name)).await.expect("a place");
            assert!(place.was_waited_for());
            order.lock().expect("order").push(name);
        })
    };
    let loud: Vec<_> = (0..1_000).map(|_| ask("loud")).collect();
    settle().await;
    let quiet = ask("quiet");
    settle().await;
    assert_eq!(places.load().waiting, 1_001);
    drop(held);
    quiet.await.expect("served");
    for task in loud {
        task.await.expect("served");
    }
    let order = order.lock().expect("order");
    let when = order.iter().position(|name| *name == "quiet");
    assert!(when.is_some_and(|n| n <= 1), "served as number {when:?}");
    assert_eq!(places.load(), Load::default());
}

#[tokio::test]
async fn beyond_the_bound_there_is_a_refusal_and_no_more_memory() {
    let places = places(1, 1, 2);
    let held = places.acquire(&tenant("a")).await.expect("a place");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let places = places.clone();
            tokio::spawn(async move { places.acquire(&tenant("a")).await.map(drop) })
        })
        .collect();
    settle().await;
    let busy = places.acquire(&tenant("a")).await.expect_err("full");
    assert_eq!((busy.full, busy.waiting), (Full::TenantLine, 2));
    assert!(busy.retry_after_ms >= 100, "{busy}");
    assert_eq!(places.load().waiting, 2);
    drop(held);
    for task in waiting {
        task.await.expect("task").expect("served");
    }

    let held = places.acquire(&tenant("small")).await.expect("a place");
    let busy = places.acquire(&tenant("small")).await.expect_err("full");
    assert_eq!(busy.full, Full::TenantLine, "it may have nobody in line");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_refused_and_out_of_the_line() {
    let places = places(1, 1, 2);
    let held = places.acquire(&tenant("a")).await.expect("a place");
    let busy = places.acquire(&tenant("a")).await.expect_err("no place");
    assert_eq!(busy.full, Full::Wait);
    assert_eq!(places.load().waiting, 0);
    drop(held);
    assert!(places.acquire(&tenant("a")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_has_begun_waits_as_long_as_it_takes() {
    let places = places(1, 1, 0);
    let held = places.acquire(&tenant("a")).await.expect("a place");
    let goes_on = tokio::spawn({
        let places = places.clone();
        async move { drop(places.regain(&tenant("a")).await) }
    });
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(places.load().waiting, 1);
    drop(held);
    goes_on.await.expect("served");
}

#[tokio::test]
async fn a_place_comes_back_from_who_panics_and_from_who_leaves_when_it_is_served() {
    let places = places(1, 1, 10);
    let task = tokio::spawn({
        let places = places.clone();
        async move {
            let _place = places.acquire(&tenant("a")).await;
            panic!("as a tool's host might");
        }
    });
    assert!(task.await.is_err());

    let held = places.acquire(&tenant("a")).await.expect("a place");
    let a = tenant("a");
    let [mut one, mut two] = [(); 2].map(|()| Box::pin(places.acquire(&a)));
    assert!(look_at(one.as_mut()).is_none());
    assert!(look_at(two.as_mut()).is_none());
    // Served, and dropped before it looks: the next one in line has it.
    drop(held);
    drop(one);
    let place = look_at(two.as_mut()).expect("its turn");
    drop(place);
    drop(two);
    assert_eq!(places.load(), Load::default());
}

/// One look at a future.
fn look_at<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_is_told_follows_how_long_places_are_held() {
    let places = places(1, 1, 1);
    for _ in 0..100 {
        let place = places.acquire(&tenant("a")).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(place);
    }
    let _held = places.acquire(&tenant("small")).await.expect("a place");
    let busy = places.acquire(&tenant("small")).await.expect_err("full");
    assert!((3_900..=4_000).contains(&busy.retry_after_ms), "{busy}");
}
