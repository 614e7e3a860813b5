//! Each way to misbehave does what it says, as often as it was told.

use std::process::Command;

use super::*;

/// Posts Priya's refund twice under one key to a backend with one fault, and compares the two
/// verdicts and the counts.
fn check(mode: &str, first: &str, second: &str, counts: &str) {
    let backend = Backend::start();
    backend.misbehave(&json!({ "path": "/refunds", "mode": mode, "delay_ms": 50 }));
    let post = || match backend
        .http
        .try_post("/refunds", Some("k"), &priyas_refund())
    {
        Ok(reply) => reply.verdict(),
        Err(error) => format!("{:?}", error.kind()),
    };
    assert_eq!(
        (post().as_str(), post().as_str()),
        (first, second),
        "{mode}"
    );
    assert_eq!(backend.counts("refunds"), counts, "{mode}");
    assert_eq!(
        backend.http.get("/admin/misbehave").json(),
        json!({ "faults": [] })
    );
}

#[test]
fn one_fault_strikes_once() {
    check("delay_before", "201", "201", "1 1 0 0");
    check("hold_answer", "201", "201", "1 1 0 0");
    check("fail_before", "500 internal", "201", "1 0 0 0");
    check("fail_after", "500 internal", "201", "1 1 0 0");
    check("hang_up_after", "ConnectionReset", "201", "1 1 0 0");
    check("forget_keys", "201", "201", "2 0 0 0");
}

#[test]
fn keys_are_forgotten_for_ever_until_cleared() {
    let backend = Backend::start();
    let fault = json!({ "path": "/refunds", "mode": "forget_keys", "times": 0 });
    backend.misbehave(&fault);
    for _ in 0..2 {
        backend.http.post("/refunds", Some("k"), &priyas_refund());
    }
    let backend = backend.restart();
    backend.http.post("/refunds", Some("k"), &priyas_refund());
    assert_eq!(backend.counts("refunds"), "3 0 0 0");
    let done = backend.http.get("/refunds/by-key/k").json();
    assert_eq!(done["refunds"].as_array().unwrap().len(), 3);

    let noted = &backend.http.get("/admin/misbehave").json()["faults"][0];
    assert_eq!(
        (&noted["mode"], &noted["times"]),
        (&json!("forget_keys"), &json!(0))
    );
    assert_eq!(
        backend.http.delete("/admin/misbehave").json(),
        json!({ "removed": 1 })
    );
    backend.http.post("/refunds", Some("k"), &priyas_refund());
    backend.http.post("/refunds", Some("k"), &priyas_refund());
    assert_eq!(backend.counts("refunds"), "4 1 0 0");
}

#[test]
fn a_held_answer_is_done_already() {
    let backend = Backend::start();
    let http = backend.http;
    backend.misbehave(&json!({ "path": "/refunds", "mode": "hold_answer", "delay_ms": 60_000 }));
    let held = thread::spawn(move || http.try_post("/refunds", Some("k"), &priyas_refund()));
    eventually("it is done", || backend.counts("refunds") == "1 0 0 0");
    assert!(!held.is_finished());
    let again = http.post("/refunds", Some("k"), &priyas_refund());
    assert!(again.has("idempotent-replayed: true"));
    // The end does not wait for the held answer.
    drop(backend);
    assert!(held.join().unwrap().is_err());
}

#[test]
fn a_write_whose_caller_is_gone_is_done_all_the_same() {
    let backend = Backend::start();
    let http = backend.http;
    backend.misbehave(&json!({ "path": "/acts", "mode": "delay_before", "delay_ms": 300 }));
    let mut stream = TcpStream::connect(http.0).unwrap();
    let body = r#"{"name":"ring"}"#;
    let head = "POST /acts HTTP/1.1\r\nHost: b\r\nIdempotency-Key: k\r\nContent-Length: 15\r\n\r\n";
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    eventually("it has arrived", || {
        http.get("/admin/counts").json()["requests"] == 1
    });
    drop(stream);
    assert_eq!(http.get("/acts/by-key/k").json(), json!({ "acts": [] }));
    eventually("it is done", || backend.counts("acts") == "1 0 0 0");
}

#[test]
fn reads_and_undoing_can_be_struck_too() {
    let backend = Backend::start();
    let http = backend.http;
    let by_key = "/acts/by-key/{key}";
    backend.misbehave(&json!({ "path": by_key, "mode": "fail_before" }));
    backend.misbehave(&json!({ "method": "DELETE", "path": by_key, "mode": "fail_after" }));
    backend.misbehave(&json!({ "path": "/policies/{topic}", "mode": "hang_up_after", "times": 2 }));

    http.post("/acts", Some("k"), &json!({ "name": "ring" }));
    assert_eq!(http.get("/acts/by-key/k").status, 500);
    assert_eq!(http.get("/acts/by-key/k").status, 200);
    assert_eq!(http.delete("/acts/by-key/k").status, 500);
    assert_eq!(
        http.delete("/acts/by-key/k").json(),
        json!({ "removed": 0 })
    );
    for _ in 0..2 {
        assert!(http.send("GET", "/policies/refunds", &[], "").is_err());
    }
    assert_eq!(http.get("/policies/refunds").status, 200);
}

#[test]
fn what_cannot_be_played_is_refused() {
    let backend = Backend::start();
    for (fault, expected) in [
        (
            json!({ "path": "/refund", "mode": "fail_before" }),
            "422 route_unknown",
        ),
        (
            json!({ "path": "/refunds/by-key/k", "mode": "fail_before" }),
            "422 route_unknown",
        ),
        (
            json!({ "method": "GET", "path": "/refunds", "mode": "fail_before" }),
            "422 route_unknown",
        ),
        (
            json!({ "path": "/refunds", "mode": "explode" }),
            "422 fields_invalid",
        ),
    ] {
        let reply = backend.http.post("/admin/misbehave", None, &fault);
        assert_eq!(reply.verdict(), expected, "{fault}");
    }
}

#[test]
fn a_process_that_dies_after_the_commit_has_done_it_once() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch.0);
    let fault = json!({ "path": "/refunds", "mode": "die_after_commit" });
    process.1.post("/admin/misbehave", None, &fault);
    let reply = process.1.try_post("/refunds", Some("k"), &priyas_refund());
    assert!(reply.is_err());
    assert_eq!(process.0.wait().unwrap().code(), Some(137));

    let process = Process::start(&scratch.0);
    assert_eq!(process.1.counts("refunds"), "1 0 0 0");
    let again = process.1.post("/refunds", Some("k"), &priyas_refund());
    assert_eq!(
        (again.status, &again.json()["refund_id"]),
        (201, &json!("rf_77"))
    );
    assert_eq!(process.1.counts("refunds"), "1 1 0 0");
}

#[test]
fn a_process_killed_among_writes_has_done_each_at_most_once() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch.0);
    let http = process.1;
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            thread::spawn(move || {
                let keys = (0..).map(|n| format!("{sender}-{n}"));
                let sent = |key: &String| http.try_post("/refunds", Some(key), &priyas_refund());
                keys.take_while(|key| sent(key).is_ok()).count()
            })
        })
        .collect();
    eventually("it is busy", || {
        http.get("/admin/counts").json()["requests"].as_u64() > Some(20)
    });
    process.0.kill().unwrap();

    let process = Process::start(&scratch.0);
    for (sender, thread) in senders.into_iter().enumerate() {
        let answered = thread.join().unwrap();
        for n in 0..=answered {
            let key = format!("{sender}-{n}");
            let again = process.1.post("/refunds", Some(&key), &priyas_refund());
            assert_eq!(again.status, 201);
            assert!(
                n == answered || again.has("idempotent-replayed: true"),
                "{key} was lost"
            );
            let done = process.1.get(&format!("/refunds/by-key/{key}")).json();
            assert_eq!(done, json!({ "refunds": [again.json()] }));
        }
    }
}

#[test]
fn sigterm_ends_it_in_peace() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch.0);
    // An answer shows that the signal is listened to.
    assert_eq!(process.1.get("/health").status, 200);
    let pid = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}
