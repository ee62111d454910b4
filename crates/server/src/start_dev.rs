//! `perpetuo server start-dev`: one node, ready at once, data in memory unless a path is
//! given. Same arguments and defaults as `temporal server start-dev`.

mod namespaces;

use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, bail};

use namespaces::SearchAttribute;

use crate::assembly::Data;
use crate::config::{Config, Profile, Settings, as_toml};
use crate::exit::Stopped;
use crate::{output, run};
use storage::DiskReserve;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Port of the gRPC API.
    #[arg(long, short = 'p', default_value_t = 7233)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "localhost")]
    ip: String,
    /// Namespace to create if it is not there; may be repeated. `default` is always there.
    #[arg(long, short = 'n')]
    namespace: Vec<String>,
    /// Search attribute to register, if it is not there, in `default` and every namespace
    /// named here; may be repeated. TYPE is Text, Keyword, Int, Double, Bool, Datetime or
    /// KeywordList. One that is registered with another type is an error.
    #[arg(long, value_name = "NAME=TYPE")]
    search_attribute: Vec<SearchAttribute>,
    /// Directory for the data (created when missing). Without it, data is in memory.
    #[arg(long, short = 'f', alias = "data-dir", value_name = "DIR")]
    db_filename: Option<PathBuf>,
    /// Which engine keeps the state on disk.
    #[arg(long, value_enum, default_value_t = EngineName::Fjall)]
    storage_engine: EngineName,
    /// Room to keep free on the disk of the data: below it nothing new begins. A size (as
    /// 512MiB), a percentage (as 5%), or auto.
    #[arg(long, default_value_t)]
    disk_reserve: DiskReserve,
    /// Number of shards; fixed at the first start with this data.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,
    /// Port of the admin service used by `perpetuo shard`; 0 is off.
    #[arg(long, default_value_t = 0)]
    admin_port: u16,

    /// Port of the HTTP API (JSON, e.g. `curl http://127.0.0.1:PORT/api/v1/namespaces`); 0 is off.
    #[arg(long, default_value_t = 0)]
    http_port: u16,
    /// Accepted, does nothing yet: there is no metrics endpoint in this version.
    #[arg(long, default_value_t = 0)]
    metrics_port: u16,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_port: Option<u16>,
    /// Accepted: there is no Web UI in this version, so it is always headless.
    #[arg(long)]
    headless: bool,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_ip: Option<String>,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_public_path: Option<String>,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_asset_path: Option<String>,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_codec_endpoint: Option<String>,
    /// Accepted, does nothing yet: there is no Web UI in this version.
    #[arg(long)]
    ui_disable_news_fetch: bool,
    /// Accepted, does nothing yet: KEY=JSON. Unknown keys are reported once, never refused.
    #[arg(long, value_name = "KEY=JSON")]
    dynamic_config_value: Vec<String>,
    /// Accepted and ignored: there is no SQLite here.
    #[arg(long)]
    sqlite_pragma: Vec<String>,
    /// Print the settings in force at start, and where each comes from.
    #[arg(long)]
    log_config: bool,
    /// Accepted for the official CLI's sake; results are always text.
    #[arg(long, short = 'o', hide = true)]
    output: Option<String>,
    /// Accepted for the official CLI's sake; there is no colour.
    #[arg(long, hide = true)]
    color: Option<String>,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    env: Option<String>,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    env_file: Option<String>,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    config_file: Option<String>,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    profile: Option<String>,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    disable_config_file: bool,
    /// Accepted for the official CLI's sake.
    #[arg(long, hide = true)]
    disable_config_env: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum EngineName {
    Fjall,
    Sled,
}

impl EngineName {
    const fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    check(&args)?;
    let attributes = namespaces::distinct(&args.search_attribute)?;
    let ip = if args.ip == "localhost" { "127.0.0.1" } else { &args.ip };
    let names = names(&args);
    let settings = settings(&args, ip, &names);
    if args.log_config {
        output::line(as_toml(&settings, true).trim_end());
        output::line("");
    }
    let config = Config::of(settings, Profile::Development)?;
    let (data, http) = (config.data.clone(), config.http_address.clone());
    let retention = config.options.namespace_retention;
    let started = Box::pin(run::start(config)).await?;
    let running = &started.running;
    tokio::select! {
        () = running.ready() => {}
        failed = running.failed() => return Err(Stopped(failed).into()),
    }
    // Before the first request is answered; after a start without them, they are made up for here.
    let known = started.running.node().namespaces();
    let prepared = tokio::select! {
        prepared = namespaces::prepare(&known, &names, retention, &attributes) => prepared,
        failed = running.failed() => return Err(Stopped(failed).into()),
    };
    if let Err(error) = prepared {
        started.running.shutdown().await;
        return Err(error);
    }
    banner(&started.grpc_address, http.as_deref(), &data, &namespaces::shown(&known));
    started.serve_until_signal().await
}

/// Of the namespaces that are to be there, each once.
fn names(args: &Args) -> Vec<String> {
    let mut names = vec!["default".to_owned()];
    for name in &args.namespace {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What differs from a node of a cluster, and what the arguments say.
fn settings(args: &Args, ip: &str, namespaces: &[String]) -> Settings {
    let mut settings = Settings::default();
    for (key, value) in [
        ("node.id", "1"),
        ("cluster.name", "active"),
        // A development server keeps closed workflows for a day, as the official one does.
        ("cluster.namespace-retention", "24h"),
        ("callbacks.addresses", "*"),
        ("callbacks.insecure", "true"),
    ] {
        settings.flag(key, value, "start-dev");
    }
    settings.flag("cluster.namespaces", &namespaces.join(","), "--namespace");
    settings.flag("cluster.shards", &args.shards.to_string(), "--shards");
    settings.flag("listen.grpc", &format!("{ip}:{}", args.port), "--port");
    let optional = |port: u16| if port == 0 { String::new() } else { format!("{ip}:{port}") };
    settings.flag("listen.http", &optional(args.http_port), "--http-port");
    settings.flag("listen.admin", &optional(args.admin_port), "--admin-port");
    settings.flag("storage.disk-reserve", &args.disk_reserve.to_string(), "--disk-reserve");
    settings.flag("storage.engine", args.storage_engine.name(), "--storage-engine");
    if let Some(directory) = &args.db_filename {
        settings.flag("node.data-dir", &directory.to_string_lossy(), "--db-filename");
    }
    settings
}

fn check(args: &Args) -> anyhow::Result<()> {
    for value in &args.dynamic_config_value {
        if !value.contains('=') {
            bail!("--dynamic-config-value {value:?}: expected KEY=VALUE");
        }
        tracing::warn!(%value, "--dynamic-config-value is accepted but does nothing in this version");
    }
    for pragma in &args.sqlite_pragma {
        tracing::warn!(%pragma, "--sqlite-pragma is ignored: there is no SQLite here");
    }
    if let Some(path) = &args.db_filename
        && path.is_file()
    {
        bail!("--db-filename {}: this is a file; Perpetuo keeps its data in a directory", path.display());
    }
    std::net::IpAddr::from_str(if args.ip == "localhost" { "127.0.0.1" } else { &args.ip })
        .with_context(|| format!("--ip {:?} is not an IP address", args.ip))?;
    Ok(())
}

fn banner(address: &str, http: Option<&str>, data: &Data, namespaces: &str) {
    output::line(&format!("Perpetuo {}", env!("CARGO_PKG_VERSION")));
    output::line("");
    output::line(&format!("Temporal Server:  {address}"));
    if let Some(http) = http {
        output::line(&format!("HTTP API:         http://{http}/api/v1/"));
    }
    match data {
        Data::Memory => {
            output::line("Data:             in memory, gone when this process ends (keep it with --db-filename DIR)")
        }
        Data::Directory { path, engine } => {
            output::line(&format!("Data:             {} ({engine:?}), every acknowledged write synced", path.display()))
        }
    }
    output::line(&format!("Namespaces:       {namespaces}"));
    output::line("");
    output::line("Next: connect any Temporal SDK to this address (a 20-line worker is in the README), or");
    output::line(&format!(
        "      temporal --address {address} workflow start --type Hello --task-queue hello --workflow-id hello-1"
    ));
    output::line("Stop with Ctrl-C.");
}
