//! Connections of the HTTP API: HTTP/1.1, bounded in number, and closed when they are
//! silent for too long.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base::{Accepted, Io, Listener};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpApi;
use crate::ServeError;

/// How long accepting rests after an error, which is most often a lack of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection on which no request begins for this long is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn serve(
    api: HttpApi,
    mut listener: Box<dyn Listener>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving HTTP");
    let (tracker, abort) = (TaskTracker::new(), CancellationToken::new());
    let slots = Arc::new(Semaphore::new(api.inner.config.connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Accepted { io, address: peer, .. }) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = connection(api.clone(), io, shutdown.clone());
                    let task = abort.clone().run_until_cancelled_owned(async move {
                        connection.await;
                        drop(slot);
                    });
                    tracker.spawn(task);
                }
                Err(_) => tracing::warn!(%peer, "too many HTTP connections, this one is closed"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(api.inner.service.config().shutdown_grace, tracker.wait()).await.is_err() {
        abort.cancel();
        tracker.wait().await;
    }
    Ok(())
}

async fn connection(api: HttpApi, io: Box<dyn Io>, shutdown: CancellationToken) {
    let handler = service_fn(move |request| {
        let api = api.clone();
        Box::pin(async move { Ok::<_, Infallible>(api.handle(request).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(io), handler);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}
