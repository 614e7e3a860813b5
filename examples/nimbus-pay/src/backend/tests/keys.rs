//! A key is done once, and both the deed and its answer outlive the process.

use super::*;

#[test]
fn a_repeat_gets_the_kept_answer_even_after_a_restart() {
    let backend = Backend::start();
    let first = backend
        .http
        .post("/refunds", Some("refund_448100_delay"), &priyas_refund());
    assert_eq!(first.status, 201);
    assert!(!first.has("idempotent-replayed: true"));

    let backend = backend.restart();
    let reordered = json!({ "reason": "delay", "amount_inr": 6400, "order_id": "448100" });
    let again = backend
        .http
        .post("/refunds", Some("refund_448100_delay"), &reordered);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert!(again.has("idempotent-replayed: true"));

    let other = json!({ "order_id": "448100", "amount_inr": 6399, "reason": "delay" });
    let conflict = backend
        .http
        .post("/refunds", Some("refund_448100_delay"), &other);
    assert_eq!(conflict.verdict(), "422 idempotency_conflict");
    let elsewhere = backend
        .http
        .post("/acts", Some("refund_448100_delay"), &json!({"name": "x"}));
    assert_eq!(elsewhere.verdict(), "422 idempotency_conflict");

    assert_eq!(backend.counts("refunds"), "1 1 1 0");
    assert_eq!(backend.counts("acts"), "0 0 1 0");
    assert_eq!(
        backend
            .http
            .get("/refunds/by-key/refund_448100_delay")
            .json(),
        json!({ "refunds": [first.json()] })
    );
    assert_eq!(
        backend.http.get("/refunds/by-key/none").json(),
        json!({ "refunds": [] })
    );
}

#[test]
fn without_a_key_everything_is_done_again() {
    let backend = Backend::start();
    let ids: Vec<Value> = (0..3)
        .map(|_| backend.http.post("/refunds", None, &priyas_refund()).json()["refund_id"].clone())
        .collect();
    assert_eq!(ids, ["rf_77", "rf_78", "rf_79"]);
    assert_eq!(backend.counts("refunds"), "3 0 0 0");
}

#[test]
fn a_repeat_that_comes_too_soon_is_told_to_wait() {
    let backend = Backend::start();
    let http = backend.http;
    backend.misbehave(&json!({ "path": "/refunds", "mode": "delay_before", "delay_ms": 400 }));
    let first = thread::spawn(move || http.post("/refunds", Some("k"), &priyas_refund()));
    eventually("the first has arrived", || {
        http.get("/admin/counts").json()["requests"] == 1
    });

    let soon = http.post("/refunds", Some("k"), &priyas_refund());
    assert_eq!(soon.verdict(), "409 idempotency_in_flight");
    assert!(soon.has("retry-after: 1"));
    assert_eq!(
        http.get("/refunds/by-key/k").json(),
        json!({ "refunds": [] })
    );

    assert_eq!(first.join().unwrap().status, 201);
    assert!(
        http.post("/refunds", Some("k"), &priyas_refund())
            .has("idempotent-replayed: true")
    );
    assert_eq!(backend.counts("refunds"), "1 1 0 1");
}

#[test]
fn many_at_once_are_one() {
    let backend = Backend::start();
    let http = backend.http;
    let senders: Vec<_> = (0..16)
        .map(|_| thread::spawn(move || http.post("/refunds", Some("k"), &priyas_refund()).status))
        .collect();
    for sender in senders {
        assert!(matches!(sender.join().unwrap(), 201 | 409));
    }
    assert!(backend.counts("refunds").starts_with("1 "));
}

#[test]
fn acts_are_undone_once() {
    let backend = Backend::start();
    let http = backend.http;
    let ring = json!({ "name": "ring" });
    assert_eq!(
        http.post("/acts", Some("k"), &ring).json()["act_id"],
        "act_1"
    );
    assert_eq!(http.get("/acts/by-key/k").json()["acts"][0]["name"], "ring");
    assert_eq!(
        http.delete("/acts/by-key/k").json(),
        json!({ "removed": 1 })
    );
    assert_eq!(
        http.delete("/acts/by-key/k").json(),
        json!({ "removed": 0 })
    );
    assert_eq!(http.get("/acts/by-key/k").json(), json!({ "acts": [] }));
    assert!(
        http.post("/acts", Some("k"), &ring)
            .has("idempotent-replayed: true")
    );
    assert_eq!(backend.counts("acts"), "1 1 0 0");
    assert_eq!(http.get("/admin/counts").json()["acts"]["undone"], 1);
}

#[test]
fn the_ledger_lists_all_writes_in_order() {
    let backend = Backend::start();
    let mail = json!({ "to": "priya@example.com", "subject": "Refund", "body": "rf_77" });
    let headers = [("Idempotency-Key", "m"), ("X-Tenant", "acme")];
    for _ in 0..2 {
        let reply = backend
            .http
            .send("POST", "/mails", &headers, &mail.to_string())
            .unwrap();
        assert_eq!(reply.json()["mail_id"], "ml_1");
    }
    backend.http.delete("/acts/by-key/a");

    let backend = backend.restart();
    let mut listed = backend.http.get("/admin/requests").json()["requests"].take();
    for request in listed.as_array_mut().unwrap() {
        let at_ms = request.as_object_mut().unwrap().remove("at_ms").unwrap();
        assert!(at_ms.as_i64().unwrap() > 1_700_000_000_000);
    }
    let line = |method: &str, path: &str, key: &str, tenant: Option<&str>, outcome: &str| {
        json!({
            "method": method, "path": path, "key": key, "tenant": tenant,
            "replayed": outcome == "replayed", "outcome": outcome,
        })
    };
    assert_eq!(
        listed,
        json!([
            line("POST", "/mails", "m", Some("acme"), "executed"),
            line("POST", "/mails", "m", Some("acme"), "replayed"),
            line("DELETE", "/acts/by-key/a", "a", None, "executed"),
        ])
    );
}
