//! What the far side saw, and what the outcome said, against a real server on loopback.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use stoplog_model::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::limits::MAX_RESPONSE_BYTES;
use crate::testkit::{Reply, Server, answer};
use crate::{Destination, Grant, Lost, Parcel, Resolve, Secrets, Settings, Transport};

const DEADLINE: Duration = Duration::from_secs(5);
const TOKEN: &str = "s3cret/value\"9";

fn settings() -> Settings {
    let mut secrets = Secrets::new();
    secrets.bind("TOKEN", TOKEN).expect("bind");
    Settings {
        secrets,
        connect_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

fn egress() -> Egress {
    Egress::new(settings()).expect("egress")
}

fn post(body: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        url: "http://nimbus.internal/refunds".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.as_bytes().to_vec(),
    }
}

async fn vetted(egress: &Egress, request: &Request, address: SocketAddr) -> Vetted {
    let grant = Grant::parse("http://nimbus.internal/").expect("grant");
    let grants = [grant.with_connect(address).expect("http")];
    let allowed = ["TOKEN".to_owned()];
    egress
        .vet(request, &grants, &allowed)
        .await
        .expect("vetted")
}

async fn fired(egress: &Egress, request: &Request, address: SocketAddr, key: &str) -> Outcome {
    let vetted = vetted(egress, request, address).await;
    egress
        .fire_as(&request.fingerprint(), key, vetted, DEADLINE, &[])
        .await
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { .. } => "answered",
        Outcome::NotSent { .. } => "not_sent",
        Outcome::Unanswered { .. } => "unanswered",
    }
}

#[tokio::test]
async fn the_key_and_the_name_arrive_and_connect_overrides_the_address() {
    let server = Server::always(answer("201 Created", "X-Request-Id: r1\r\n", "{}")).await;
    let egress = egress();
    let request = post("{\"order\": 448100}");
    let vetted = vetted(&egress, &request, server.address).await;
    let extra = [("traceparent".to_owned(), "00-1-2-01".to_owned())];
    let outcome = egress
        .fire_as(
            &request.fingerprint(),
            "refund_448100_delay",
            vetted,
            DEADLINE,
            &extra,
        )
        .await;
    let response = outcome.result().expect("answer");
    assert_eq!(response.status, 201);
    assert!(
        response
            .headers
            .contains(&("x-request-id".to_owned(), "r1".to_owned()))
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].head.starts_with("POST /refunds HTTP/1.1\r\n"),
        "{}",
        seen[0].head
    );
    assert_eq!(seen[0].header("host").as_deref(), Some("nimbus.internal"));
    assert_eq!(
        seen[0].header("idempotency-key").as_deref(),
        Some("refund_448100_delay")
    );
    assert_eq!(seen[0].header("traceparent").as_deref(), Some("00-1-2-01"));
    assert_eq!(
        seen[0].header("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(seen[0].body, "{\"order\": 448100}");
}

#[tokio::test]
async fn another_request_than_the_intended_does_not_leave() {
    let server = Server::always(answer("200 OK", "", "")).await;
    let egress = egress();
    let vetted = vetted(&egress, &post("{\"amount\": 9000}"), server.address).await;
    let intended = post("{\"amount\": 90}").fingerprint();
    let outcome = egress.fire_as(&intended, "k", vetted, DEADLINE, &[]).await;
    assert_eq!(word(&outcome), "not_sent");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_handed_back() {
    let server = Server::always(answer(
        "307 Temporary Redirect",
        "location: /elsewhere\r\n",
        "",
    ))
    .await;
    let response = fired(&egress(), &post("{}"), server.address, "k")
        .await
        .result()
        .expect("answer");
    assert_eq!(response.status, 307);
    assert!(
        response
            .headers
            .contains(&("location".to_owned(), "/elsewhere".to_owned()))
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let outcome = fired(&egress(), &post("{}"), address, "k").await;
    assert_eq!(word(&outcome), "not_sent", "{outcome:?}");
}

/// Replies after which the effect is in doubt.
#[tokio::test]
async fn an_answer_that_is_not_whole_is_unanswered_and_asked_for_once() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let chunk_cut = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n";
    let huge = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
        MAX_RESPONSE_BYTES + 1,
        "x".repeat(MAX_RESPONSE_BYTES + 1)
    );
    for (name, reply) in [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 20"),
        ("no HTTP", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("half a body", cut),
        ("half the chunks", chunk_cut),
        ("a body without end", &huge),
    ] {
        let text = reply.to_owned();
        let server = Server::start(move |_, _| Reply::Close(text.clone())).await;
        let outcome = fired(&egress(), &post("{}"), server.address, "k").await;
        assert_eq!(word(&outcome), "unanswered", "{name}");
        assert_eq!(server.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_deadline_leaves_the_effect_in_doubt() {
    let server = Server::start(|_, _| Reply::Hang).await;
    let egress = egress();
    let request = post("{}");
    let vetted = vetted(&egress, &request, server.address).await;
    let soon = Duration::from_millis(150);
    let outcome = egress
        .fire_as(&request.fingerprint(), "k", vetted, soon, &[])
        .await;
    let Outcome::Unanswered { why } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("150 ms"), "{why}");
    assert_eq!(server.seen().len(), 1);
}

/// The far side reads the request on a reused connection and closes without a word: a client
/// that tried again would do the effect twice.
#[tokio::test]
async fn a_reused_connection_that_dies_is_not_tried_again() {
    for _ in 0..20 {
        let server = Server::start(|seen, _| {
            if seen.header("idempotency-key").as_deref() == Some("first") {
                Reply::Keep(answer("200 OK", "", "{}"))
            } else {
                Reply::Close(String::new())
            }
        })
        .await;
        let egress = egress();
        let first = fired(&egress, &post("{}"), server.address, "first").await;
        assert_eq!(word(&first), "answered");
        let second = fired(&egress, &post("{}"), server.address, "second").await;
        assert_eq!(word(&second), "unanswered");
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].connection, seen[0].connection, "it was reused");
    }
}

/// The far side closes each connection soon after its answer, without saying so. The next
/// request may meet the closing connection at any moment, before or after its first byte is
/// written: whatever the outcome, the far side has read it at most once, and not at all if the
/// outcome says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pooled_connection_that_was_closed_never_brings_two_copies() {
    let server =
        Server::start(|_, n| Reply::CloseLater(answer("200 OK", "", "{}"), n * 7 % 120)).await;
    let egress = egress();
    for n in 0..500 {
        let key = format!("key-{n}");
        let outcome = fired(&egress, &post("{}"), server.address, &key).await;
        let seen = server.seen();
        let copies = seen
            .iter()
            .filter(|s| s.header("idempotency-key").as_deref() == Some(&key))
            .count();
        match word(&outcome) {
            "answered" => assert_eq!(copies, 1, "{key}"),
            "not_sent" => assert_eq!(copies, 0, "{key}"),
            _ => assert!(copies <= 1, "{key}"),
        }
    }
    // Nothing came late either.
    let mut keys: Vec<_> = server
        .seen()
        .iter()
        .map(|s| s.header("idempotency-key"))
        .collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

#[tokio::test]
async fn a_secret_is_put_in_and_scrubbed_from_what_comes_back() {
    let server = Server::start(|seen, _| {
        let echoed = seen.header("authorization").expect("authorization");
        let headers =
            format!("x-echo: {echoed}\r\nset-cookie: a=b\r\nConnection: x-hop\r\nx-hop: 1\r\n");
        Reply::Keep(answer(
            "200 OK",
            &headers,
            &format!("{}|{}", seen.body, seen.head),
        ))
    })
    .await;
    let mut request = post("{\"token\": \"{{secret:TOKEN}}\"}");
    request.url.push_str("?k={{secret:TOKEN}}");
    request.headers.push((
        "authorization".to_owned(),
        "Bearer {{secret:TOKEN}}".to_owned(),
    ));
    request
        .headers
        .push(("accept-encoding".to_owned(), "gzip".to_owned()));
    let response = fired(&egress(), &request, server.address, "k")
        .await
        .result()
        .expect("answer");

    let seen = &server.seen()[0];
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {TOKEN}"))
    );
    assert_eq!(seen.body, format!("{{\"token\": \"{TOKEN}\"}}"));
    assert!(
        seen.head.contains("?k=s3cret%2Fvalue%229 "),
        "{}",
        seen.head
    );
    assert_eq!(seen.header("accept-encoding").as_deref(), Some("identity"));

    let body = String::from_utf8(response.body.clone()).expect("text");
    assert!(!body.contains("s3cret"), "{body}");
    assert!(body.contains("?k=[secret:TOKEN] "), "{body}");
    let header = |name: &str| {
        response
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    assert_eq!(header("x-echo"), Some("Bearer [secret:TOKEN]"));
    assert_eq!(header("set-cookie"), None);
    assert_eq!(header("x-hop"), None);
    assert_eq!(
        header("content-length"),
        Some(body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn an_error_never_shows_a_secret() {
    let server = Server::start(|_, _| Reply::Close(format!("HTTP/1.1 {TOKEN}\r\n\r\n"))).await;
    let mut request = post("{}");
    request.url.push_str("?k={{secret:TOKEN}}");
    let outcome = fired(&egress(), &request, server.address, "k").await;
    assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
}

#[tokio::test]
async fn a_read_needs_no_key() {
    let server = Server::always(answer("200 OK", "", "[]")).await;
    let egress = egress();
    let request = Request {
        method: "GET".to_owned(),
        headers: vec![],
        body: vec![],
        ..post("")
    };
    let safe = vetted(&egress, &request, server.address)
        .await
        .into_safe()
        .expect("safe");
    let response = egress.read(safe, DEADLINE, &[]).await.expect("answer");
    assert_eq!(response.body, b"[]");
    assert_eq!(server.seen()[0].header("idempotency-key"), None);
    assert_eq!(server.seen()[0].header("content-length"), None);
}

/// Says one thing when asked first, another afterwards.
struct Rebinding {
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Rebinding {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        let first = self.asked.fetch_add(1, Ordering::SeqCst) == 0;
        // The second is where nobody listens.
        let text = if first { "127.0.0.1" } else { "127.0.0.2" };
        Ok(vec![text.parse().expect("ip")])
    }
}

#[tokio::test]
async fn a_name_that_changes_after_the_check_changes_nothing() {
    let server = Server::always(answer("200 OK", "", "")).await;
    let resolver = Arc::new(Rebinding {
        asked: AtomicUsize::new(0),
    });
    let settings = Settings {
        resolver: resolver.clone(),
        ..settings()
    };
    let egress = Egress::new(settings).expect("egress");
    let origin = format!("http://rebind.example.com:{}", server.address.port());
    let mut request = post("{}");
    request.url = format!("{origin}/refunds");
    let grants = [Grant::parse(&origin).expect("grant").with_private()];
    let vetted = egress.vet(&request, &grants, &[]).await.expect("vetted");
    let outcome = egress
        .fire_as(&request.fingerprint(), "k", vetted, DEADLINE, &[])
        .await;
    assert_eq!(word(&outcome), "answered", "{outcome:?}");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    let host = format!("rebind.example.com:{}", server.address.port());
    assert_eq!(server.seen()[0].header("host"), Some(host));
}

/// A TLS handshake that fails, or never ends, is before the request. It also shows that a client
/// for a name connects to the address that was checked, and asks no resolver of its own.
#[tokio::test]
async fn a_failed_handshake_is_not_sent() {
    for (reply, expected) in [
        (
            "no TLS, but long enough to be read as a record",
            "corrupt message",
        ),
        ("", "timed out"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(reply.as_bytes()).await;
                held.push(stream);
            }
        });
        let resolver = Arc::new(Rebinding {
            asked: AtomicUsize::new(0),
        });
        let egress = Egress::new(Settings {
            resolver,
            ..settings()
        })
        .expect("egress");
        let origin = format!("https://rebind.example.com:{}/", address.port());
        let request = Request {
            url: origin.clone(),
            ..post("{}")
        };
        let grants = [Grant::parse(&origin).expect("grant").with_private()];
        let vetted = egress.vet(&request, &grants, &[]).await.expect("vetted");
        let outcome = egress
            .fire_as(&request.fingerprint(), "k", vetted, DEADLINE, &[])
            .await;
        let Outcome::NotSent { why } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains(expected), "{why}");
    }
}

/// A far side in the same process: answers with what it was sent, or not at all.
struct InProcess(fn(&Parcel) -> Result<Response, Lost>);

#[async_trait]
impl Transport for InProcess {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        (self.0)(&parcel)
    }
}

fn echo(parcel: &Parcel) -> Result<Response, Lost> {
    assert_eq!(parcel.header("idempotency-key"), Some("k"));
    assert_eq!(parcel.url().as_str(), "http://nimbus.internal/refunds");
    let token = parcel.header("authorization").unwrap_or_default();
    assert_eq!(token, format!("Bearer {TOKEN}"), "the secret is filled in");
    assert!(matches!(parcel.to(), Destination::Address(_)));
    assert!(
        !format!("{parcel:?}").contains("s3cret"),
        "and never shown in a Debug"
    );
    Ok(Response {
        status: 200,
        headers: vec![],
        body: token.as_bytes().to_vec(),
    })
}

#[tokio::test]
async fn over_another_carrier_the_key_the_secrets_and_the_deadline_are_the_same() {
    let address: SocketAddr = "127.0.0.1:1".parse().expect("address");
    let mut request = post("{}");
    let bearer = "Bearer {{secret:TOKEN}}".to_owned();
    request.headers.push(("authorization".to_owned(), bearer));
    type Case = (fn(&Parcel) -> Result<Response, Lost>, &'static str);
    let cases: [Case; 3] = [
        (echo, "answered"),
        (|_| Err(Lost::Early("no".into())), "not_sent"),
        (|_| Err(Lost::Late("gone".into())), "unanswered"),
    ];
    for (carry, expected) in cases {
        let egress = Egress::with_transport(settings(), Arc::new(InProcess(carry)));
        let outcome = fired(&egress, &request, address, "k").await;
        assert_eq!(word(&outcome), expected, "{outcome:?}");
        if let Outcome::Answered { response } = outcome {
            assert_eq!(response.body, b"Bearer [secret:TOKEN]");
        }
    }
}
