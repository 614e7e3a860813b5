use super::*;
use serde_json::json;

fn route(request: &str) -> Route {
    Route {
        request: request.into(),
        when: Map::new(),
        status: 200,
        headers: BTreeMap::new(),
        body: None,
        text: None,
        effect: None,
        undoes: false,
        if_none: None,
    }
}

fn asked(method: &str, host: &str, target: &str) -> Asked {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Asked {
        method: method.into(),
        host: host.into(),
        path: path.into(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        ..Asked::default()
    }
}

#[test]
fn a_request_fits_by_method_host_path_and_query() {
    let check = |line: &str, asked: Asked| route(line).catches(&asked);
    let caught = check(
        "GET /orders/{id}/refunds?ref={key}",
        asked("GET", "a", "/orders/4%2F1/refunds?x=1&ref=a+b"),
    );
    let caught = caught.expect("it fits");
    assert_eq!(caught["id"], "4/1");
    assert_eq!(caught["key"], "a b");
    for (line, request) in [
        ("POST /a", asked("GET", "h", "/a")),
        ("GET /a", asked("GET", "h", "/a/b")),
        ("GET /a?b=1", asked("GET", "h", "/a")),
        ("GET /a?b=1", asked("GET", "h", "/a?b=2")),
        ("GET https://x.com/a", asked("GET", "y.com", "/a")),
    ] {
        assert!(check(line, request).is_none(), "{line}");
    }
    assert!(check("GET https://x.com/a", asked("GET", "x.com", "/a")).is_some());
}

#[test]
fn a_line_may_look_into_the_body() {
    let mut line = route("PUT /orders/{id}");
    line.when.insert("order.state".into(), json!("open"));
    line.when.insert("count".into(), json!(2));
    let mut request = asked("PUT", "h", "/orders/7");
    for (body, fits) in [
        (json!({"order": {"state": "open"}, "count": 2}), true),
        (json!({"order": {"state": "open"}, "count": "2"}), true),
        (json!({"order": {"state": "closed"}, "count": 2}), false),
        (json!({"count": 2}), false),
        (Value::Null, false),
    ] {
        request.body = body;
        assert_eq!(line.catches(&request).is_some(), fits, "{}", request.body);
    }
}

#[test]
fn a_line_that_is_none_is_refused() {
    let script = |request: &str| Script {
        routes: vec![route(request)],
        keeps_keys: false,
        key_in: KeyPlace::default(),
        loses_answers: 0,
        holds_answers: 0,
    };
    assert!(script("GET /a").check().is_ok());
    for bad in ["/a", "get /a", "GET", "GET a"] {
        assert!(script(bad).check().is_err(), "{bad}");
    }
}

#[test]
fn braces_are_filled_with_values_and_others_stay() {
    let known = json!({"n": 2, "effects": [{"id": 1}], "body": {"a": {"b": "c"}}});
    let known = known.as_object().expect("map");
    let template = json!({"id": "re_{n}", "n": "{n}", "all": "{effects}", "deep": "{body.a.b}!",
        "other": "{unknown} {", "list": ["{effects.0.id}"]});
    assert_eq!(
        filled(&template, known),
        json!({"id": "re_2", "n": 2, "all": [{"id": 1}], "deep": "c!",
            "other": "{unknown} {", "list": [1]})
    );
}

#[test]
fn the_key_is_where_the_far_side_looks() {
    let mut request = asked("POST", "h", "/a?ref=q");
    request.body = json!({"meta": {"ref": "b"}});
    request.headers.insert("idempotency-key".into(), "h".into());
    for (place, key) in [
        ("header:Idempotency-Key", Some("h")),
        ("body:meta.ref", Some("b")),
        ("query:ref", Some("q")),
        ("body:none", None),
    ] {
        let script = Script {
            routes: Vec::new(),
            keeps_keys: true,
            key_in: KeyPlace::try_from(place.to_owned()).expect("place"),
            loses_answers: 0,
            holds_answers: 0,
        };
        assert_eq!(script.key(&request).as_deref(), key, "{place}");
    }
    assert!(KeyPlace::try_from("cookie:x".to_owned()).is_err());
}
