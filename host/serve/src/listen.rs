//! Connections: accepted, bounded, timed, and drained at the end.
//!
//! Invariants:
//! * a connection that sends slowly is closed: a request's head has a time, and so has its body;
//! * no more connections than the limit are held; the next one waits to be accepted;
//! * after the end is asked for none is accepted; those that are there finish what they are at, and
//!   are waited for.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::limits::Limits;

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// Serves until the end is asked for, and then until every connection has finished.
pub(crate) async fn run<L>(mut listener: L, routes: Router, limits: &Limits, end: CancellationToken)
where
    L: Listener,
    L::Io: Unpin,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read)
        .max_buf_size(HEAD_BYTES);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let routes = routes.map_request(|request: http::Request<Incoming>| request.map(Body::new));
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await.0)
        };
        let Some((place, stream)) = end.run_until_cancelled(accepted).await else {
            break;
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            let _place = place;
            // What a client does to its connection is no error of ours.
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
