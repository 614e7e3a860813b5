//! Tables: grants that cannot be used, and paths that a prefix covers or not.

use super::*;

fn covers(grant: &str, url: &str) -> bool {
    let grant = Grant::parse(grant).expect("grant");
    let url = Url::parse(url).expect("url");
    let origin = Origin::of(&url).expect("origin");
    grant.covers(&origin, url.path())
}

#[test]
fn a_prefix_covers_whole_segments_and_nothing_slips_out_of_it() {
    let inside = [
        "https://api.example.com/v1",
        "https://api.example.com/v1/",
        "https://API.example.com:443/v1/refunds/7?x=../..",
        "https://api.example.com/v2/../v1/refunds",
        "https://api.example.com/v1//refunds",
        "https://api.example.com/v1/group%2Fproject",
        "https://api.example.com/v1/a..b",
    ];
    for url in inside {
        assert!(covers("https://api.example.com/v1/", url), "{url}");
        assert!(covers("https://api.example.com/v1", url), "{url}");
        assert!(covers("https://api.example.com", url), "{url}");
    }
    let outside = [
        "https://api.example.com/",
        "https://api.example.com/v1evil",
        "https://api.example.com/V1/x",
        "https://api.example.com/v1/../admin",
        "https://api.example.com/v1/%2e%2e/admin",
        "https://api.example.com/v1/.%2E/admin",
        "https://api.example.com/v1\\..\\admin",
        "https://api.example.com/v1/..%2fadmin",
        "https://api.example.com/v1/..%5cadmin",
        "https://api.example.com/v1/%252e%252e/admin",
        "https://api.example.com/v1/%252e%252e%252fadmin",
        "https://api.example.com/v1/..;/admin",
        "https://api.example.com/v1/x%2f..%2f..%2fadmin",
        "https://api.example.com//v1/x",
        "http://api.example.com/v1/x",
        "https://api.example.com:8443/v1/x",
        "https://api.example.com.evil.org/v1/x",
        "https://api.example.com./v1/x",
    ];
    for url in outside {
        assert!(!covers("https://api.example.com/v1/", url), "{url}");
    }
}

#[test]
fn a_grant_that_cannot_be_used_says_why() {
    let table = [
        ("api.example.com", "relative URL without a base"),
        ("ftp://example.com/", "only http and https"),
        ("https://user:pw@example.com/", "bind a secret"),
        ("https://example.com/?a=b", "query and fragment"),
        ("https://example.com/#a", "query and fragment"),
        ("https://*.example.com/", "name each origin"),
        ("https://example.com/v1/..%2f", "write it plainly"),
    ];
    for (given, expected) in table {
        let error = Grant::parse(given).expect_err(given).to_string();
        assert!(error.contains(expected), "{given}: {error}");
    }
}

#[test]
fn connect_is_for_http_only() {
    let address: SocketAddr = "127.0.0.1:8123".parse().expect("address");
    let grant = Grant::parse("http://nimbus.internal/").expect("grant");
    assert_eq!(
        grant.with_connect(address).expect("http").connect(),
        Some(address)
    );
    let error = Grant::parse("https://nimbus.internal/")
        .expect("grant")
        .with_connect(address)
        .expect_err("https");
    assert!(error.to_string().contains("http origins only"), "{error}");
}

#[test]
fn methods_do_not_mind_case() {
    let grant = Grant::parse("https://a.example/")
        .expect("grant")
        .with_methods(["get", "POST"]);
    assert!(grant.covers_method("GET") && grant.covers_method("POST"));
    assert!(!grant.covers_method("DELETE"));
}
