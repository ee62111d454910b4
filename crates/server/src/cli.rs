//! The command line. `server start-dev` takes the arguments of the official CLI, so that
//! everything that launches `temporal server start-dev` can launch this binary instead.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{bench, cluster_dev, config, demo, exit, operators, output, run, start_dev, telemetry};

#[derive(Parser)]
#[command(
    name = "perpetuo",
    version,
    about = "A Temporal-compatible server: one binary, no database, highly available",
    after_help = "Start here:\n  perpetuo server start-dev     one node, in memory, gRPC on 127.0.0.1:7233\n  perpetuo demo                 three nodes, a workflow, and the death of a leader\n  perpetuo cluster dev          three nodes on this machine, to play with"
)]
struct Cli {
    #[command(flatten)]
    telemetry: Telemetry,
    #[command(subcommand)]
    command: Command,
}

/// Logging, as the official CLI names it. Global: may stand anywhere.
#[derive(Args, Clone, Debug)]
pub(crate) struct Telemetry {
    /// The least important messages to show [default: warn].
    #[arg(long, global = true, value_enum, env = "PERPETUO_LOG_LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// The form of log lines on stderr [default: text].
    #[arg(long, global = true, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
    Pretty,
}

impl LogLevel {
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl LogFormat {
    pub(crate) fn named(name: &str) -> Self {
        Self::from_str(name, false).unwrap_or(Self::Text)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run a server.
    #[command(subcommand)]
    Server(Server),
    /// Run and look at clusters.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Look at nodes.
    #[command(subcommand)]
    Node(Node),
    /// Look at shards.
    #[command(subcommand)]
    Shard(Shard),
    /// Check and show the settings of a node.
    #[command(subcommand)]
    Config(Config),
    /// Three nodes, an order, and the death of a leader in the middle of it.
    Demo(demo::Args),
    /// Load a server over the public API and measure it.
    Bench(bench::Args),
}

#[derive(Subcommand)]
enum Server {
    /// One node for development: drop-in for `temporal server start-dev`.
    StartDev(Box<start_dev::Args>),
    /// One node of a cluster, as a file, the environment and flags describe it.
    Run(Box<run::Args>),
}

#[derive(Subcommand)]
enum Cluster {
    /// Several nodes on this machine, one process each, until Ctrl-C.
    Dev(cluster_dev::Args),
    /// Say which nodes live, whether every shard has a leader, and what that means.
    ///
    /// Exit code 0: healthy. 3: nodes are dead or shards have no leader. 1: nobody answers.
    Status(operators::Args),
    /// Say whether a node can be stopped without harm.
    ///
    /// Exit code 0: yes. 4: no. 1: nobody answers.
    CanStop(operators::CanStopArgs),
    /// Make certificates to try TLS with.
    #[command(subcommand)]
    Certs(Certs),
}

#[derive(Subcommand)]
enum Certs {
    /// Make CAs, and a certificate for each node, for clients and for operators.
    Create(crate::tls::CreateArgs),
}

#[derive(Subcommand)]
enum Config {
    /// Say what is wrong with a configuration file, without starting anything.
    Check(Box<config::CheckArgs>),
    /// Print the settings that `server run` would use with the same arguments.
    Show(Box<config::ShowArgs>),
}

#[derive(Subcommand)]
enum Node {
    /// All nodes of the cluster, and how many shards each leads.
    List(operators::Args),
}

#[derive(Subcommand)]
enum Shard {
    /// All shards, who leads them, and how far this node's copy is.
    List(operators::Args),
    /// Which shard a workflow lives in, and which node leads it.
    Of(crate::admin::OfArgs),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Server(Server::Run(_))) {
        telemetry::init(&cli.telemetry);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Server(Server::StartDev(args)) => Box::pin(start_dev::run(*args)).await,
            Command::Server(Server::Run(args)) => Box::pin(run::run(*args, &cli.telemetry)).await,
            Command::Config(Config::Check(args)) => config::check(*args),
            Command::Config(Config::Show(args)) => config::show(&args),
            Command::Cluster(Cluster::Dev(args)) => cluster_dev::run(args, &cli.telemetry).await,
            Command::Cluster(Cluster::Certs(Certs::Create(args))) => crate::tls::create(&args),
            Command::Cluster(Cluster::Status(args)) => operators::status(args).await,
            Command::Cluster(Cluster::CanStop(args)) => operators::can_stop(args).await,
            Command::Node(Node::List(args)) => operators::nodes(args).await,
            Command::Shard(Shard::List(args)) => operators::shards(args).await,
            Command::Shard(Shard::Of(args)) => crate::admin::of(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    // Whatever still runs has no one to answer to; do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<exit::Verdict>() {
            Some(verdict) => verdict.code(),
            None => {
                output::error(&format!("{error:#}"));
                exit::code(&error)
            }
        },
    }
}
