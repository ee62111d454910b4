//! `perpetuo server run`: one node of a cluster whose members are listed at start. Also
//! the parts of a server's life that `start-dev` shares: listen, serve, stop on a signal.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::{Listener, Net as _, NodeId, TcpNet};
use cluster::Member;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assembly::{self, Data, Options, Running};
use crate::start_dev::EngineName;
use crate::{admin, output};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// This node's id, unique in the cluster for ever.
    #[arg(long)]
    node_id: u64,
    /// All nodes as ID=HOST:PORT of their peer listeners, this one included.
    #[arg(long, required = true, value_delimiter = ',', value_name = "ID=HOST:PORT")]
    members: Vec<String>,
    /// Name of the cluster; nodes of another cluster are refused.
    #[arg(long, default_value = "perpetuo")]
    cluster_name: String,
    /// Address of the gRPC API.
    #[arg(long, default_value = "127.0.0.1:7233")]
    grpc_address: String,
    /// Address of the HTTP API (JSON over HTTP/1.1); without it there is none.
    #[arg(long)]
    http_address: Option<String>,
    /// Address of the admin service used by `perpetuo shard`.
    #[arg(long)]
    admin_address: Option<String>,
    /// Directory for this node's data.
    #[arg(long)]
    data_dir: PathBuf,
    /// Which engine keeps the state.
    #[arg(long, value_enum, default_value_t = EngineName::Fjall)]
    storage_engine: EngineName,
    /// Number of shards; fixed at the first start of the cluster.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,
    /// Namespaces to create when the cluster is born.
    #[arg(long, default_value = "default")]
    namespace: Vec<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let members = args
        .members
        .iter()
        .map(|member| parse_member(member).map(|(id, peer_address)| Member { id, peer_address }))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let node = NodeId(args.node_id);
    if !members.iter().any(|member| member.id == node) {
        bail!("--members does not list --node-id {node}");
    }
    let options = Options {
        cluster_id: args.cluster_name,
        members,
        shards: args.shards,
        namespaces: args.namespace,
        namespace_retention: Duration::from_secs(72 * 3600),
        frontend: Options::development_frontend(),
        ..Options::single(node)
    };
    let data = Data::Directory { path: args.data_dir, engine: args.storage_engine.engine() };
    let listeners =
        Listeners::bind(&args.grpc_address, args.http_address.as_deref(), args.admin_address.as_deref()).await?;
    let running = assembly::start(options, assembly::Seams::system(&data)?).await?;
    output::line(&format!("node {node}: gRPC on {}", args.grpc_address));
    serve_until_signal(running, listeners).await
}

fn parse_member(text: &str) -> anyhow::Result<(NodeId, String)> {
    let (id, address) = text.split_once('=').with_context(|| format!("{text:?}: expected ID=HOST:PORT"))?;
    let id = id.parse().with_context(|| format!("{text:?}: {id:?} is not a number"))?;
    Ok((NodeId(id), address.to_owned()))
}

async fn listen(address: &str) -> anyhow::Result<Box<dyn Listener>> {
    TcpNet
        .listen(address)
        .await
        .with_context(|| format!("cannot listen on {address} (is another server running there?)"))
}

/// The ports of a node, bound before anything else: a taken one must be the first thing
/// that a user hears of.
pub(crate) struct Listeners {
    grpc: Box<dyn Listener>,
    http: Option<Box<dyn Listener>>,
    admin: Option<admin::Incoming>,
}

impl Listeners {
    pub(crate) async fn bind(grpc: &str, http: Option<&str>, admin: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: listen(grpc).await?,
            http: match http {
                None => None,
                Some(address) => Some(listen(address).await?),
            },
            admin: match admin {
                None => None,
                Some(address) => Some(admin::listen(address).await?),
            },
        })
    }
}

/// Serves until SIGTERM or Ctrl-C, then drains: polls end, leaders move, everything
/// acknowledged is on disk.
pub(crate) async fn serve_until_signal(
    running: Running,
    Listeners { grpc, http, admin }: Listeners,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let serve = running.serve(grpc, http, stop.clone());
    let admin = async {
        match admin {
            Some(incoming) => admin::serve(running.node().clone(), incoming, stop.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(serve);
    tokio::select! {
        result = &mut serve => return result,
        result = admin => return result,
        reason = running.failed() => bail!("{reason}; the node stops so that it cannot answer wrongly"),
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

/// The longest each half of the drain may take; together below the two seconds that SDK
/// test environments wait before they kill.
const DRAIN_MAX: Duration = Duration::from_millis(900);
