//! The outlet by itself: what reaches the gate, and what a client gets back.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use async_trait::async_trait;
use stoplog_model::Reason;

use super::*;

/// Answers what it was made with, and keeps what it was asked.
struct Fixed(Result<Response, EffectError>, Mutex<Vec<Request>>);

#[async_trait]
impl Gate for Fixed {
    fn key(&self, _: &str) -> String {
        String::new()
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        Err(EffectError::NotSent("not this way".to_owned()))
    }

    async fn fetch(&self, request: Request) -> Result<Response, EffectError> {
        if let Ok(mut seen) = self.1.lock() {
            seen.push(request);
        }
        self.0.clone()
    }
}

async fn send(
    body: Vec<u8>,
    answer: Result<Response, EffectError>,
    times: u32,
) -> (
    Result<http::Response<WasiBody>, Error>,
    Vec<Request>,
    String,
) {
    let gate = Arc::new(Fixed(answer, Mutex::default()));
    let log = CallLog::default();
    let mut outlet = Outlet::new(
        Arc::clone(&gate) as Arc<dyn Gate>,
        Traffic::default(),
        log.clone(),
    );
    let mut last = Err(Error::LoopDetected);
    for _ in 0..times {
        let length = body.len();
        let body = Full::new(Bytes::from(body.clone())).map_err(|never| match never {});
        let request = http::Request::builder()
            .method("POST")
            .uri("https://far.test/a?b=c")
            .header("X-Am", "Y")
            .header("Content-Length", length)
            .body(body.boxed_unsync())
            .expect("a request");
        let sent = outlet.send_request(request, None, Box::new(async { Ok(()) }));
        last = Box::into_pin(sent).await.map(|(response, _)| response);
    }
    let seen = gate.1.lock().map(|seen| seen.clone()).unwrap_or_default();
    (last, seen, log.text())
}

fn fine() -> Result<Response, EffectError> {
    let headers = vec![
        ("x-b".to_owned(), "z".to_owned()),
        ("bad name".to_owned(), String::new()),
    ];
    Ok(Response {
        status: 201,
        headers,
        body: b"made".to_vec(),
    })
}

#[tokio::test]
async fn the_gate_sees_a_plain_request() {
    let (response, seen, _) = send(b"hi".to_vec(), fine(), 1).await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 201);
    assert_eq!(
        response.headers().len(),
        1,
        "the header that HTTP does not allow is left out"
    );
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(body, "made");
    let expected = Request {
        method: "POST".to_owned(),
        url: "https://far.test/a?b=c".to_owned(),
        headers: vec![("x-am".to_owned(), "Y".to_owned())],
        body: b"hi".to_vec(),
    };
    assert_eq!(seen, [expected]);
}

#[tokio::test]
async fn errors_say_whether_it_left() {
    let denied = EffectError::denied(Reason::MethodRefused, "POST");
    let (response, _, log) = send(vec![], Err(denied), 1).await;
    assert!(matches!(response, Err(Error::HttpRequestDenied)));
    assert!(
        log.contains("method_refused") && log.contains("POST /a"),
        "{log}"
    );
    let not_sent = EffectError::NotSent("no route".to_owned());
    let (response, _, _) = send(vec![], Err(not_sent), 1).await;
    assert!(matches!(response, Err(Error::ConnectionRefused)));
    let unanswered = EffectError::Unanswered("reset".to_owned());
    let (response, _, _) = send(vec![], Err(unanswered), 1).await;
    assert!(matches!(response, Err(Error::ConnectionTerminated)));
}

#[tokio::test]
async fn sizes_and_numbers_are_bounded() {
    let (response, seen, _) = send(vec![0; limits::REQUEST_BODY_BYTES + 1], fine(), 1).await;
    assert!(matches!(response, Err(Error::HttpRequestBodySize(_))));
    assert!(seen.is_empty(), "nothing reached the gate");
    let body = vec![0; limits::RESPONSE_BODY_BYTES + 1];
    let large = Response {
        status: 200,
        headers: vec![],
        body,
    };
    let (response, _, _) = send(vec![], Ok(large), 1).await;
    assert!(matches!(response, Err(Error::HttpResponseBodySize(_))));
    let (response, seen, log) = send(vec![], fine(), limits::REQUESTS + 1).await;
    assert!(matches!(response, Err(Error::HttpRequestDenied)));
    assert_eq!(seen.len(), limits::REQUESTS as usize);
    assert!(log.contains("request_limit"), "{log}");
}

/// Each body is within its own limit; together they are not.
#[tokio::test]
async fn bodies_of_one_run_are_counted_over_all_its_requests() {
    let most = limits::TRAFFIC_BYTES / limits::REQUEST_BODY_BYTES;
    let body = vec![0; limits::REQUEST_BODY_BYTES];
    let (response, seen, log) = send(body, fine(), most as u32 + 1).await;
    assert!(matches!(response, Err(Error::HttpRequestBodySize(_))));
    assert!((1..=most).contains(&seen.len()), "{}", seen.len());
    assert!(log.contains("was not sent"), "{log}");
}

/// What is sent, and under which key, must be the same in every run: it must not depend on whose
/// body is complete first.
#[tokio::test]
async fn what_may_change_something_goes_out_in_the_order_in_which_it_was_made() {
    let gate = Arc::new(Fixed(fine(), Mutex::default()));
    let mut outlet = Outlet::new(
        Arc::clone(&gate) as Arc<dyn Gate>,
        Traffic::default(),
        CallLog::default(),
    );
    let mut finish = Vec::new();
    let mut begun = Vec::new();
    for path in ["/first", "/given-up", "/third"] {
        let (body, complete) = body_of_later();
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("https://far.test{path}"))
            .body(body)
            .expect("a request");
        let sent = outlet.send_request(request, None, Box::new(async { Ok(()) }));
        begun.push(tokio::spawn(Box::into_pin(sent)));
        finish.push(complete);
    }
    let third = finish.pop().expect("three bodies");
    third.send(()).expect("its body is awaited");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let early = gate.1.lock().map(|seen| seen.len()).unwrap_or_default();
    assert_eq!(early, 0, "the third waits for the first");
    begun.remove(1).abort();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let early = gate.1.lock().map(|seen| seen.len()).unwrap_or_default();
    assert_eq!(early, 0, "also when the one between them has ended");
    finish.remove(0).send(()).expect("its body is awaited");
    for sent in begun {
        assert!(sent.await.is_ok_and(|answer| answer.is_ok()));
    }
    let seen = gate.1.lock().map(|seen| seen.clone()).unwrap_or_default();
    let paths: Vec<&str> = seen.iter().map(Request::path).collect();
    assert_eq!(paths, ["/first", "/third"]);
}

/// A body that is complete when somebody says so.
fn body_of_later() -> (WasiBody, oneshot::Sender<()>) {
    struct Later(oneshot::Receiver<()>);
    impl http_body::Body for Later {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
            Pin::new(&mut self.0).poll(cx).map(|_| None)
        }
    }
    let (complete, later) = oneshot::channel();
    (Later(later).boxed_unsync(), complete)
}
