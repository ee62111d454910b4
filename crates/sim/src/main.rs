//! Whole clusters from one seed: the real nodes on a simulated network, clock and disk,
//! under crashes, power cuts and partitions; a client that records what it was promised;
//! and the invariants that must hold of it afterwards.
//!
//! One process runs one seed: some libraries keep random state per thread, and a second
//! run in the same process would not be the same run.

mod client;
mod invariants;
mod nemesis;
mod net;
mod program;
mod record;
mod run;
mod seeds;
mod users;
mod worker;
mod workflow;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[derive(Parser, Clone, Debug)]
#[command(name = "sim", about = "Simulates three-node clusters under faults, each from one seed")]
struct Args {
    /// Run this seed in this process and print its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// Run the seeds 1..=N, each in a process of its own.
    #[arg(long)]
    seeds: Option<u64>,
    /// The simulator's own tests: a seed twice gives the same bytes, and every planted bug is found.
    #[arg(long)]
    meta: bool,
    /// Break the cluster on purpose.
    #[arg(long, value_enum)]
    planted: Option<Planted>,
    /// Print nothing but the verdict.
    #[arg(long)]
    quiet: bool,
    /// Show the nodes' own log lines of this level.
    #[arg(long)]
    log: Option<String>,
}

/// A bug that the invariants must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Planted {
    /// A leader answers when the entry is in its own log.
    AckBeforeQuorum,
    /// The disk says that it has synced, and has not.
    SkipFsync,
    /// A leader of a new term goes on with what it evaluated in an old one.
    ForgetFence,
    /// A node that comes back with an empty disk is taken for the one it was.
    WelcomeWiped,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(filter) = &args.log {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .without_time()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .try_init();
    }
    match (args.seed, args.seeds, args.meta) {
        (Some(seed), None, false) => run::one(seed, args.planted, args.quiet),
        (None, Some(count), false) => seeds::many(count, args.planted),
        (None, None, true) => seeds::meta(),
        _ => {
            record::say("give --seed S, --seeds N or --meta");
            ExitCode::FAILURE
        }
    }
}
