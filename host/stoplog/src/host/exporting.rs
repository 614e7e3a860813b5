//! Spans to the operator's collector, from a thread of their own: a collector that is slow or away
//! holds up nobody, and what it has not taken waits in the trace store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stoplog_egress::{Collector, CollectorAnswer, CollectorProtocol, RetryAfter};
use stoplog_telemetry::otlp::{Encoding, Export, Exporter, Said, Wire};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::config::{CollectorConfig, HeaderValue};
use crate::error::CliError;
use crate::output;

/// How often the thread looks for spans that are over. Long enough that a batch is one.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the end of a host waits for its last spans to be taken: what is not goes with the next.
const AT_THE_END: Duration = Duration::from_secs(3);

/// A collector and what it is told, from the configuration.
pub(crate) struct Collecting {
    wire: Arc<dyn Wire>,
    encoding: Encoding,
}

impl Collecting {
    /// Checks and builds it. Opens no connection.
    pub(crate) fn new(config: &CollectorConfig) -> Result<Collecting, CliError> {
        let mut headers = Vec::new();
        for (name, value) in &config.headers {
            let value = match value {
                HeaderValue::Plain(text) => text.clone(),
                HeaderValue::Secret(source) => source.read(name)?,
            };
            headers.push((name.clone(), value));
        }
        let (url, protocol) = (config.url.clone(), config.protocol);
        let collector = Collector::new(url, protocol, &headers, config.timeout).map_err(|e| {
            let message = format!("[telemetry.otlp]: {e}");
            CliError::new(stoplog_model::Reason::ConfigInvalid, message)
        })?;
        let environment = config.environment.iter();
        let resource = environment.map(|e| ("deployment.environment.name".to_owned(), e.clone()));
        Ok(Collecting {
            wire: Arc::new(Carrier {
                collector,
                protocol,
            }),
            encoding: Encoding {
                service_name: config.service_name.clone(),
                service_version: env!("CARGO_PKG_VERSION").to_owned(),
                resource: resource.collect(),
                idempotency_keys: config.idempotency_keys,
            },
        })
    }

    pub(super) fn parts(self) -> (Arc<dyn Wire>, Encoding) {
        (self.wire, self.encoding)
    }
}

/// Egress as the exporter sees it.
struct Carrier {
    collector: Collector,
    protocol: CollectorProtocol,
}

#[async_trait]
impl Wire for Carrier {
    async fn send(&self, request: Vec<u8>) -> Said {
        let answer = match self.collector.send(request).await {
            Ok(answer) => answer,
            Err(unreached) => return Said::Nothing(unreached.to_string()),
        };
        said(self.protocol, answer)
    }
}

/// A call that no gRPC server answered is judged by its HTTP status, and one that was answered with
/// 200 and without an outcome was not taken.
fn said(protocol: CollectorProtocol, answer: CollectorAnswer) -> Said {
    let (retry_after, pushback_ms) = match answer.retry_after {
        Some(RetryAfter::Header(text)) => (Some(text), None),
        Some(RetryAfter::PushbackMs(ms)) => (None, Some(ms)),
        None => (None, None),
    };
    let (status, body) = (answer.status, answer.body);
    let is_http = answer.grpc.is_none() && !(200..=299).contains(&status);
    if protocol == CollectorProtocol::Http || is_http {
        return Said::Http {
            status,
            retry_after,
            body,
        };
    }
    let (code, message) = match answer.grpc {
        Some((code, message)) => (Some(code), message),
        None => (None, String::new()),
    };
    Said::Grpc {
        code,
        message,
        pushback_ms,
        retry_after,
        body,
    }
}

type Order = oneshot::Sender<()>;

/// The thread of a host.
pub(crate) struct Exporting {
    orders: mpsc::UnboundedSender<Order>,
}

impl Exporting {
    /// Begins to send, once the exporter is there: the place from which on it sends is noted before
    /// anything is projected.
    pub(super) fn begin(exporter: oneshot::Receiver<Exporter>) -> Option<Exporting> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                if let Ok(exporter) = exporter.await {
                    send(exporter, inbox).await;
                }
            });
        };
        let thread = std::thread::Builder::new().name("stoplog-otlp".into());
        thread.spawn(run).ok()?;
        Some(Exporting { orders })
    }

    /// Sends what is left, if the collector takes it at once.
    pub(super) async fn end(self, until: Instant) {
        let (reply, done) = oneshot::channel();
        let _ = self.orders.send(reply);
        let until = until.min(Instant::now() + AT_THE_END);
        let _ = timeout_at(until, done).await;
    }
}

/// Sends until it is told to end, or nobody can tell it any more.
async fn send(exporter: Exporter, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let mut sender = Sender {
        exporter,
        last_trouble: String::new(),
    };
    loop {
        let pause = sender.step().await;
        let order = match pause.is_zero() {
            true => inbox.try_recv().ok(),
            false => match tokio::time::timeout(pause, inbox.recv()).await {
                Ok(None) => return,
                Ok(order) => order,
                Err(_) => None,
            },
        };
        if let Some(done) = order {
            // Who asked for a pause gets it: what is left goes with the next host.
            while sender.last_trouble.is_empty() && sender.step().await.is_zero() {}
            let _ = done.send(());
            return;
        }
    }
}

struct Sender {
    exporter: Exporter,
    /// What the last step met; empty if it was nothing.
    last_trouble: String,
}

impl Sender {
    /// Sends a batch, and tells people what came of it. How long to wait behind that.
    async fn step(&mut self) -> Duration {
        match self.exporter.step().await {
            Ok(Export::Sent { rejected, why, .. }) => {
                self.last_trouble.clear();
                if rejected > 0 {
                    let what = format!("telemetry: {rejected} span(s) were not taken: {why}");
                    output::note(what);
                }
                Duration::ZERO
            }
            Ok(Export::Idle) => {
                self.last_trouble.clear();
                LOOK_EVERY
            }
            Ok(Export::Later { pause, .. }) if pause.is_zero() => pause,
            Ok(Export::Later { pause, why }) => {
                self.trouble(why);
                pause
            }
            Err(error) => {
                self.trouble(error.to_string());
                LOOK_EVERY
            }
        }
    }

    /// Tells people of trouble once, and not at every try.
    fn trouble(&mut self, why: String) {
        if self.last_trouble != why {
            output::note(format!("telemetry waits in the trace store: {why}"));
            self.last_trouble = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use stoplog_telemetry::otlp::Verdict;

    use super::*;

    fn verdict(protocol: CollectorProtocol, status: u16, grpc: Option<u32>) -> Verdict {
        let answer = CollectorAnswer {
            status,
            grpc: grpc.map(|code| (code, String::new())),
            retry_after: None,
            body: Vec::new(),
        };
        said(protocol, answer).verdict()
    }

    #[test]
    fn only_an_outcome_is_one() {
        use CollectorProtocol::{Grpc, Http};
        let is_taken = |v: &Verdict| matches!(v, Verdict::Taken { .. });
        let is_again = |v: &Verdict| matches!(v, Verdict::Again { .. });
        assert!(is_taken(&verdict(Http, 200, None)));
        assert!(is_taken(&verdict(Grpc, 200, Some(0))));
        assert!(is_again(&verdict(Grpc, 200, Some(14))));
        // A server that speaks no gRPC, and a connection that ended before the trailers.
        assert!(is_again(&verdict(Grpc, 200, None)));
        assert!(is_again(&verdict(Grpc, 503, None)));
        assert!(is_again(&verdict(Grpc, 404, None)));
    }
}
