//! What hangs on a trace store: the exporter and the file of lines, over a real one.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use stoplog_telemetry::otlp::{Encoding, Export, Exporter, OTLP, Said, Wire};
use stoplog_telemetry::{Jsonl, Rotation};

use super::*;

/// A collector that answers by a list, and takes everything behind its end.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Said>>,
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Scripted {
    fn answering(answers: impl IntoIterator<Item = Said>) -> Arc<Scripted> {
        Arc::new(Scripted {
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::default(),
        })
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().expect("lock").clone()
    }

    /// How many spans each request had.
    fn sizes(&self) -> Vec<usize> {
        let size = |bytes: &Vec<u8>| {
            let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("a request");
            request.resource_spans[0].scope_spans[0].spans.len()
        };
        self.requests().iter().map(size).collect()
    }
}

#[async_trait]
impl Wire for Scripted {
    async fn send(&self, request: Vec<u8>) -> Said {
        self.requests.lock().expect("lock").push(request);
        let next = self.answers.lock().expect("lock").pop_front();
        next.unwrap_or_else(|| http(200, None))
    }
}

fn http(status: u16, retry_after: Option<&str>) -> Said {
    Said::Http {
        status,
        retry_after: retry_after.map(str::to_owned),
        body: Vec::new(),
    }
}

async fn exporter(scene: &Scene, wire: &Arc<Scripted>) -> Exporter {
    let encoding = Encoding {
        service_name: "s".into(),
        service_version: "1".into(),
        resource: vec![],
        idempotency_keys: true,
    };
    let begun = Exporter::begin(scene.traces.clone(), wire.clone(), encoding).await;
    begun.expect("begin")
}

/// A scene in which the exporter has begun, and a session has ended since. How many spans it has.
async fn with_spans(wire: &Arc<Scripted>) -> (Scene, u64) {
    let scene = Scene::new();
    exporter(&scene, wire).await;
    scene.whole("a").await;
    scene.caught_up().await;
    let spans = scene.bodies_by_place().await.len() as u64;
    (scene, spans)
}

fn taken(step: &Export) -> Option<(u64, u64)> {
    match step {
        Export::Sent {
            taken, rejected, ..
        } => Some((*taken, *rejected)),
        _ => None,
    }
}

fn pause(step: &Export) -> Option<Duration> {
    match step {
        Export::Later { pause, .. } => Some(*pause),
        _ => None,
    }
}

#[tokio::test]
async fn a_batch_is_over_when_the_collector_says_so_and_goes_again_until_then() {
    let lost = Said::Nothing("it went away".into());
    let wire = Scripted::answering([http(503, Some("7")), lost.clone(), lost]);
    let (scene, spans) = with_spans(&wire).await;
    let mut first = exporter(&scene, &wire).await;
    let told = first.step().await.expect("step");
    assert_eq!(pause(&told), Some(Duration::from_secs(7)), "as it wished");
    let mut pauses = Vec::new();
    for _ in 0..2 {
        pauses.push(pause(&first.step().await.expect("step")).expect("later"));
    }
    assert!(pauses[0] < pauses[1], "{pauses:?}");
    assert_eq!(scene.traces.sent(OTLP).await, Ok(Some(0)));
    drop(first);

    // Another process goes on, with the very same bytes.
    let mut second = exporter(&scene, &wire).await;
    let told = second.step().await.expect("step");
    assert_eq!(taken(&told), Some((spans, 0)));
    assert_eq!(second.step().await, Ok(Export::Idle));
    let requests = wire.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|r| *r == requests[0]));
}

#[tokio::test]
async fn what_ended_before_the_first_export_is_not_sent() {
    let scene = Scene::new();
    scene.whole("old").await;
    scene.caught_up().await;
    let wire = Scripted::answering([]);
    let mut exporter = exporter(&scene, &wire).await;
    assert_eq!(exporter.step().await, Ok(Export::Idle));
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn what_is_never_taken_is_told_and_left() {
    for (answer, expected) in [(http(400, None), 0), (http(200, None), 1)] {
        let wire = Scripted::answering([answer]);
        let (scene, spans) = with_spans(&wire).await;
        let mut exporter = exporter(&scene, &wire).await;
        let step = exporter.step().await.expect("step");
        let expected = (spans * expected, spans * (1 - expected));
        assert_eq!(taken(&step), Some(expected));
        assert_eq!(exporter.step().await, Ok(Export::Idle));
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_parts() {
    let wire = Scripted::answering([http(413, None), http(413, None)]);
    let (scene, spans) = with_spans(&wire).await;
    let mut exporter = exporter(&scene, &wire).await;
    let mut all = 0;
    loop {
        match exporter.step().await.expect("step") {
            Export::Idle => break,
            Export::Sent { taken, .. } => all += taken,
            Export::Later { pause, .. } => assert!(pause.is_zero()),
        }
    }
    assert_eq!(all, spans);
    let sizes = wire.sizes();
    let halves = [spans as usize, spans as usize / 2, spans as usize / 4];
    assert_eq!(sizes[..3], halves);
}

/// The file of lines of a scene.
fn lines_of(scene: &Scene, rotation: Rotation) -> (Jsonl, PathBuf) {
    let path = scene.dir.path().join("spans.jsonl");
    (Jsonl::new(scene.traces.clone(), &path, rotation), path)
}

fn rotation(bytes: u64, age_ms: u64, kept: usize) -> Rotation {
    Rotation {
        bytes,
        age_ms,
        kept,
    }
}

/// Every line in the file and in those put aside, in the order of their names.
fn all_lines(scene: &Scene) -> (usize, Vec<String>) {
    let mut aside: Vec<PathBuf> = fs::read_dir(scene.dir.path())
        .expect("dir")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .filter(|path| !path.ends_with("spans.jsonl"))
        .collect();
    aside.sort();
    let count = aside.len();
    aside.push(scene.dir.path().join("spans.jsonl"));
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let all: String = aside.into_iter().map(text).collect();
    (count, all.lines().map(str::to_owned).collect())
}

async fn expected_lines(scene: &Scene) -> Vec<String> {
    let bodies = scene.bodies_by_place().await;
    bodies.into_iter().map(|(_, body)| body).collect()
}

#[tokio::test]
async fn a_line_is_written_once_whoever_goes_on_and_a_torn_one_anew() {
    let scene = Scene::new();
    let usual = Rotation::default();
    scene.whole("a").await;
    scene.caught_up().await;
    let (mut first, path) = lines_of(&scene, usual);
    assert!(first.catch_up(0).await.expect("lines") > 0);
    assert_eq!(first.catch_up(0).await.expect("lines"), 0);
    assert_eq!(all_lines(&scene).1, expected_lines(&scene).await);

    // The host dies in the middle of its last line, having told nobody how far it was.
    drop(first);
    let text = fs::read(&path).expect("file");
    fs::write(&path, &text[..text.len() - 40]).expect("torn");
    scene.whole("b").await;
    scene.caught_up().await;
    let (mut second, _) = lines_of(&scene, usual);
    second.catch_up(0).await.expect("lines");
    assert_eq!(all_lines(&scene).1, expected_lines(&scene).await);
    second.sync().await.expect("sync");

    // Somebody takes it away: what ends then is in a new one, and nothing is told again.
    fs::remove_file(&path).expect("remove");
    scene.whole("c").await;
    scene.caught_up().await;
    second.catch_up(0).await.expect("lines");
    let (_, lines) = all_lines(&scene);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("\"session_id\":\"c\""))
    );
    fs::remove_file(&path).expect("remove");
    scene.whole("d").await;
    scene.caught_up().await;
    let (mut third, _) = lines_of(&scene, usual);
    third.catch_up(0).await.expect("lines");
    let (_, lines) = all_lines(&scene);
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("\"session_id\":\"b\""))
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("\"session_id\":\"d\""))
    );
}

#[tokio::test]
async fn a_large_file_is_put_aside_and_the_oldest_go() {
    let scene = Scene::new();
    for n in 0..20 {
        scene.whole(&format!("s{n}")).await;
    }
    scene.caught_up().await;
    let all = expected_lines(&scene).await;
    let bytes = 3 * all[0].len() as u64;
    let (mut file, path) = lines_of(&scene, rotation(bytes, u64::MAX, 1000));
    file.catch_up(0).await.expect("lines");
    let (aside, lines) = all_lines(&scene);
    assert!(aside > 10, "{aside}");
    assert_eq!(lines, all);
    assert!(fs::metadata(&path).expect("file").len() < bytes * 2);

    // Killed right behind the rename: there is no file, and its name says how far it was.
    let place = scene.traces.last_place().await.expect("place");
    fs::rename(&path, path.with_extension(format!("{place:012}.jsonl"))).expect("rename");
    scene.whole("later").await;
    scene.caught_up().await;
    let (mut next, _) = lines_of(&scene, rotation(bytes, u64::MAX, 3));
    next.catch_up(0).await.expect("lines");
    let (aside, lines) = all_lines(&scene);
    let all = expected_lines(&scene).await;
    assert!(aside <= 3, "{aside}");
    assert_eq!(
        lines[..],
        all[all.len() - lines.len()..],
        "the newest, each once"
    );
}

#[tokio::test]
async fn an_old_file_is_put_aside_too() {
    let scene = Scene::new();
    scene.whole("a").await;
    scene.caught_up().await;
    let (mut file, _) = lines_of(&scene, rotation(u64::MAX, 60_000, 9));
    file.catch_up(0).await.expect("lines");
    scene.whole("b").await;
    scene.caught_up().await;
    // Long after it was made.
    file.catch_up(u64::MAX).await.expect("lines");
    let (aside, lines) = all_lines(&scene);
    assert_eq!((aside, lines), (1, expected_lines(&scene).await));
}
