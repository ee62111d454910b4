//! `perpetuo server run`: one node of a cluster, as its settings describe it. Also the
//! parts of a server's life that `start-dev` shares: listen, serve, stop on a signal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::Listener;
use cluster::Member;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assembly::{self, Data, Running};
use crate::cli::Telemetry;
use crate::config::{Config, Profile, Sources};
use crate::door::Protocol;
use crate::doors::Doors;
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
    let started = Box::pin(start(config)).await?;
    // One that joins learns who it is only then.
    let node = started.running.node().router().this_node();
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
    members: Vec<Member>,
    /// Looks after the certificates.
    doors: Doors,
}

/// Opens the ports first: a taken one must be the first thing a user hears of.
pub(crate) async fn start(config: Config) -> anyhow::Result<Started> {
    let mut doors = Doors::new(&config);
    let Config { options, data, grpc_address, http_address, admin_address, tls, .. } = config;
    let grpc = doors.client("gRPC", Protocol::Http2, &grpc_address, tls.frontend.clone()).await?;
    let http = match &http_address {
        Some(address) => Some(doors.client("HTTP", Protocol::Http1, address, tls.frontend).await?),
        None => None,
    };
    let admin = match &admin_address {
        Some(address) => Some(doors.admin(address, tls.admin).await?),
        None => None,
    };
    let net = Arc::new(doors.net(tls.peer)?);
    let seams = assembly::Seams { net, ..assembly::Seams::system(&data).await? };
    let members = options.members.clone();
    let running = assembly::start(options, seams).await.with_context(|| match &data {
        Data::Memory => "cannot start".to_owned(),
        Data::Directory { path, .. } => format!("cannot start on the data in {}", path.display()),
    })?;
    Ok(Started { running, grpc_address, grpc, http, admin, members, doors })
}

impl Started {
    /// Serves until SIGTERM or Ctrl-C, then drains: polls end, leaders move, everything
    /// acknowledged is on disk.
    pub(crate) async fn serve_until_signal(self) -> anyhow::Result<()> {
        let Self { running, grpc, http, admin, members, doors: _doors, .. } = self;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = CancellationToken::new();
        let serve = running.serve(grpc, http, stop.clone());
        let admin = async {
            match admin {
                Some(listener) => admin::serve(running.node().clone(), members, listener, stop.clone()).await,
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
