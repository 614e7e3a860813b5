//! The suite of attacks against the way out: on the check of an address, by the answer of a far
//! side, and on TLS. Each is a table; what must hold stands above it.

mod answers;
mod names;
mod tls;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stoplog_model::{EffectError, Request};

use crate::{Egress, Grant, Resolve, Settings};

/// Resolves every name to what it was told, one answer after the other; the last one stays.
pub(crate) struct Told(Mutex<Vec<Vec<IpAddr>>>);

impl Told {
    pub(crate) fn new(answers: &[&str]) -> Arc<Told> {
        let parse = |one: &&str| {
            one.split_whitespace()
                .map(|a| a.parse().expect("address"))
                .collect()
        };
        let mut answers: Vec<Vec<IpAddr>> = answers.iter().map(parse).collect();
        answers.reverse();
        Arc::new(Told(Mutex::new(answers)))
    }
}

#[async_trait]
impl Resolve for Told {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.len() {
            0 => Err(io::Error::other("no such name")),
            1 => Ok(answers[0].clone()),
            _ => Ok(answers.pop().unwrap_or_default()),
        }
    }
}

/// The host under attack, whose names resolve to this.
pub(crate) fn egress(answers: &[&str]) -> Egress {
    let settings = Settings {
        resolver: Told::new(answers),
        connect_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    Egress::new(settings).expect("egress")
}

pub(crate) fn grant(text: &str) -> Grant {
    Grant::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn get(url: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: vec![],
        body: vec![],
    }
}

/// What becomes of a request, in a word: `ok`, or the code of the rule that stops it.
pub(crate) async fn word(egress: &Egress, request: &Request, grants: &[Grant]) -> String {
    match egress.vet(request, grants, &[]).await {
        Ok(_) => "ok".to_owned(),
        Err(EffectError::Denied { reason, .. }) => reason.code().to_owned(),
        Err(EffectError::NotSent(_)) => "not_sent".to_owned(),
        Err(EffectError::Unanswered(_)) => "unanswered".to_owned(),
    }
}
