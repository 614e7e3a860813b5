//! What leaves for a provider, and what is let in of its answer.

use serde_json::json;

use super::*;
use crate::Settings;
use crate::testkit::{Reply, Server, answer};

fn at(address: std::net::SocketAddr) -> Provider {
    let egress = Egress::new(Settings::default()).expect("egress");
    let url = Url::parse(&format!("http://{address}/v1/")).expect("url");
    egress.provider(url)
}

fn provider(address: std::net::SocketAddr) -> Provider {
    at(address).with_bearer(ApiKey::new("sk-hidden\n"))
}

static NOTHING: Value = Value::Null;

const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(20),
    idle: Duration::from_secs(10),
};

#[tokio::test]
async fn a_json_body_goes_out_with_the_key_which_never_comes_back() {
    let server = Server::start(|seen, _| {
        Reply::Keep(answer("401 Unauthorized", "Retry-After: 3\r\n", &seen.head))
    })
    .await;
    let provider = provider(server.address);
    let body = json!({"a": 1});
    let sent = provider.post_json("chat/completions?alt=sse", &[], &body, PATIENCE);
    let got = sent.await.expect("answer");
    assert_eq!((got.status, got.header("retry-after")), (401, Some("3")));
    let text = got.text().await.expect("a body");
    assert!(text.contains("Bearer [secret:api_key]"), "{text}");
    let seen = &server.seen()[0];
    assert!(
        seen.head.starts_with("POST /v1/chat/completions?alt=sse "),
        "{}",
        seen.head
    );
    assert_eq!(
        seen.header("authorization").as_deref(),
        Some("Bearer sk-hidden")
    );
    assert_eq!(seen.body, r#"{"a":1}"#);
    assert!(!format!("{provider:?}").contains("hidden"));
}

/// A key that comes back in the middle of a stream, cut anywhere, is taken out of its line.
#[tokio::test]
async fn lines_come_one_by_one_and_without_the_key() {
    let body = "data: one\r\ndata: my key is sk-hidden!\n\nend";
    let whole = answer("200 OK", "", body);
    let server =
        Server::start(move |_, _| Reply::Drip(whole.clone(), Duration::from_millis(1))).await;
    let provider = at(server.address).with_key_header("x-api-key", ApiKey::new("sk-hidden"));
    let sent = provider.post_json("messages", &[], &NOTHING, PATIENCE);
    let mut got = sent.await.expect("answer");
    let mut lines = Vec::new();
    while let Some(line) = got.line().await.expect("a line") {
        lines.push(line);
    }
    let expected = ["data: one", "data: my key is [secret:api_key]!", "", "end"];
    assert_eq!(lines, expected);
    let seen = &server.seen()[0];
    assert_eq!(seen.header("x-api-key").as_deref(), Some("sk-hidden"));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn it_says_whether_the_request_left() {
    let server = Server::start(|_, _| Reply::Close(String::new())).await;
    let sent = provider(server.address);
    let error = sent.post_json("x", &[], &NOTHING, PATIENCE).await.err();
    assert!(
        matches!(error, Some(ProviderError::Unanswered(_))),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 1);

    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = gone.local_addr().expect("address");
    drop(gone);
    let sent = provider(address);
    let error = sent.post_json("x", &[], &NOTHING, PATIENCE).await.err();
    assert!(
        matches!(error, Some(ProviderError::NotSent(_))),
        "{error:?}"
    );
}

/// A body that stops, one that never ends, one that is cut off: each is an end in time.
#[tokio::test]
async fn an_answer_ends_in_time() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ndata: half";
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let short = Patience {
        whole: Duration::from_secs(20),
        idle: Duration::from_millis(200),
    };
    let cases = [
        (Some(head.to_owned()), "and then nothing for 200 ms"),
        (None, "more than 8388608 bytes"),
    ];
    for (text, expected) in cases {
        let piece = piece.clone();
        let server = Server::start(move |_, _| match &text {
            Some(text) => Reply::Keep(text.clone()),
            None => Reply::Endless(endless.to_owned(), piece.clone()),
        })
        .await;
        let provider = provider(server.address);
        let sent = provider.post_json("x", &[], &NOTHING, short);
        let mut got = sent.await.expect("a head");
        let error = loop {
            match got.line().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended: {expected}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(expected), "{error}");
    }
    let cut = head.to_owned();
    let server = Server::start(move |_, _| Reply::Close(cut.clone())).await;
    let provider = provider(server.address);
    let sent = provider.post_json("x", &[], &NOTHING, PATIENCE);
    let error = sent.await.expect("a head").text().await.expect_err("cut");
    assert!(error.to_string().contains("its body did not"), "{error}");
}
