//! What a node is told before it starts, from its file, the environment and its flags, as
//! one checked value. `server run`, `start-dev` and `cluster dev` all start from it.
//!
//! ```text
//! keys (the table) ─▶ settings (values with their origins) ─▶ Config ─▶ assembly
//!        └─▶ flags, docs/config.md
//! ```

mod command;
#[cfg(test)]
mod document;
mod flags;
mod keys;
mod settings;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base::NodeId;
use cluster::{Join, Member};

use crate::assembly::{BALANCE_INTERVAL, Data, Options};
use crate::telemetry;
use crate::tls::Files;

pub(crate) use command::{CheckArgs, ShowArgs, as_toml, check, show};
pub(crate) use flags::Flags;
pub(crate) use settings::{Problems, Settings};

/// A node that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) options: Options,
    pub(crate) data: Data,
    pub(crate) grpc_address: String,
    /// None: no HTTP API.
    pub(crate) http_address: Option<String>,
    /// None: no admin service.
    pub(crate) admin_address: Option<String>,
    pub(crate) tls: Tls,
    pub(crate) connections_per_address_max: usize,
}

/// The files of the ports that have TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tls {
    pub(crate) refresh_interval: Duration,
    pub(crate) frontend: Option<Files>,
    pub(crate) admin: Option<Files>,
    pub(crate) peer: Option<Files>,
}

/// Which settings may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// Nothing that would make a node of a cluster forget what it promised.
    Cluster,
    /// One node, alone, in memory unless a directory is set.
    Development,
}

/// Arguments that say where settings come from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Sources {
    /// The configuration file (TOML; see docs/config.md).
    #[arg(long, value_name = "FILE", env = "PERPETUO_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

impl Sources {
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        if let Some(path) = &self.config {
            settings.file(path);
        }
        settings.environment(std::env::vars_os().filter_map(|(name, text)| {
            // What is not UTF-8 cannot be a name of ours, nor a value that we could use.
            Some((name.into_string().ok()?, text.to_string_lossy().into_owned()))
        }));
        self.flags.apply(&mut settings);
        settings
    }
}

impl Config {
    /// # Errors
    /// Everything that is wrong with the settings.
    pub(crate) fn of(mut settings: Settings, profile: Profile) -> Result<Self, Problems> {
        settings.check()?;
        let node = NodeId(settings.number("node.id"));
        let join = join(&mut settings);
        if join.is_none() && node.0 == 0 && settings.get("node.id").value.is_none() {
            settings.complain("node.id", "must be set: a number that no other node of the cluster has or had");
        }
        let data = data(&mut settings, profile);
        let members = if join.is_some() { Vec::new() } else { members(&mut settings, node, profile) };
        let grpc_address = settings.string("listen.grpc");
        if grpc_address.is_empty() {
            settings.complain("listen.grpc", "must not be empty: clients could not connect");
        }
        if settings.string("cluster.name").is_empty() {
            settings.complain("cluster.name", "must not be empty");
        }
        let listed = members.iter().find(|member| member.id == node).map(|own| own.peer_address.clone());
        let own_address = join.as_ref().map(|join| join.peer_address.clone()).or(listed);
        let tls = tls(&mut settings, own_address.as_deref(), join.is_some() || members.len() > 1);
        if let Err(problem) = telemetry::check_filter(&settings.string("telemetry.log-filter")) {
            settings.complain("telemetry.log-filter", &problem);
        }
        let disk_reserve = disk_reserve(&mut settings);
        settings.check()?;
        let options = Options {
            disk_reserve,
            node,
            cluster_id: settings.string("cluster.name"),
            members,
            join,
            peer_listen: Some(settings.string("listen.peer")).filter(|address| !address.is_empty()),
            shards: u32::try_from(settings.number("cluster.shards")).expect("the table bounds it"),
            namespaces: settings.list("cluster.namespaces"),
            namespace_retention: settings.duration("cluster.namespace-retention"),
            consensus: consensus::Config::default(),
            history: history(&settings),
            matching: matching::Config::default(),
            frontend: frontend(&settings),
            planted_welcome_wiped: false,
            balance_interval: Some(BALANCE_INTERVAL),
        };
        let address = |key| Some(settings.string(key)).filter(|address| !address.is_empty());
        let (http_address, admin_address) = (address("listen.http"), address("listen.admin"));
        let connections_per_address_max = settings.count("limits.connections-per-address");
        Ok(Self { options, data, grpc_address, http_address, admin_address, tls, connections_per_address_max })
    }
}

fn data(settings: &mut Settings, profile: Profile) -> Data {
    let path = settings.string("node.data-dir");
    let engine = match settings.string("storage.engine").as_str() {
        "sled" => storage::Engine::Sled,
        _ => storage::Engine::Fjall,
    };
    if path.is_empty() {
        if profile == Profile::Cluster {
            settings.complain("node.data-dir", "must be set: the directory for the data of this node");
        }
        return Data::Memory;
    }
    let path = PathBuf::from(path);
    if path.is_file() {
        settings.complain("node.data-dir", &format!("{} is a file; data is kept in a directory", path.display()));
    }
    Data::Directory { path, engine }
}

fn disk_reserve(settings: &mut Settings) -> storage::DiskReserve {
    const KEY: &str = "storage.disk-reserve";
    settings.string(KEY).parse().unwrap_or_else(|error: storage::ReserveError| {
        settings.complain(KEY, &error.to_string());
        storage::DiskReserve::default()
    })
}

/// The static list of nodes.
/// Of a node that joins a cluster instead of being listed among its founders.
fn join(settings: &mut Settings) -> Option<Join> {
    let addresses = settings.list("cluster.join");
    if addresses.is_empty() {
        if !settings.string("node.peer-address").is_empty() {
            let reason = "is for nodes that join: founders are listed with their addresses in cluster.members";
            settings.complain("node.peer-address", reason);
        }
        return None;
    }
    for address in addresses.iter().filter(|address| !address.contains(':')) {
        settings.complain("cluster.join", &format!("{address:?}: expected HOST:PORT"));
    }
    for key in ["node.id", "cluster.members"] {
        if settings.get(key).value.is_some() {
            settings.complain(key, "must not be set for a node that joins: the cluster gives it an id");
        }
    }
    let peer_address = settings.string("node.peer-address");
    if peer_address.is_empty() {
        settings.complain("node.peer-address", "must be set for a node that joins: where the others reach it");
    }
    Some(Join { addresses, peer_address })
}

fn members(settings: &mut Settings, node: NodeId, profile: Profile) -> Vec<Member> {
    const KEY: &str = "cluster.members";
    let mut members: Vec<Member> = Vec::new();
    for text in settings.list(KEY) {
        let parsed = text.split_once('=').and_then(|(id, address)| Some((NodeId(id.trim().parse().ok()?), address)));
        match parsed {
            Some((id, address)) if address.contains(':') => {
                if members.iter().any(|member| member.id == id) {
                    settings.complain(KEY, &format!("node {id} is listed twice"));
                }
                members.push(Member { id, peer_address: address.trim().to_owned() });
            }
            _ => settings.complain(KEY, &format!("{text:?}: expected ID=HOST:PORT")),
        }
    }
    match (members.is_empty(), profile) {
        (true, Profile::Development) => members.push(Member { id: node, peer_address: String::new() }),
        (true, Profile::Cluster) => {
            settings.complain(KEY, "must be set: all nodes as ID=HOST:PORT of their peer ports, this one included");
        }
        (false, _) if members.iter().all(|member| member.id != node) => {
            settings.complain(KEY, &format!("does not list this node, whose node.id is {node}"));
        }
        (false, _) => {}
    }
    members
}

/// `own_address` is where the other nodes reach this one, if it has such an address.
fn tls(settings: &mut Settings, own_address: Option<&str>, has_peers: bool) -> Tls {
    let refresh_interval = settings.duration("tls.refresh-interval");
    if refresh_interval.is_zero() {
        settings.complain("tls.refresh-interval", "must be longer than zero");
    }
    let tls = Tls {
        refresh_interval,
        frontend: files(settings, "tls.frontend", "client-ca"),
        admin: files(settings, "tls.admin", "client-ca"),
        peer: files(settings, "tls.peer", "ca"),
    };
    let peer = match settings.string("listen.peer") {
        address if !address.is_empty() => address,
        _ => own_address.unwrap_or_default().to_owned(),
    };
    if has_peers && !peer.is_empty() && tls.peer.is_none() && !is_local(&peer) && !settings.boolean("tls.peer.insecure")
    {
        settings.complain(
            "tls.peer.cert",
            &format!(
                "must be set, as key and ca: other machines reach the peer port {peer}, and whoever does could read and change everything (`perpetuo cluster certs create` makes certificates; tls.peer.insecure = true does without)"
            ),
        );
    }
    let admin = settings.string("listen.admin");
    let is_safe = tls.admin.as_ref().is_some_and(|files| !files.ca.is_empty());
    if !admin.is_empty() && !is_safe && !is_local(&admin) && !settings.boolean("tls.admin.insecure") {
        settings.complain(
            "tls.admin.client-ca",
            &format!(
                "must be set, as cert and key: other machines reach the admin port {admin} (`perpetuo cluster certs create` makes certificates; tls.admin.insecure = true does without)"
            ),
        );
    }
    let host = own_address.map(|address| base::host_of(address).to_owned());
    Tls { peer: tls.peer.map(|files| Files { host, ..files }), ..tls }
}

/// The files of one port; some of them without the others are a mistake.
fn files(settings: &mut Settings, section: &str, ca: &str) -> Option<Files> {
    let key = |name: &str| format!("{section}.{name}");
    let (cert, private) = (settings.string(&key("cert")), settings.string(&key("key")));
    let ca_files: Vec<PathBuf> = settings.list(&key(ca)).into_iter().map(PathBuf::from).collect();
    if cert.is_empty() && private.is_empty() && ca_files.is_empty() {
        return None;
    }
    let must_have_ca = ca == "ca";
    for (name, is_missing) in
        [("cert", cert.is_empty()), ("key", private.is_empty()), (ca, ca_files.is_empty() && must_have_ca)]
    {
        if is_missing {
            settings.complain(&key(name), &format!("must be set, as other files of [{section}] are"));
        }
    }
    Some(Files { cert: cert.into(), key: private.into(), ca: ca_files, host: None })
}

/// Whether only this machine reaches the address.
fn is_local(address: &str) -> bool {
    let host = base::host_of(address);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn history(settings: &Settings) -> history::Config {
    let mut history = history::Config::default();
    history.limits.blob_bytes_max = settings.count("limits.blob-size-error");
    history.limits.memo_bytes_max = settings.count("limits.memo-size-error");
    history.limits.history_events_max =
        i64::try_from(settings.number("limits.history-count-error")).expect("the table bounds it");
    history.limits.history_size_bytes_max = settings.count("limits.history-size-error");
    history
}

fn frontend(settings: &Settings) -> frontend::Config {
    let allow_insecure = settings.boolean("callbacks.insecure");
    let address = |pattern| frontend::CallbackAddress { pattern, allow_insecure };
    let mut frontend = frontend::Config {
        connections_max: settings.count("limits.connections"),
        callback_addresses: settings.list("callbacks.addresses").into_iter().map(address).collect(),
        ..frontend::Config::default()
    };
    frontend.limits.blob_bytes_max = settings.count("limits.blob-size-error");
    frontend.limits.memo_bytes_max = settings.count("limits.memo-size-error");
    frontend
}

#[cfg(test)]
mod tests;
