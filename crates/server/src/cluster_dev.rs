//! `perpetuo cluster dev`: a cluster on this machine, one process for each node, to play
//! with and to break. Ctrl-C ends them all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::{LogLevel, Telemetry};
use crate::config::{Settings, as_toml};
use crate::target::Target;
use crate::{admin, output};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many nodes; a shard survives the loss of any minority of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Directory for data, logs and `cluster.json`. Without it: a temporary one, removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// gRPC port of the first node; the others follow. 0 picks free ports.
    #[arg(long, default_value_t = 7233)]
    port: u16,
    /// Number of shards; fixed at the first start with this directory.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,
}

/// One node, as `cluster.json` describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeInfo {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) grpc_address: String,
    pub(crate) peer_address: String,
    pub(crate) admin_address: String,
    pub(crate) log: PathBuf,
}

/// What a running cluster looks like from outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) nodes: Vec<NodeInfo>,
}

/// Processes of a cluster on this machine. Dropping it kills them.
pub(crate) struct LocalCluster {
    pub(crate) description: Description,
    children: Vec<Child>,
}

/// How long a fresh cluster may take until every shard has a leader.
const READY_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(5);

impl LocalCluster {
    /// Starts the processes and waits until every shard has a leader.
    pub(crate) async fn start(
        dir: &Path,
        nodes: u8,
        first_port: u16,
        shards: u32,
        log_level: &str,
    ) -> anyhow::Result<Self> {
        let mut description = Description::default();
        for index in 0..nodes {
            let id = u64::from(index) + 1;
            let port = match first_port {
                0 => free_port()?,
                first => first.checked_add(u16::from(index)).context("--port leaves no room for all nodes")?,
            };
            description.nodes.push(NodeInfo {
                id,
                pid: 0,
                grpc_address: format!("127.0.0.1:{port}"),
                peer_address: format!("127.0.0.1:{}", free_port()?),
                admin_address: format!("127.0.0.1:{}", free_port()?),
                log: dir.join(format!("node-{id}.log")),
            });
        }
        let members: Vec<_> =
            description.nodes.iter().map(|node| format!("{}={}", node.id, node.peer_address)).collect();
        let members = members.join(",");
        let mut children = Vec::new();
        for node in &mut description.nodes {
            let config = configure(dir, node, &members, shards, log_level)?;
            let child = spawn(&config, node)?;
            node.pid = child.id().context("the process of a node ended at once")?;
            children.push(child);
        }
        let mut cluster = Self { description, children };
        cluster.wait_until_ready(shards).await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&mut self, shards: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            self.report_the_dead()?;
            let mut ready = true;
            for node in &self.description.nodes {
                let led = match admin::status(&Target::plain(&node.admin_address)).await {
                    Ok(status) => status.shards.iter().filter(|shard| shard.leader != 0).count(),
                    Err(_) => 0,
                };
                ready &= led == shards as usize;
            }
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not every shard has a leader after {READY_MAX:?}; see the logs of the nodes");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An error when a process has ended, with the end of its log.
    fn report_the_dead(&mut self) -> anyhow::Result<()> {
        for (node, child) in self.description.nodes.iter().zip(&mut self.children) {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&node.log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(5).collect();
                bail!("node {} ended ({status}):\n{}", node.id, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        Ok(())
    }

    /// SIGKILL: the node gets no chance to say anything.
    pub(crate) async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        let index = self.description.nodes.iter().position(|node| node.id == id).context("no such node")?;
        self.children[index].kill().await.context("cannot kill the node")
    }

    /// Ends every node politely, and those that do not listen with force.
    pub(crate) async fn stop(mut self) {
        for child in &self.children {
            if let Some(pid) = child.id() {
                let _ = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await;
            }
        }
        for child in &mut self.children {
            if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }

    /// Resolves when a node has ended by itself: its id and how.
    async fn a_node_ended(&mut self) -> (u64, String) {
        let mut waits = JoinSet::new();
        for (node, child) in self.description.nodes.iter().zip(&self.children) {
            if let Some(pid) = child.id() {
                let id = node.id;
                waits.spawn(async move {
                    while Path::new(&format!("/proc/{pid}/stat")).exists() && !is_zombie(pid) {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    id
                });
            }
        }
        let Some(Ok(id)) = waits.join_next().await else { return std::future::pending().await };
        let index = self.description.nodes.iter().position(|node| node.id == id).unwrap_or(0);
        let status =
            self.children[index].wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        (id, status)
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Writes the file that the node starts from, to be read and changed by whoever plays
/// with the cluster.
fn configure(dir: &Path, node: &NodeInfo, members: &str, shards: u32, log_level: &str) -> anyhow::Result<PathBuf> {
    let mut settings = Settings::default();
    let data = std::path::absolute(dir)?.join(format!("node-{}", node.id));
    for (key, value) in [
        ("node.id", node.id.to_string().as_str()),
        ("node.data-dir", &data.to_string_lossy()),
        ("cluster.members", members),
        ("cluster.shards", &shards.to_string()),
        ("listen.grpc", &node.grpc_address),
        ("listen.admin", &node.admin_address),
        ("callbacks.addresses", "*"),
        ("callbacks.insecure", "true"),
        ("telemetry.log-filter", log_level),
    ] {
        settings.flag(key, value, "cluster dev");
    }
    settings.check()?;
    let path = std::path::absolute(dir)?.join(format!("node-{}.toml", node.id));
    std::fs::write(&path, as_toml(&settings, false)).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn spawn(config: &Path, node: &NodeInfo) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&node.log)
        .with_context(|| format!("cannot write {}", node.log.display()))?;
    let binary = std::env::current_exe().context("cannot find this program's own path")?;
    Command::new(binary)
        .args(["server", "run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal reaches this process alone; it ends the nodes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a node")
}

fn free_port() -> anyhow::Result<u16> {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(probe.local_addr()?.port())
}

pub(crate) async fn run(args: Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let (dir, _temporary) = match args.dir {
        Some(dir) => (dir, None),
        None => {
            let temporary = tempfile::tempdir().context("cannot create a temporary directory")?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let level = telemetry.log_level.map_or_else(|| "warn".to_owned(), LogLevel::name);
    let mut cluster = tokio::select! {
        cluster = LocalCluster::start(&dir, args.nodes, args.port, args.shards, &level) => cluster?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    write_description(&dir, &cluster.description)?;
    banner(&dir, &cluster.description, args.shards);
    loop {
        tokio::select! {
            (id, status) = cluster.a_node_ended() => output::line(&format!("node {id} ended ({status})")),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    cluster.stop().await;
    let _ = std::fs::remove_file(dir.join("cluster.json"));
    Ok(())
}

/// Written under another name first: who waits for the file never sees half of it.
fn write_description(dir: &Path, description: &Description) -> anyhow::Result<()> {
    let draft = dir.join("cluster.json.new");
    std::fs::write(&draft, serde_json::to_string_pretty(description)?)?;
    std::fs::rename(draft, dir.join("cluster.json")).context("cannot write cluster.json")
}

fn banner(dir: &Path, description: &Description, shards: u32) {
    output::line(&format!(
        "A cluster of {} nodes, {shards} shards, every shard on every node.",
        description.nodes.len()
    ));
    output::line("");
    for node in &description.nodes {
        output::line(&format!(
            "node {}   gRPC {}   admin {}   pid {}   log {}",
            node.id,
            node.grpc_address,
            node.admin_address,
            node.pid,
            node.log.display()
        ));
    }
    output::line("");
    output::line("Connect to any of them. Kill one (kill -9 PID): its shards are led by another within two seconds.");
    if let Some(node) = description.nodes.first() {
        output::line(&format!(
            "Who leads a workflow: perpetuo shard of --workflow-id ID --admin-address {}",
            node.admin_address
        ));
    }
    output::line(&format!("Data: {}. Ctrl-C ends all nodes.", dir.display()));
}
