//! What a far side may answer: slowly, without end, swelling, ambiguous, or with a way elsewhere.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use stoplog_model::{EffectError, Response};

use super::*;
use crate::limits::MAX_RESPONSE_BYTES;
use crate::testkit::{Reply, Server, answer};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A GET of this server, by a grant that means it.
async fn read(server: &Server, deadline: Duration) -> Result<Response, EffectError> {
    let url = format!("http://{}/", server.address);
    let granted = [grant(&url).with_private()];
    let egress = egress(&[]);
    let vetted = egress.vet(&get(&url), &granted, &[]).await.expect("vetted");
    let safe = vetted.into_safe().expect("safe");
    egress.read(safe, deadline, &[]).await
}

/// Whatever it does, the host says after its deadline, or after its limit, that no answer came.
#[tokio::test]
async fn an_answer_that_never_ends_is_none() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    let block = "x".repeat(64 * 1024);
    let long = MAX_RESPONSE_BYTES + 1;
    let too_long = format!("more than {MAX_RESPONSE_BYTES} bytes");
    let cases: Vec<(&str, Reply, Duration, &str)> = vec![
        ("nothing", Reply::Hang, SHORT, "300 ms"),
        (
            "a head, a byte at a time",
            Reply::Drip(
                format!("{OK}x: {}\r\n\r\n", "y".repeat(500)),
                Duration::from_millis(5),
            ),
            SHORT,
            "300 ms",
        ),
        (
            "a body, a byte at a time",
            Reply::Drip(answer("200 OK", "", &block), Duration::from_millis(5)),
            SHORT,
            "300 ms",
        ),
        (
            "a body to the end of the connection",
            Reply::Endless(format!("{OK}\r\n"), block.clone()),
            PATIENCE,
            &too_long,
        ),
        (
            "chunks",
            Reply::Endless(chunked.clone(), format!("{:x}\r\n{block}\r\n", block.len())),
            PATIENCE,
            &too_long,
        ),
        (
            "a length that is too long",
            Reply::Endless(format!("{OK}content-length: {long}\r\n\r\n"), block.clone()),
            PATIENCE,
            &too_long,
        ),
        (
            "headers",
            Reply::Endless(OK.to_owned(), "x: y\r\n".repeat(500)),
            PATIENCE,
            "",
        ),
        (
            "one header",
            Reply::Endless(format!("{OK}x: "), block.clone()),
            PATIENCE,
            "",
        ),
        (
            "a chunk's extension",
            Reply::Endless(format!("{chunked}1;"), block.clone()),
            PATIENCE,
            "",
        ),
        (
            "trailers",
            Reply::Endless(format!("{chunked}0\r\n"), "x: y\r\n".repeat(500)),
            PATIENCE,
            "",
        ),
        (
            "answers before the answer",
            Reply::Endless(
                String::new(),
                "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100),
            ),
            SHORT,
            "",
        ),
    ];
    for (name, reply, deadline, says) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        let server = Server::start(move |_, _| {
            let reply = reply.lock().expect("lock").take();
            reply.expect("the request came twice")
        })
        .await;
        match read(&server, deadline).await {
            Err(EffectError::Unanswered(why)) => {
                assert!(why.contains(says), "{name}: {why}");
                assert!(why.len() < 1_000, "{name}: {} bytes of why", why.len());
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(server.seen().len(), 1, "{name}");
    }
}

/// 64 MiB of zeros in 64 KiB: nothing is unpacked, what came is handed on as it came.
#[tokio::test]
async fn a_compressed_bomb_does_not_go_off() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..64 {
        packer.write_all(&zeros).expect("pack");
    }
    let bomb = packer.finish().expect("pack");
    assert!(bomb.len() < 128 * 1024, "{}", bomb.len());
    for encoding in ["gzip", "gzip, gzip", "deflate", "br", "zstd"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            bomb.len()
        );
        let bytes = [head.into_bytes(), bomb.clone()].concat();
        let server = Server::start(move |_, _| Reply::Bytes(bytes.clone())).await;
        let response = read(&server, PATIENCE).await.expect("answer");
        assert!(
            response.body == bomb,
            "{encoding}: {} bytes",
            response.body.len()
        );
    }
}

/// An answer whose end can be read in two ways is none.
#[tokio::test]
async fn an_ambiguous_answer_is_none() {
    for head in [
        "content-length: 2\r\ncontent-length: 5\r\n",
        "content-length: 2, 5\r\n",
        "content-length: -1\r\n",
        "content-length: 0x2\r\n",
        "content-length: 18446744073709551616\r\n",
        "x: y\r\n folded\0\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\nhello");
        let server = Server::start(move |_, _| Reply::Close(text.clone())).await;
        let got = read(&server, PATIENCE).await;
        assert!(
            matches!(got, Err(EffectError::Unanswered(_))),
            "{head:?}: {got:?}"
        );
    }
}

/// A redirect is an answer, whatever it points to: nobody follows it. A guest that asks for what it
/// points to asks anew, and is told no.
#[tokio::test]
async fn redirects_are_handed_back() {
    let locations = [
        (
            "http://169.254.169.254/latest/meta-data/",
            "origin_not_granted",
        ),
        ("http://127.0.0.1:22/", "origin_not_granted"),
        ("http://[::ffff:127.0.0.1]/", "origin_not_granted"),
        ("http://[64:ff9b::a9fe:a9fe]/", "origin_not_granted"),
        ("http://2130706433/", "origin_not_granted"),
        ("http://0x7f.1/", "origin_not_granted"),
        ("http://localhost/", "origin_not_granted"),
        ("http://metadata.google.internal/", "origin_not_granted"),
        ("http://10.0.0.1/", "origin_not_granted"),
        ("//127.0.0.1/", "url_invalid"),
        ("/elsewhere", "url_invalid"),
        ("file:///etc/passwd", "url_invalid"),
        ("gopher://127.0.0.1:6379/_x", "url_invalid"),
        ("http://me:word@127.0.0.1/", "url_invalid"),
    ];
    for status in ["301", "302", "303", "307", "308", "300"] {
        for (location, expected) in locations {
            let headers = format!("location: {location}\r\nrefresh: 0; url={location}\r\n");
            let text = answer(&format!("{status} Elsewhere"), &headers, "");
            let server = Server::always(text).await;
            let response = read(&server, PATIENCE).await.expect("answer");
            assert_eq!(response.status.to_string(), status);
            let handed = response.headers.iter().find(|(name, _)| name == "location");
            assert_eq!(handed.map(|(_, value)| value.as_str()), Some(location));
            assert_eq!(server.seen().len(), 1, "{status} {location} was followed");
            let granted = [grant(&format!("http://{}/", server.address)).with_private()];
            let found = word(&egress(&[]), &get(location), &granted).await;
            assert_eq!(found, expected, "{location}");
        }
    }
}
