use super::url::split;
use super::{Request, Response, encode, secret, with_query};
use crate::bindings::types::{Aftermath, ErrorCode};
use crate::effect::EffectError;
use crate::error::ToolError;

fn answer(status: u16, headers: &[(&str, &str)], from_effect: bool) -> Response {
    Response {
        status,
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        body: b"{\"email\":".to_vec(),
        line: Request::get("http://shop/orders?email=a").line(),
        from_effect,
    }
}

#[test]
fn statuses_become_kinds_and_aftermaths() {
    use Aftermath::{Unknown, Untouched};
    let table = [
        (301, ErrorCode::Upstream, Unknown),
        (400, ErrorCode::InvalidInput, Untouched),
        (401, ErrorCode::Permission, Untouched),
        (403, ErrorCode::Permission, Untouched),
        (404, ErrorCode::NotFound, Untouched),
        (408, ErrorCode::Transient, Unknown),
        (409, ErrorCode::Conflict, Untouched),
        (412, ErrorCode::Precondition, Untouched),
        (418, ErrorCode::Upstream, Untouched),
        (422, ErrorCode::InvalidInput, Untouched),
        (429, ErrorCode::RateLimited, Untouched),
        (500, ErrorCode::Upstream, Unknown),
        (503, ErrorCode::Upstream, Unknown),
    ];
    for (status, code, aftermath) in table {
        let error = answer(status, &[], true).success().expect_err("not 2xx");
        assert_eq!((error.code, error.aftermath), (code, aftermath), "{status}");
        let error = answer(status, &[], false).success().expect_err("not 2xx");
        assert_eq!((error.code, error.aftermath), (code, Untouched), "{status}");
        assert_eq!(
            error.message,
            format!("GET http://shop/orders answered {status}")
        );
    }
    assert!(answer(201, &[], true).success().is_ok());
}

#[test]
fn retry_after_is_kept_in_seconds_only() {
    for (value, expected) in [
        ("7", Some(7_000)),
        ("Wed, 21 Oct", None),
        ("99999999999999999999", None),
    ] {
        let error = answer(429, &[("retry-after", value)], false)
            .success()
            .expect_err("not 2xx");
        assert_eq!(error.retry_after_ms, expected, "{value}");
    }
}

#[test]
fn a_broken_body_is_not_quoted() {
    let error = answer(200, &[], true)
        .json::<serde_json::Value>()
        .expect_err("broken");
    assert_eq!(error.code, ErrorCode::Upstream);
    assert_eq!(error.aftermath, Aftermath::Unknown);
    assert!(!error.message.contains("email"), "{}", error.message);
}

#[test]
fn effect_errors_say_what_is_known() {
    let why = || "because".to_owned();
    let table = [
        (
            EffectError::Malformed(why()),
            ErrorCode::Internal,
            Aftermath::Untouched,
        ),
        (
            EffectError::Denied(why()),
            ErrorCode::Permission,
            Aftermath::Untouched,
        ),
        (
            EffectError::NotSent(why()),
            ErrorCode::Transient,
            Aftermath::Untouched,
        ),
        (
            EffectError::Unanswered(why()),
            ErrorCode::Transient,
            Aftermath::Unknown,
        ),
    ];
    for (effect, code, aftermath) in table {
        let error = ToolError::from(effect);
        assert_eq!((error.code, error.aftermath), (code, aftermath));
        assert!(error.message.contains("because"));
    }
}

#[test]
fn queries_are_percent_encoded() {
    let email = String::from("a+b@x.org");
    let limit = 20_u32;
    for (url, expected) in [
        ("http://h/p", "http://h/p?email=a%2Bb%40x.org&limit=20"),
        (
            "http://h/p?q=1",
            "http://h/p?q=1&email=a%2Bb%40x.org&limit=20",
        ),
        ("http://h/p?", "http://h/p?email=a%2Bb%40x.org&limit=20"),
        ("http://h/p#f", "http://h/p?email=a%2Bb%40x.org&limit=20#f"),
    ] {
        assert_eq!(
            with_query(url, &[("email", &email), ("limit", &limit)]),
            expected
        );
    }
    assert_eq!(with_query("http://h/p", &[]), "http://h/p");
    assert_eq!(encode("ü/ -._~%"), "%C3%BC%2F%20-._~%25");
    assert_eq!(secret("TOKEN"), "{{secret:TOKEN}}");
}

#[test]
fn urls_are_split() {
    for (url, expected) in [
        ("http://h", Some((false, "h", "/"))),
        ("https://h:8/a?b=c#d", Some((true, "h:8", "/a?b=c"))),
        ("HTTP://h?b", Some((false, "h", "/?b"))),
        ("ftp://h/", None),
        ("/relative", None),
        ("http:///path", None),
    ] {
        let found = split(url);
        let found = found
            .as_ref()
            .map(|s| (s.https, s.authority, s.path_with_query.as_str()));
        assert_eq!(found, expected, "{url}");
    }
}

#[test]
fn a_body_that_is_not_json_is_a_fault() {
    let map = std::collections::BTreeMap::from([(vec![1], 2)]);
    let request = Request::post("http://h/").json(&map);
    assert!(request.into_parts().is_err());
}
