//! Connections: accepts them, speaks HTTP/2 on them, asks old ones to close, and lets
//! the last calls finish when the server stops. Sockets come only through `base`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::{Accepted, Io, Listener};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::output::Output;
use crate::{Config, Service};

/// How long accepting rests after an error, which is most often a lack of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one stream of a connection may have in flight before it must wait.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// The listener cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("the listener has no address: {0}")]
pub struct ServeError(#[from] io::Error);

/// Where the tasks of one `serve` live: all end before it returns.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        self.tracker.spawn(self.abort.clone().run_until_cancelled_owned(task));
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(async {
            future.await;
        });
    }
}

/// Runs until `shutdown`, then as long as calls last, at most `shutdown_grace`.
pub(crate) async fn serve(
    service: Service,
    mut listener: Box<dyn Listener>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving gRPC");
    let config = service.config().clone();
    let tasks = Tasks { tracker: TaskTracker::new(), abort: CancellationToken::new() };
    let slots = Arc::new(Semaphore::new(config.connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Accepted { io, address: peer, .. }) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = Connection { service: service.clone(), tasks: tasks.clone(), slot };
                    tasks.spawn(connection.run(io, shutdown.clone()));
                }
                Err(_) => tracing::warn!(%peer, "too many connections, this one is closed"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Parked polls would last longer than anybody wants to wait.
    service.drain().await;
    tasks.tracker.close();
    if tokio::time::timeout(config.shutdown_grace, tasks.tracker.wait()).await.is_err() {
        tracing::info!("calls are still running, they are cut off");
        tasks.abort.cancel();
        tasks.tracker.wait().await;
    }
    Ok(())
}

struct Connection {
    service: Service,
    tasks: Tasks,
    /// Held for as long as the connection lives.
    slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, io: Box<dyn Io>, shutdown: CancellationToken) {
        let Self { service, tasks, slot } = self;
        let config = service.config().clone();
        let handler = hyper::service::service_fn(move |request| {
            let service = service.clone();
            // Boxed, since the connection moves it into a task of its own, and that moves it on.
            Box::pin(async move { Ok::<_, Infallible>(service.handle(request).await) })
        });
        let connection = builder(&config, tasks).serve_connection(TokioIo::new(Output::new(io)), handler);
        tokio::pin!(connection);
        let started = Instant::now();
        let mut closing: Option<Instant> = None;
        loop {
            let alarm = closing.map_or(started + config.connection_age_max, |at| at + config.connection_age_grace);
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                    break;
                }
                () = shutdown.cancelled(), if closing.is_none() => {}
                () = tokio::time::sleep_until(alarm) => {
                    if closing.is_some() {
                        break;
                    }
                }
            }
            connection.as_mut().graceful_shutdown();
            closing = Some(Instant::now());
        }
        drop(slot);
    }
}

fn builder(config: &Config, tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(config.streams_per_connection_max)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}
