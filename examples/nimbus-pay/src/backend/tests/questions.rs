//! What the backend knows, and what it refuses.

use super::*;

#[test]
fn customers_orders_and_policies() {
    let backend = Backend::start();
    let http = backend.http;
    assert_eq!(http.get("/health").status, 200);

    let priya = http.get("/customers?email=priya@example.com").json();
    assert_eq!(priya["customer_id"], "cust_1001");
    assert_eq!(
        http.get("/customers?email=Priya%40Example.com").json(),
        priya
    );
    assert_eq!(
        http.get("/customers/cust_1001/orders").json(),
        json!({ "orders": [{
            "order_id": "448100", "customer_id": "cust_1001", "item": "Headphones",
            "amount_inr": 6400, "status": "delivered", "promised_on": "2026-03-04",
            "delivered_on": "2026-03-09", "late_days": 5,
        }] })
    );
    let open = &http.get("/customers/cust_1005/orders").json()["orders"][0];
    assert_eq!(
        (&open["delivered_on"], &open["late_days"]),
        (&Value::Null, &json!(0))
    );
    let policy = http.get("/policies/refunds").json();
    assert!(policy["text"].as_str().unwrap().contains("Rs 50,000"));

    for (path, expected) in [
        (
            "/customers?email=nobody@example.com",
            "404 customer_not_found",
        ),
        ("/customers", "404 customer_not_found"),
        ("/customers/cust_9/orders", "404 customer_not_found"),
        ("/policies/gifts", "404 policy_not_found"),
        ("/nothing", "404 route_not_found"),
        ("/refunds", "405 method_not_allowed"),
    ] {
        assert_eq!(http.get(path).verdict(), expected, "GET {path}");
    }
}

#[test]
fn what_is_wrong_is_refused_and_not_kept() {
    let backend = Backend::start();
    let http = backend.http;
    let refund = |order_id: Value, amount_inr: Value| json!({ "order_id": order_id, "amount_inr": amount_inr, "reason": "delay" });
    for (path, body, expected) in [
        (
            "/refunds",
            refund(json!("448999"), json!(1)),
            "404 order_not_found",
        ),
        (
            "/refunds",
            refund(json!("448100"), json!(6401)),
            "422 amount_exceeds_order",
        ),
        (
            "/refunds",
            refund(json!("448100"), json!(0)),
            "422 amount_not_positive",
        ),
        (
            "/refunds",
            refund(json!("448100"), json!(64.5)),
            "422 fields_invalid",
        ),
        (
            "/refunds",
            refund(json!(448100), json!(6400)),
            "422 fields_invalid",
        ),
        (
            "/mails",
            json!({ "to": "Priya", "subject": "", "body": "" }),
            "422 address_invalid",
        ),
        (
            "/acts",
            json!({ "name": "ring", "twice": true }),
            "422 fields_invalid",
        ),
    ] {
        let reply = http.post(path, Some("k"), &body);
        assert_eq!(reply.verdict(), expected, "POST {path} {body}");
    }
    let not_json = http.send("POST", "/acts", &[], "name=ring").unwrap();
    assert_eq!(not_json.verdict(), "400 body_invalid");
    let endless = "k".repeat(256);
    let reply = http.post("/acts", Some(&endless), &json!({ "name": "ring" }));
    assert_eq!(reply.verdict(), "400 idempotency_key_invalid");

    assert_eq!(
        http.post("/refunds", Some("k"), &priyas_refund()).json()["refund_id"],
        "rf_77"
    );
    assert_eq!(backend.counts("refunds"), "1 0 0 0");
    assert_eq!(http.get("/admin/counts").json()["requests"], 10);
}
