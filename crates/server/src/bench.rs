//! `perpetuo bench`: a load generator with its own worker. It speaks only the public gRPC
//! API, so the same load runs against this server and against the official one; it uses no
//! SDK, so it costs little beside what it measures; and it checks what it did.
//!
//! ```text
//!  load ──Start, Signal, history long poll──▶ server ◀──polls, responds── worker
//!    └──▶ meter: latencies of operations issued after the warm-up, completions in the window
//! ```

mod load;
mod meter;
mod process;
mod remote;
mod report;
mod scenario;
mod signals;
mod verify;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::{Entropy as _, SystemEntropy};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::output;
use load::Load;
use meter::{Meter, Stop};
use process::Usage;
use remote::Remote;
use report::Report;
use scenario::{Plan, Scenario};
use worker::Worker;

/// What to run, where, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// What one operation is.
    #[arg(long, value_enum, default_value_t = Scenario::Activities)]
    scenario: Scenario,
    /// HOST:PORT of the server; several take turns.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7233")]
    address: Vec<String>,
    /// Namespace to work in; it must exist.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Operations in flight (`one-at-a-time`: always 1).
    #[arg(long, short, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// Activities per workflow, one after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    activities: u32,
    /// How long the timer of a workflow runs.
    #[arg(long, default_value = "1s", value_parser = duration)]
    timer: Duration,
    /// Signals sent to one workflow before the next gets its turn.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    signals_per_workflow: u64,
    /// Load before anything is measured.
    #[arg(long, default_value = "2s", value_parser = duration)]
    warmup: Duration,
    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = duration, conflicts_with = "count")]
    duration: Duration,
    /// Measure this many operations instead.
    #[arg(long)]
    count: Option<u64>,
    /// Polls of each kind that the worker keeps open (default: as many as operations in flight, 4 to 64).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pollers: Option<u32>,
    /// Connections to each address.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Without sticky queues: each workflow task carries the whole history.
    #[arg(long)]
    no_sticky: bool,
    /// An operation that takes longer has failed.
    #[arg(long, default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// How many workflows' whole histories are checked afterwards, besides every result.
    #[arg(long, default_value_t = 500)]
    verify_max: u64,
    /// Leave workflows of `start` open instead of terminating them.
    #[arg(long)]
    leave_open: bool,
    /// Processes of the server whose CPU time and memory are measured.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the load and prints what came of it; fails when the server did not do its job.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // A wrong process id must show before any load is put on anything.
    Usage::of(&args.server_pid)?;
    let prefix = format!("bench-{}", &SystemEntropy.uuid()[..8]);
    let plan = args.plan();
    let remote = Arc::new(Remote::new(&args.address, args.connections, &args.namespace, &prefix)?);
    remote.reach(args.timeout).await.context("the server does not answer")?;
    let stop = args.count.map_or(Stop::After(args.duration), Stop::Count);
    let meter = Arc::new(Meter::new(args.warmup, stop));

    let mut workers = JoinSet::new();
    let worker = Arc::new(Worker::new(Arc::clone(&remote), Arc::clone(&meter), plan, !args.no_sticky));
    if plan != Plan::Nothing {
        worker.spawn(&mut workers, args.pollers());
    }
    let load = Load::new(Arc::clone(&remote), Arc::clone(&meter), plan, args.timeout, args.signals_per_workflow);
    let load = Arc::new(load);
    let over = CancellationToken::new();
    let driving = async {
        Arc::clone(&load).drive(args.in_flight()).await;
        over.cancel();
    };
    let ((), usage) = tokio::join!(driving, watch(&args.server_pid, &meter, &over));
    let (before, after) = usage?;

    let mut verdict = load.finish().await;
    verdict.merge(verify::histories(&remote, plan, load.issued(), &load.failed(), args.verify_max).await);
    verdict.early_timers(meter.early_timers());
    verdict.completions(worker.accepted(), load.workflows());
    workers.shutdown().await;
    if plan == Plan::Nothing && !args.leave_open {
        load.terminate_all(args.in_flight()).await;
    }
    let report = Report::new(&args, &meter, &remote, &verdict, &before, &after);
    output::line(&if args.json { report.json() } else { report.text() });
    if !verdict.problems.is_empty() {
        bail!("verification failed: {}", verdict.problems[0]);
    }
    Ok(())
}

impl Args {
    fn plan(&self) -> Plan {
        match self.scenario {
            Scenario::Activities | Scenario::OneAtATime => Plan::Activities { count: self.activities },
            Scenario::Timers => Plan::Timer { duration: self.timer },
            Scenario::Signals => Plan::Signals,
            Scenario::Start => Plan::Nothing,
        }
    }

    fn in_flight(&self) -> u32 {
        if self.scenario == Scenario::OneAtATime { 1 } else { self.concurrency }
    }

    fn pollers(&self) -> u32 {
        self.pollers.unwrap_or(self.in_flight().clamp(4, 64))
    }
}

/// What the processes had used when the window began and ended. Marks the window.
async fn watch(pids: &[u32], meter: &Meter, over: &CancellationToken) -> anyhow::Result<(Usage, Usage)> {
    tokio::select! {
        () = meter.warm() => {}
        () = over.cancelled() => {}
    }
    let before = Usage::of(pids)?;
    meter.open_window();
    tokio::select! {
        () = meter.ended() => {}
        () = over.cancelled() => {}
    }
    meter.close_window();
    Ok((before, Usage::of(pids)?))
}

/// `500ms`, `10s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is not a duration like 500ms, 10s or 2m"))?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} has no unit: ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "-1s", "5 parsecs"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
