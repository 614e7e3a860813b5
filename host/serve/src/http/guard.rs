//! What stands before every handler: is it addressed to us, who asks, may they, and did it panic.

use std::any::Any;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use stoplog_model::{Reason, Tenant};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};

use super::{App, Auth};
use crate::caller::{Caller, Right, Role};
use crate::problem::Problem;
use crate::seam::Refusal;

/// The header that names the tenant where keys are off.
const TENANT: &str = "stoplog-tenant";
/// Who callers are where keys are off.
const LOCAL: &str = "local";

/// Refuses what a page of somebody else, or a name that was led here, sends.
pub(super) async fn addressed(State(app): State<App>, request: Request, next: Next) -> Response {
    match check_address(&app, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_address(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let refused = |detail: String| Problem::new(Reason::HostRefused, detail);
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    // HTTP/2 has it in the address.
    let host = host.or_else(|| uri.authority().map(|a| a.as_str()));
    let name = host.map(name_of).unwrap_or_default();
    let known = |h: &String| h.eq_ignore_ascii_case(name);
    if !app.settings.hosts.iter().any(known) {
        return Err(refused(format!("this is not `{name}`")));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !app.settings.origins.iter().any(|o| o == origin) {
            return Err(refused(format!("pages of `{origin}` may not ask here")));
        }
    }
    Ok(())
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Finds out who asks, and whether they may. Handlers find the [`Caller`] among the extensions.
pub(super) async fn known(
    State((app, right)): State<(App, Right)>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller_of(&app, request.headers()) {
        Err(problem) => problem.into_response(),
        Ok(caller) if !caller.role.may(right) => {
            let detail = format!(
                "`{}` is the key of an {}: it may not do this",
                caller.name,
                caller.role.as_str()
            );
            Problem::new(Reason::Forbidden, detail).into_response()
        }
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    }
}

fn caller_of(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    match &app.settings.auth {
        Auth::Keys(ring) => {
            let value = headers.get(header::AUTHORIZATION);
            let text = value.and_then(|v| v.to_str().ok()).unwrap_or_default();
            let key = text
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let caller = key.and_then(|(_, key)| ring.caller(key.trim()));
            caller.ok_or_else(|| {
                let detail = "`Authorization: Bearer KEY` is missing, or the key is nobody's";
                Problem::new(Reason::Unauthenticated, detail)
            })
        }
        Auth::Off => {
            let value = headers.get(TENANT).and_then(|v| v.to_str().ok());
            let tenant = value.and_then(|v| Tenant::new(v).ok());
            let tenant = tenant.ok_or_else(|| {
                let detail = "keys are off: name the tenant in the header Stoplog-Tenant";
                Problem::new(Reason::Unauthenticated, detail)
            })?;
            Ok(Caller {
                tenant,
                name: LOCAL.into(),
                role: Role::Agent,
            })
        }
    }
}

/// Makes an answer of a panic.
pub(super) fn panics() -> CatchPanicLayer<Panicked> {
    CatchPanicLayer::custom(Panicked)
}

/// See [`panics`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Panicked;

impl ResponseForPanic for Panicked {
    type ResponseBody = Body;

    fn response_for_panic(&mut self, what: Box<dyn Any + Send + 'static>) -> http::Response<Body> {
        let text = what.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| what.downcast_ref::<&str>().copied());
        // The text is for the log: it may hold anything.
        tracing::error!(panic = text.unwrap_or("?"), "a handler panicked");
        let refusal = Refusal::new(
            Reason::HandlerPanicked,
            "the request met a defect of the host; the journal says how far its call came",
        );
        Problem::from(refusal).into_response()
    }
}
