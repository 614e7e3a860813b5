//! `check(request, expected)`: what is let out, and which rule stops the rest.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stoplog_model::{EffectError, Request};

use super::*;
use crate::{Resolve, Secrets, Settings};

/// Names of the test's world.
struct Names;

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let addresses: &[&str] = match host {
            "api.example.com" => &["93.184.216.34", "93.184.216.34", "2606:4700::1111"],
            "inside.example.com" => &["10.0.0.7"],
            "mixed.example.com" => &["93.184.216.34", "169.254.169.254"],
            "empty.example.com" => &[],
            _ => return Err(io::Error::other("no such name")),
        };
        Ok(addresses.iter().map(|a| a.parse().expect("ip")).collect())
    }
}

fn egress() -> Egress {
    let mut secrets = Secrets::new();
    secrets.bind("TOKEN", "s3cret-value").expect("bind");
    secrets.bind("OTHER", "other-value").expect("bind");
    Egress::new(Settings {
        secrets,
        resolver: Arc::new(Names),
        connect_timeout: Duration::from_secs(1),
    })
    .expect("egress")
}

fn request(method: &str, url: &str) -> Request {
    Request {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: vec![],
        body: vec![],
    }
}

fn grants() -> Vec<Grant> {
    let grant = |text| Grant::parse(text).expect("grant");
    let here = "127.0.0.1:9".parse().expect("address");
    vec![
        grant("https://api.example.com/v1/"),
        grant("https://api.example.com/v1/read-only/").with_methods(["GET"]),
        grant("https://inside.example.com/"),
        grant("https://mixed.example.com/"),
        grant("https://empty.example.com/"),
        grant("https://lost.example.com/"),
        grant("http://127.0.0.1/"),
        grant("http://127.0.0.1:8080/").with_private(),
        grant("http://[::ffff:127.0.0.1]/"),
        grant("http://nimbus.internal/")
            .with_connect(here)
            .expect("http"),
        grant("https://10.1.1.1/").with_methods(["GET"]),
    ]
}

/// The outcome as a word, and the detail.
async fn check(request: &Request, expected: &str) {
    let allowed = ["TOKEN".to_owned(), "UNBOUND".to_owned()];
    let (word, detail) = match egress().vet(request, &grants(), &allowed).await {
        Ok(vetted) => ("ok".to_owned(), format!("{:?}", vetted.addresses)),
        Err(EffectError::Denied { reason, detail }) => (reason.code().to_owned(), detail),
        Err(EffectError::NotSent(why)) => ("not_sent".to_owned(), why),
        Err(EffectError::Unanswered(why)) => ("unanswered".to_owned(), why),
    };
    let given = format!("{} {}", request.method, request.url);
    assert_eq!(word, expected, "{}: {detail}", given.escape_debug());
}

#[tokio::test]
async fn urls_methods_and_addresses() {
    let table = "
        GET https://api.example.com/v1/refunds => ok
        POST https://API.EXAMPLE.COM:443/v1 => ok
        PATCH https://api.example.com/v1/read-only/x => ok
        GET https://api.example.com/v1evil => origin_not_granted
        GET https://api.example.com/v1/../admin => origin_not_granted
        GET https://api.example.com/v1/%2e%2e/admin => origin_not_granted
        GET https://api.example.com\\v1\\..\\admin => origin_not_granted
        GET http://api.example.com/v1/ => origin_not_granted
        GET https://evil.example.com/v1/ => origin_not_granted
        GET https://api.example.com@evil.example.com/v1/ => url_invalid
        GET https://me:pw@api.example.com/v1/ => url_invalid
        GET ftp://api.example.com/v1/ => url_invalid
        GET /v1/refunds => url_invalid
        GET https:///v1/ => origin_not_granted
        CONNECT https://api.example.com/v1/ => method_refused
        TRACE https://api.example.com/v1/ => method_refused
        get https://api.example.com/v1/ => method_refused
        POST https://10.1.1.1/ => method_refused
        GET https://10.1.1.1/ => address_private
        GET https://inside.example.com/ => address_private
        GET https://mixed.example.com/ => address_private
        GET https://empty.example.com/ => not_sent
        GET https://lost.example.com/ => not_sent
        GET http://127.0.0.1/ => address_private
        GET http://2130706433/ => address_private
        GET http://0x7f.1/ => address_private
        GET http://0177.0.0.1/ => address_private
        GET http://127.1/ => address_private
        GET http://127.0.0.1./ => address_private
        GET http://[::ffff:7f00:1]/ => address_private
        GET http://127.0.0.1:8080/ => ok
        GET http://nimbus.internal/refunds => ok
        GET https://nimbus.internal/refunds => origin_not_granted
    ";
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (given, expected) = line.split_once(" => ").expect("line");
        let (method, url) = given.split_once(' ').expect("method");
        check(&request(method, url), expected).await;
    }
    check(
        &request("GET", "https://api.example.com/v1/\nx"),
        "url_invalid",
    )
    .await;
    check(
        &request("G ET", "https://api.example.com/v1/"),
        "method_refused",
    )
    .await;
    let long = format!("https://api.example.com/v1/{}", "x".repeat(MAX_URL_BYTES));
    check(&request("GET", &long), "request_limit").await;
}

#[tokio::test]
async fn headers_that_belong_to_the_host() {
    for (name, value, expected) in [
        ("accept", "application/json", "ok"),
        ("authorization", "Bearer {{secret:TOKEN}}", "ok"),
        ("authorization", "Bearer {{secret:OTHER}}", "secret_missing"),
        (
            "authorization",
            "Bearer {{secret:UNBOUND}}",
            "secret_missing",
        ),
        ("authorization", "Bearer {{secret:TOKEN", "secret_missing"),
        ("Host", "evil.example.com", "header_reserved"),
        ("Idempotency-Key", "mine", "header_reserved"),
        ("content-length", "0", "header_reserved"),
        ("transfer-encoding", "chunked", "header_reserved"),
        ("proxy-authorization", "x", "header_reserved"),
        ("x-http-method-override", "DELETE", "header_reserved"),
        ("expect", "100-continue", "header_reserved"),
        ("x-a", "b\r\nidempotency-key: c", "header_reserved"),
        ("x-a", "b\0", "header_reserved"),
        ("x a", "b", "header_reserved"),
        ("x-a", &"b".repeat(MAX_HEADER_BYTES), "request_limit"),
    ] {
        let mut given = request("POST", "https://api.example.com/v1/");
        given.headers = vec![(name.to_owned(), value.to_owned())];
        check(&given, expected).await;
    }
    let mut many = request("GET", "https://api.example.com/v1/");
    many.headers = vec![("x".to_owned(), "y".to_owned()); MAX_HEADERS + 1];
    check(&many, "request_limit").await;
}

#[tokio::test]
async fn bodies_and_placeholders_in_urls() {
    let mut large = request("POST", "https://api.example.com/v1/");
    large.body = vec![b'x'; MAX_REQUEST_BYTES + 1];
    check(&large, "request_limit").await;
    let mut body = request("POST", "https://api.example.com/v1/");
    body.body = b"{\"token\": \"{{secret:OTHER}}\"}".to_vec();
    check(&body, "secret_missing").await;
    check(
        &request("GET", "https://api.example.com/v1/{{secret:OTHER}}"),
        "secret_missing",
    )
    .await;
    check(
        &request("GET", "https://api.example.com/v1/x?k={{secret:OTHER}}"),
        "secret_missing",
    )
    .await;
    check(
        &request("GET", "https://api.example.com/v1/x?k={{secret:TOKEN}}"),
        "ok",
    )
    .await;
}

#[tokio::test]
async fn only_a_safe_method_needs_no_intent() {
    for (method, is_safe) in [
        ("GET", true),
        ("HEAD", true),
        ("POST", false),
        ("DELETE", false),
    ] {
        let given = request(method, "https://api.example.com/v1/");
        let vetted = egress().vet(&given, &grants(), &[]).await.expect("vetted");
        assert_eq!(vetted.is_safe(), is_safe, "{method}");
        assert_eq!(vetted.addresses.len(), 2, "the same address twice is one");
        assert_eq!(vetted.into_safe().is_ok(), is_safe, "{method}");
    }
}
