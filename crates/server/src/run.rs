//! `perpetuo server run`: one node of a cluster, as its settings describe it. Also the
//! parts of a server's life that `start-dev` shares: listen, serve, stop on a signal.

use std::time::Duration;

use anyhow::Context as _;
use base::{Listener, Net as _, TcpNet};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assembly::{self, Running};
use crate::cli::Telemetry;
use crate::config::{Config, Profile, Sources};
use crate::exit::Stopped;
use crate::{admin, output, telemetry};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: Sources,
}

pub(crate) async fn run(args: Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let mut settings = args.sources.settings();
    // Settings that cannot be read leave the defaults of the log, which suit the complaint.
    telemetry::init_from(telemetry, &settings);
    settings.check()?;
    let config = Config::of(settings, Profile::Cluster)?;
    let node = config.options.node;
    let started = start(config).await?;
    output::line(&format!("node {node}: gRPC on {}", started.grpc_address));
    started.serve_until_signal().await
}

/// A node whose ports are open, and which does not serve yet.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) grpc_address: String,
    grpc: Box<dyn Listener>,
    http: Option<Box<dyn Listener>>,
    admin: Option<Box<dyn Listener>>,
}

/// Opens the ports first: a taken one must be the first thing a user hears of.
pub(crate) async fn start(config: Config) -> anyhow::Result<Started> {
    let Config { options, data, grpc_address, http_address, admin_address } = config;
    let grpc = listen(&grpc_address).await?;
    let http = listen_if(http_address.as_deref()).await?;
    let admin = listen_if(admin_address.as_deref()).await?;
    let running = assembly::start(options, assembly::Seams::system(&data).await?).await?;
    Ok(Started { running, grpc_address, grpc, http, admin })
}

async fn listen_if(address: Option<&str>) -> anyhow::Result<Option<Box<dyn Listener>>> {
    match address {
        None => Ok(None),
        Some(address) => listen(address).await.map(Some),
    }
}

async fn listen(address: &str) -> anyhow::Result<Box<dyn Listener>> {
    TcpNet
        .listen(address)
        .await
        .with_context(|| format!("cannot listen on {address} (is another server running there?)"))
}

impl Started {
    /// Serves until SIGTERM or Ctrl-C, then drains: polls end, leaders move, everything
    /// acknowledged is on disk.
    pub(crate) async fn serve_until_signal(self) -> anyhow::Result<()> {
        let Self { running, grpc, http, admin, .. } = self;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = CancellationToken::new();
        let serve = running.serve(grpc, http, stop.clone());
        let admin = async {
            match admin {
                Some(listener) => admin::serve(running.node().clone(), listener, stop.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(serve);
        tokio::select! {
            result = &mut serve => return result,
            result = admin => return result,
            failed = running.failed() => return Err(Stopped(failed).into()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        stop.cancel();
        // A client that never reads its answer must not hold up the exit.
        let _ = tokio::time::timeout(DRAIN_MAX, serve).await;
        let _ = tokio::time::timeout(DRAIN_MAX, running.shutdown()).await;
        Ok(())
    }
}

/// The longest each half of the drain may take; together below the two seconds that SDK
/// test environments wait before they kill.
const DRAIN_MAX: Duration = Duration::from_millis(900);
