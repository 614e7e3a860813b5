//! What the host keeps of one run, and the functions of the contract that a guest may call.
//!
//! Invariants:
//! * One [`Call`] a run: nothing of it outlives the run, nothing is shared between runs.
//! * A permit is made by the runner or by `split`, and taken by `perform`: once.
//! * What leaves, leaves through the gate.

use std::sync::Arc;

use stoplog_model::effect::{EffectError, Request};
use stoplog_model::key::MAIN_LABEL;
use stoplog_model::port::{CallInfo, Gate};
use wasmtime::ResourceLimiter;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::{context, effects, types};
use crate::calllog::CallLog;
use crate::http::Outlet;
use crate::limits;
use crate::spans::{Open, Told};
use crate::traffic::Traffic;
use crate::virtual_world::{ClockView, Dice, VirtualClock};

/// The label of the permit that `undo` gets. A tool cannot split it off: an undo under the key of
/// an effect of the call would be taken for that effect by a far side that remembers keys.
pub const UNDO_LABEL: &str = "undo";

/// The guest met a limit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LimitHit(pub(crate) String);

/// The right to one effect: all that the host keeps of it is its label.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Permit {
    label: String,
}

/// Memory and tables of all instances of a run, counted together.
#[derive(Default)]
pub(crate) struct Bounds {
    memory_bytes: usize,
    table_elements: usize,
    /// The first limit that was met. A guest may survive it; when it traps, this is why.
    pub(crate) hit: Option<String>,
}

impl Bounds {
    fn grown(total: usize, current: usize, desired: usize) -> usize {
        total.saturating_sub(current).saturating_add(desired)
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = Bounds::grown(self.memory_bytes, current, desired);
        if total > limits::MEMORY_BYTES {
            let mib = limits::MEMORY_BYTES >> 20;
            self.hit
                .get_or_insert(format!("memory: at most {mib} MiB in one call"));
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = Bounds::grown(self.table_elements, current, desired);
        if total > limits::TABLE_ELEMENTS {
            let most = limits::TABLE_ELEMENTS;
            self.hit
                .get_or_insert(format!("tables: at most {most} elements in one call"));
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        limits::TABLES as usize
    }

    fn memories(&self) -> usize {
        limits::MEMORIES as usize
    }
}

/// One run, as the host sees it.
pub(crate) struct Call {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outlet: Outlet,
    pub(crate) table: ResourceTable,
    clock: VirtualClock,
    dice: Dice,
    pub(crate) gate: Arc<dyn Gate>,
    info: CallInfo,
    traffic: Traffic,
    pub(crate) log: CallLog,
    pub(crate) told: Told,
    pub(crate) bounds: Bounds,
}

impl Call {
    pub(crate) fn new(info: CallInfo, seed: [u8; 32], gate: Arc<dyn Gate>, log: CallLog) -> Call {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits::HEADER_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES);
        // No environment, arguments, directories; standard input is closed. The builder's
        // defaults are all of that; sockets are refused once more by name.
        let wasi = WasiCtx::builder()
            .stdout(log.clone())
            .stderr(log.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let traffic = Traffic::default();
        Call {
            wasi,
            http,
            outlet: Outlet::new(Arc::clone(&gate), traffic.clone(), log.clone()),
            table,
            clock: VirtualClock::new(info.started_at_ms),
            dice: Dice::new(seed),
            gate,
            info,
            traffic,
            log,
            told: Told::new(),
            bounds: Bounds::default(),
        }
    }

    /// The permit that an entry starts with.
    pub(crate) fn permit(&mut self, label: &str) -> wasmtime::Result<Resource<Permit>> {
        Ok(self.table.push(Permit {
            label: label.to_owned(),
        })?)
    }

    pub(crate) fn clocks_view(&mut self) -> ClockView<'_> {
        ClockView {
            clock: &self.clock,
            table: &mut self.table,
        }
    }

    pub(crate) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

/// Ties [`Call`] itself to the linker.
pub(crate) struct HasCall;

impl HasData for HasCall {
    type Data<'a> = &'a mut Call;
}

impl WasiView for Call {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Call {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outlet,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl types::Host for Call {}

impl context::Host for Call {
    fn current(&mut self) -> wasmtime::Result<context::CallInfo> {
        Ok(context::CallInfo {
            tenant: self.info.tenant.clone(),
            session: self.info.session.clone(),
            call_id: self.info.call_id.clone(),
            attempt: self.info.attempt,
            started_at_ms: self.info.started_at_ms,
            scheduled_for_ms: self.info.scheduled_for_ms,
            deadline_ms: self.info.deadline_ms,
        })
    }

    /// Nobody watches yet: the port has no way for it. Not recorded, by contract.
    fn progress(&mut self, _: u64, _: Option<u64>, _: String) -> wasmtime::Result<()> {
        Ok(())
    }

    fn annotate(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        self.told.annotate(name, value);
        Ok(())
    }

    fn log(&mut self, level: context::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            context::Level::Debug => "debug",
            context::Level::Info => "info",
            context::Level::Warn => "warn",
            context::Level::Error => "error",
        };
        self.log.line(level, &message);
        Ok(())
    }
}

impl context::HostSpan for Call {
    fn new(&mut self, name: String) -> wasmtime::Result<Resource<Open>> {
        let span = self.told.begin(name);
        Ok(self.table.push(span)?)
    }

    fn annotate(
        &mut self,
        span: Resource<Open>,
        name: String,
        value: String,
    ) -> wasmtime::Result<()> {
        let span = self.table.get(&span)?;
        self.told.annotate_span(span, name, value);
        Ok(())
    }

    fn end(&mut self, span: Resource<Open>) -> wasmtime::Result<()> {
        let span = self.table.get(&span)?;
        self.told.end(span);
        Ok(())
    }

    fn drop(&mut self, span: Resource<Open>) -> wasmtime::Result<()> {
        let span = self.table.delete(span)?;
        self.told.end(&span);
        Ok(())
    }
}

/// Cuts a text at a number of bytes, between characters.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    text.truncate(end.unwrap_or(0));
}

impl effects::HostPermit for Call {
    fn key(&mut self, permit: Resource<Permit>) -> wasmtime::Result<String> {
        let permit = self.table.get(&permit)?;
        Ok(self.gate.key(&permit.label))
    }

    fn split(
        &mut self,
        permit: Resource<Permit>,
        label: String,
    ) -> wasmtime::Result<Resource<Permit>> {
        let parent = &self.table.get(&permit)?.label;
        let label = split_label(parent, &label)
            .and_then(|label| self.gate.split(&label).map(|()| label))
            .map_err(|e| wasmtime::Error::msg(format!("permit.split: {e}")))?;
        self.permit(&label)
    }

    fn drop(&mut self, permit: Resource<Permit>) -> wasmtime::Result<()> {
        self.table.delete(permit)?;
        Ok(())
    }
}

/// The label of a permit split off another: `.label` behind the other's, if that has one.
fn split_label(parent: &str, label: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if label.is_empty() || label.len() > 40 || !label.bytes().all(plain) {
        return Err(format!(
            "`{}` is no label: [a-z0-9_-]{{1,40}}",
            label.escape_debug()
        ));
    }
    match parent {
        MAIN_LABEL if label == UNDO_LABEL => Err("`undo` is the host's own label".to_owned()),
        MAIN_LABEL => Ok(label.to_owned()),
        _ => Ok(format!("{parent}.{label}")),
    }
}

impl effects::Host for Call {
    async fn perform(
        &mut self,
        permit: Resource<Permit>,
        request: effects::Request,
    ) -> wasmtime::Result<Result<effects::Response, effects::EffectError>> {
        let permit = self.table.delete(permit)?;
        let sent = self.traffic.take().and_then(|()| normal(request));
        let request = match sent.and_then(|r| self.traffic.pass(r.body.len()).map(|()| r)) {
            Ok(request) => request,
            Err(why) => return Ok(Err(effects::EffectError::Denied(why))),
        };
        let answer = self.gate.perform(&permit.label, request).await;
        Ok(match answer {
            Ok(response) if response.body.len() > limits::RESPONSE_BODY_BYTES => {
                Err(effects::EffectError::Unanswered(format!(
                    "the answer has {} bytes, at most {} are passed on",
                    response.body.len(),
                    limits::RESPONSE_BODY_BYTES
                )))
            }
            Ok(response) if let Err(why) = self.traffic.pass(response.body.len()) => {
                Err(effects::EffectError::Unanswered(why))
            }
            Ok(response) => Ok(effects::Response {
                status: response.status,
                headers: response.headers,
                body: response.body,
            }),
            Err(EffectError::Denied { reason, detail }) => {
                Err(effects::EffectError::Denied(format!("{reason}: {detail}")))
            }
            Err(EffectError::NotSent(why)) => Err(effects::EffectError::NotSent(why)),
            Err(EffectError::Unanswered(why)) => Err(effects::EffectError::Unanswered(why)),
        })
    }
}

/// Method in upper case, header names in lower case, sizes within bounds.
fn normal(request: effects::Request) -> Result<Request, String> {
    let effects::Request {
        method,
        url,
        headers,
        body,
    } = request;
    if body.len() > limits::REQUEST_BODY_BYTES {
        return Err(format!(
            "request_limit: the body has {} bytes, at most {} may leave",
            body.len(),
            limits::REQUEST_BODY_BYTES
        ));
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if header_bytes + url.len() > limits::HEADER_BYTES {
        return Err(format!(
            "request_limit: URL and headers have {} bytes, at most {} may leave",
            header_bytes + url.len(),
            limits::HEADER_BYTES
        ));
    }
    Ok(Request {
        method: method.to_ascii_uppercase(),
        url,
        headers: headers
            .into_iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), v))
            .collect(),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_nest_and_cannot_collide_with_the_undo() {
        assert_eq!(split_label("", "fee"), Ok("fee".to_owned()));
        assert_eq!(split_label("undo", "fee"), Ok("undo.fee".to_owned()));
        assert!(split_label("", "undo").is_err());
        for bad in ["", "Fee", "a.b", "a b", &"x".repeat(41)] {
            assert!(split_label("", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memories_count_together() {
        let mut bounds = Bounds::default();
        let half = limits::MEMORY_BYTES / 2;
        assert!(bounds.memory_growing(0, half, None).expect("grow"));
        assert!(bounds.memory_growing(0, half, None).expect("grow"));
        assert!(!bounds.memory_growing(half, half + 1, None).expect("grow"));
        assert!(bounds.hit.is_some());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = "aé".to_owned();
        cut(&mut text, 2);
        assert_eq!(text, "a");
    }
}
