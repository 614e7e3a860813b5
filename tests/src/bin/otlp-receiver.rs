//! A collector as a process of its own: `otlp-receiver KEPT_FILE PORT_FILE [ADDRESS]`. It decodes what
//! comes over HTTP and over gRPC, and appends each request as a line before it answers. What it is told
//! by `POST /admin/next` it does with the next requests instead.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};
use stoplog_tests::otlp::told;

/// What to do with a request.
#[derive(Clone, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
enum Fault {
    /// Nothing is kept. `status` is of HTTP or of gRPC, `after` seconds or milliseconds.
    Refuse { status: u16, after: Option<String> },
    /// So many are not taken.
    Part { rejected: i64 },
    /// It is kept, and never answered.
    Hang,
    /// It is kept, and the process dies.
    Die,
}

#[derive(Clone)]
struct Collector {
    began: Instant,
    kept: PathBuf,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

/// How a request ends.
enum Ended {
    Taken(ExportTraceServiceResponse),
    Refused { status: u16, after: Option<String> },
}

impl Collector {
    fn keep(&self, line: &Value) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&self.kept)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    async fn take(
        &self,
        over: &str,
        headers: &HeaderMap,
        request: &ExportTraceServiceRequest,
    ) -> std::io::Result<Ended> {
        let fault = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.pop_front()
        };
        let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), Value::from(value))
        };
        let headers: serde_json::Map<String, Value> = headers.iter().map(header).collect();
        let mut line = json!({"over": over, "at_ms": self.began.elapsed().as_millis() as u64, "headers": headers});
        if let Some(Fault::Refuse { status, after }) = fault {
            line["refused"] = json!(status);
            self.keep(&line)?;
            return Ok(Ended::Refused { status, after });
        }
        line["resources"] = told(request);
        self.keep(&line)?;
        let partial_success = match fault {
            Some(Fault::Die) => std::process::abort(),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Part { rejected }) => Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: "too old".into(),
            }),
            Some(Fault::Refuse { .. }) | None => None,
        };
        Ok(Ended::Taken(ExportTraceServiceResponse { partial_success }))
    }
}

async fn over_http(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let is_ours = headers
        .get("content-type")
        .is_some_and(|t| t == "application/x-protobuf");
    let request = match ExportTraceServiceRequest::decode(body) {
        Ok(request) if is_ours => request,
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    match collector.take("http", &headers, &request).await {
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
        Ok(Ended::Taken(answer)) => {
            let kind = [("content-type", "application/x-protobuf")];
            (kind, answer.encode_to_vec()).into_response()
        }
        Ok(Ended::Refused { status, after }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            match after {
                Some(after) => (status, [("retry-after", after)]).into_response(),
                None => status.into_response(),
            }
        }
    }
}

struct Export(Collector);

type Answered = Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status>;

impl tonic::server::UnaryService<ExportTraceServiceRequest> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn call(&mut self, request: tonic::Request<ExportTraceServiceRequest>) -> Self::Future {
        let collector = self.0.clone();
        Box::pin(async move {
            let (metadata, _, request) = request.into_parts();
            let ended = collector
                .take("grpc", &metadata.into_headers(), &request)
                .await;
            match ended.map_err(|e| tonic::Status::internal(e.to_string()))? {
                Ended::Taken(answer) => Ok(tonic::Response::new(answer)),
                Ended::Refused { status, after } => {
                    let mut metadata = tonic::metadata::MetadataMap::new();
                    if let Some(after) = after.and_then(|a| a.parse().ok()) {
                        metadata.insert("grpc-retry-pushback-ms", after);
                    }
                    let code = tonic::Code::from_i32(i32::from(status));
                    Err(tonic::Status::with_metadata(code, "refused", metadata))
                }
            }
        })
    }
}

async fn over_grpc(
    State(collector): State<Collector>,
    request: Request<axum::body::Body>,
) -> Response<tonic::body::Body> {
    let codec = tonic_prost::ProstCodec::default();
    tonic::server::Grpc::new(codec)
        .unary(Export(collector), request)
        .await
}

async fn next(State(collector): State<Collector>, Json(faults): Json<Vec<Fault>>) -> Json<Value> {
    let mut next = collector
        .faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *next = faults.into();
    Json(json!({}))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "otlp-receiver KEPT_FILE PORT_FILE [ADDRESS]";
    let kept = args.next().context(usage)?;
    let port_file = args.next().context(usage)?;
    let address: SocketAddr = match args.next() {
        Some(address) => address.parse()?,
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let collector = Collector {
        began: Instant::now(),
        kept: kept.into(),
        faults: Arc::default(),
    };
    let grpc = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let router = Router::new()
        .route("/v1/traces", post(over_http))
        .route(grpc, post(over_grpc))
        .route("/admin/next", post(next))
        .with_state(collector);
    let beside = format!("{port_file}.tmp");
    std::fs::write(&beside, listener.local_addr()?.to_string())?;
    std::fs::rename(&beside, &port_file)?;
    Ok(axum::serve(listener, router).await?)
}
