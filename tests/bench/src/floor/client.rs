//! The floor's requests: the same client library, settings and connections as the product's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::json;
use stoplog_model::effect::{EffectError, Request, Response};
use stoplog_model::port::{CallInfo, Entry, Gate, Job, Runner};
use stoplog_model::{Digest, Reason};

use super::Floor;
use crate::host::Parts;
use crate::rounds::Spread;
use crate::tools::Kind;

/// Sends the two requests that the tools send.
pub(super) struct Client {
    http: reqwest::Client,
    far: SocketAddr,
}

impl Client {
    /// Opens no connection yet.
    pub(super) fn new(far: SocketAddr) -> anyhow::Result<Client> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // TLS that trusts nobody: nothing here uses it.
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(Arc::new(rustls::RootCertStore::empty()))
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .build()?;
        Ok(Client { http, far })
    }

    /// The tool's GET. Gives back the body.
    pub(super) async fn look(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let url = format!("http://{}/acts/by-key/act_{name}", self.far);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }

    /// The tool's POST. Gives back the body.
    pub(super) async fn act(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self
            .http
            .post(format!("http://{}/acts", self.far))
            .header("content-type", "application/json")
            .header("idempotency-key", format!("act_{name}"))
            .body(json!({ "name": name }).to_string())
            .send()
            .await?
            .error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }
}

/// The way out of a guest that the floor runs: commits and requests, and no check at all.
struct PlainGate {
    floor: Arc<Floor>,
    session: String,
    act: String,
    seq: u64,
}

impl PlainGate {
    fn answer(body: anyhow::Result<Vec<u8>>) -> Result<Response, EffectError> {
        match body {
            Ok(body) => Ok(Response {
                status: 200,
                headers: vec![("content-type".into(), "application/json".into())],
                body,
            }),
            Err(e) => Err(EffectError::denied(Reason::MethodRefused, e.to_string())),
        }
    }
}

#[async_trait]
impl Gate for PlainGate {
    fn key(&self, _: &str) -> String {
        format!("act_{}", self.act)
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Err("one effect".to_owned())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        let intent = self.floor.commit(0, &self.session, &self.act, self.seq);
        PlainGate::answer(match intent.await {
            Ok(()) => self.floor.client.act(&self.act).await,
            Err(e) => Err(e),
        })
    }

    async fn fetch(&self, _: Request) -> Result<Response, EffectError> {
        PlainGate::answer(self.floor.client.look(&self.act).await)
    }
}

/// One call with the guest in it.
pub(super) async fn in_sandbox(
    floor: &Arc<Floor>,
    session: &str,
    act: &str,
    seq: u64,
) -> anyhow::Result<()> {
    let gate = PlainGate {
        floor: floor.clone(),
        session: session.to_owned(),
        act: act.to_owned(),
        seq,
    };
    let job = job(&floor.parts, floor.template.kind, session, act);
    let ran = floor.parts.sandbox.run(job, Arc::new(gate)).await;
    anyhow::ensure!(ran.result.is_ok(), "the guest failed: {:?}", ran.result);
    let last = floor.template.commits.len() - 1;
    floor.commit(last, session, act, seq).await
}

/// The middle of a round of calls of the sandbox alone, microseconds.
pub(crate) async fn sandbox_round(parts: &Parts, kind: Kind, calls: u32) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let job = job(parts, kind, "bare", "bare");
        let began = Instant::now();
        let ran = parts.sandbox.run(job, Arc::new(NoGate)).await;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(ran.result.is_ok(), "the guest failed: {:?}", ran.result);
    }
    Ok(Spread::of(&times).median)
}

fn job(parts: &Parts, kind: Kind, session: &str, act: &str) -> Job {
    let pin = parts.pin(kind);
    Job {
        component: pin.component,
        class: pin.class,
        entry: Entry::Call {
            input: kind.arguments(act).to_string(),
        },
        info: CallInfo {
            tenant: "bench".to_owned(),
            session: session.to_owned(),
            call_id: Digest::of(act.as_bytes()).to_string(),
            attempt: 1,
            started_at_ms: 0,
            scheduled_for_ms: None,
            deadline_ms: 10_000,
        },
        timeout_ms: 10_000,
        seed: [7; 32],
    }
}

/// For guests that reach nothing.
struct NoGate;

#[async_trait]
impl Gate for NoGate {
    fn key(&self, _: &str) -> String {
        String::new()
    }

    fn split(&self, _: &str) -> Result<(), String> {
        Err("nothing leaves".to_owned())
    }

    async fn perform(&self, _: &str, _: Request) -> Result<Response, EffectError> {
        Err(EffectError::denied(Reason::MethodRefused, "nothing leaves"))
    }

    async fn fetch(&self, _: Request) -> Result<Response, EffectError> {
        Err(EffectError::denied(Reason::MethodRefused, "nothing leaves"))
    }
}
