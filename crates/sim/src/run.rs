//! One seed: build the cluster, let the nemesis loose while the client works, heal, wait
//! until everything is complete, and judge.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base::{Clock, NodeId, SeededEntropy, Timestamp};
use cluster::Member;
use consensus::{Group, Role};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use server::assembly::{self, Options, Running, Seams, Writer};
use storage::{MemoryDisk, MemoryKv, PairError, WalConfig, WalError};
use tokio_util::sync::CancellationToken;

use crate::nemesis::{self, CHAOS, Fault};
use crate::net::SimNet;
use crate::record::{Counts, Record, say};
use crate::{Planted, invariants, users};

pub(crate) const NODES: usize = 3;
pub(crate) const GRPC_PORT: u16 = 7233;
const PEER_PORT: u16 = 7234;
const SHARDS: u32 = 2;
/// After the healing, everything must be complete within this time of the simulation.
const LIVENESS: Duration = Duration::from_secs(90);
/// After the last answer, what is still on its way must be done, and all replicas must be
/// the same, within this time.
const AGREEMENT: Duration = Duration::from_secs(5);
/// A fixed beginning of time, so that traces do not depend on the day.
const EPOCH: Duration = Duration::from_secs(1_900_000_000);
const TICK: Duration = Duration::from_millis(1);
/// Small, so that a short run crosses segments and checkpoints.
const SEGMENT_BYTES: u64 = 256 << 10;
/// Kept free on the disk of each node.
const RESERVE_BYTES: u64 = 4 * SEGMENT_BYTES;

pub(crate) fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// What a node keeps while it is down.
struct Storage {
    disk: MemoryDisk,
    kv: MemoryKv,
    /// Whether the disk was lost, and what came back in its place must stay out.
    is_wiped: bool,
}

/// Where a node keeps with whom its cluster was founded.
const ROSTER_KEY: [u8; 3] = [0xF1, 0x00, 3];

impl Storage {
    fn is_founded(&self) -> bool {
        storage::Kv::get(&self.kv, &ROSTER_KEY).is_ok_and(|roster| roster.is_some())
    }
}

struct SimClock;

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let since = turmoil::since_epoch().unwrap_or(EPOCH);
        Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

pub(crate) fn one(seed: u64, planted: Option<Planted>, quiet: bool) -> ExitCode {
    let record = Record::default();
    // The runtime of the simulation passes on whatever panics in a node.
    let verdict = catch_unwind(AssertUnwindSafe(|| simulate(seed, planted, &record)));
    let violations = match verdict {
        Ok(Ok(())) => invariants::check(&record.events()),
        Err(_) => vec!["no panics violated: see above".to_owned()],
        Ok(Err(reason)) => {
            // What was promised can be judged even when the run did not come to its end.
            let mut violations = vec![reason];
            violations.extend(invariants::check(&record.events()));
            violations
        }
    };
    if !quiet {
        for line in record.lines() {
            say(&line);
        }
    }
    for violation in &violations {
        say(violation);
    }
    let Counts { leaders, power_cuts, wiped, acknowledged } = record.counts();
    say(&format!(
        "counts: {leaders} leaders, {power_cuts} power cuts, {wiped} wiped disks, {acknowledged} acknowledged"
    ));
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn simulate(seed: u64, planted: Option<Planted>, record: &Record) -> Result<(), String> {
    let storage = || Storage { disk: MemoryDisk::new(), kv: MemoryKv::new(), is_wiped: false };
    let mut storages: Vec<_> = (0..NODES).map(|_| storage()).collect();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + EPOCH)
        .tick_duration(TICK)
        .simulation_duration(CHAOS + LIVENESS + Duration::from_secs(60))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(8))
        .tcp_capacity(4096)
        .build();
    for (index, storage) in storages.iter().enumerate() {
        if planted == Some(Planted::SkipFsync) {
            storage.disk.set_sync_skipped(true);
        }
        storage.disk.set_sync_latency(sync_latency(seed));
        let (disk, kv) = (storage.disk.clone(), storage.kv.clone());
        let record = record.clone();
        sim.host(node_name(index), move || node(seed, index, planted, disk.clone(), kv.clone(), record.clone()));
    }
    let done = std::rc::Rc::new(std::cell::Cell::new(false));
    sim.client("client", users::run(seed, record.clone(), std::rc::Rc::clone(&done)));

    let mut rng = StdRng::seed_from_u64(seed ^ 0x706f_7765_7263_7574);
    let mut strikes = nemesis::schedule(seed, NODES).into_iter().peekable();
    loop {
        while let Some(strike) = strikes.next_if(|strike| strike.at <= sim.elapsed()) {
            record.trace_at(sim.elapsed(), &format!("nemesis {:?}", strike.fault));
            if matches!(strike.fault, Fault::PowerCut(_)) {
                record.count(|counts| counts.power_cuts += 1);
            }
            strike_now(&mut sim, &mut storages, strike.fault, &mut rng);
        }
        step(&mut sim)?;
        if done.get() {
            if planted != Some(Planted::WelcomeWiped) {
                stay_out(&storages)?;
                storages.retain(|storage| !storage.is_wiped);
            }
            record.count(|counts| counts.wiped += (NODES - storages.len()) as u64);
            return agree(&mut sim, &storages);
        }
        if sim.elapsed() > CHAOS + LIVENESS {
            return Err(format!("liveness violated: not everything is complete {LIVENESS:?} after the healing"));
        }
    }
}

/// What came back with an empty disk was refused, so that nothing was written to it.
fn stay_out(storages: &[Storage]) -> Result<(), String> {
    let joined = storages.iter().find(|storage| storage.is_wiped && storage.is_founded());
    match joined {
        Some(_) => Err("a lost disk is missed violated: the node went on with an empty one".to_owned()),
        None => Ok(()),
    }
}

fn step(sim: &mut turmoil::Sim<'_>) -> Result<(), String> {
    match sim.step() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("liveness violated: {error}")),
    }
}

/// Once nothing is written any more, all replicas hold the same rows, and none of a run
/// that still has something to do.
fn agree(sim: &mut turmoil::Sim<'_>, storages: &[Storage]) -> Result<(), String> {
    let deadline = sim.elapsed() + AGREEMENT;
    loop {
        for _ in 0..100 {
            step(sim)?;
        }
        let contents: Vec<_> = storages.iter().map(|storage| executions(&storage.kv)).collect();
        let other = (1..storages.len()).find(|&replica| contents[replica] != contents[0]);
        let pending: Vec<_> = contents[0].iter().filter_map(|(key, _)| history::pending_workflow(key)).collect();
        if other.is_none() && pending.is_empty() {
            return Ok(());
        }
        if sim.elapsed() > deadline {
            let Some(other) = other else {
                return Err(format!("everything is done violated: {pending:?} still have something to do"));
            };
            let all = contents[0].iter().chain(&contents[other]);
            let differing = all.filter(|pair| !contents[0].contains(pair) || !contents[other].contains(pair));
            let keys: Vec<_> = differing.map(|(key, value)| format!("{key:?} ({} bytes)", value.len())).collect();
            return Err(format!(
                "replicas agree violated: the first and number {} of those left differ in {keys:?}",
                other + 1
            ));
        }
    }
}

/// The rows of all cells.
fn executions(kv: &MemoryKv) -> storage::Pairs {
    let end = base::CELLS.to_be_bytes().to_vec();
    storage::Kv::scan(kv, &storage::Scan::range(vec![0], end, usize::MAX)).unwrap_or_default()
}

fn strike_now(sim: &mut turmoil::Sim<'_>, storages: &mut [Storage], fault: Fault, rng: &mut StdRng) {
    match fault {
        Fault::PowerCut(node) => {
            sim.crash(node_name(node));
            storages[node].disk.power_cut(&mut || rng.next_u64());
            storages[node].kv.power_cut(rng.next_u64());
        }
        Fault::Wipe(node) => {
            if storages[node].is_founded() {
                sim.crash(node_name(node));
                storages[node].disk.wipe();
                storages[node].kv.wipe();
                storages[node].is_wiped = true;
                sim.bounce(node_name(node));
            }
        }
        Fault::FailSync(node) => storages[node].disk.fail_sync(1),
        Fault::FillDisk(node) => {
            let disk = &storages[node].disk;
            disk.set_capacity(Some(disk.used() + rng.next_u64() % (RESERVE_BYTES * 3 / 2)));
        }
        Fault::FreeDisk(node) => storages[node].disk.set_capacity(None),
        Fault::Start(node) => sim.bounce(node_name(node)),
        Fault::Cut(a, b) => sim.partition(node_name(a), node_name(b)),
        Fault::CutOneWay(a, b) => sim.partition_oneway(node_name(a), node_name(b)),
        Fault::Hold(a, b) => sim.hold(node_name(a), node_name(b)),
        Fault::Isolate(node) => {
            for other in (0..NODES).filter(|other| *other != node) {
                sim.partition(node_name(node), node_name(other));
            }
            sim.partition(node_name(node), "client");
        }
        Fault::Maroon(node) => {
            for other in (0..NODES).filter(|other| *other != node) {
                sim.partition(node_name(node), node_name(other));
            }
        }
        Fault::Heal => {
            for a in 0..NODES {
                sim.release(node_name(a), "client");
                sim.repair(node_name(a), "client");
                for b in 0..a {
                    sim.release(node_name(a), node_name(b));
                    sim.repair(node_name(a), node_name(b));
                }
            }
        }
    }
}

/// Between a good drive and a bad one.
fn sync_latency(seed: u64) -> Duration {
    Duration::from_micros(StdRng::seed_from_u64(seed ^ 0x6673_796e_6321).random_range(0..12_000))
}

/// The life of one node's process, from start to crash.
async fn node(
    seed: u64,
    index: usize,
    planted: Option<Planted>,
    disk: MemoryDisk,
    kv: MemoryKv,
    record: Record,
) -> turmoil::Result {
    let members = (0..NODES).map(|other| Member {
        id: NodeId(other as u64 + 1),
        peer_address: format!("{}:{PEER_PORT}", node_name(other)),
    });
    let mut options = Options {
        cluster_id: "sim".to_owned(),
        members: members.collect(),
        shards: SHARDS,
        disk_reserve: storage::DiskReserve::Bytes(RESERVE_BYTES),
        ..Options::single(NodeId(index as u64 + 1))
    };
    configure(&mut options, seed, planted);
    // Each life of a node draws other numbers, and the same ones in each run of the seed.
    let life = turmoil::sim_elapsed().unwrap_or_default().as_millis();
    let entropy = SeededEntropy::new(seed ^ ((index as u64 + 1) << 48) ^ u64::try_from(life).unwrap_or(0));
    let seams = Seams {
        net: Arc::new(SimNet),
        clock: Arc::new(SimClock),
        entropy: Arc::new(entropy),
        volumes: vec![Arc::new(disk.clone())],
        disk: Arc::new(disk),
        kv: Arc::new(kv),
        wal: WalConfig { segment_bytes: SEGMENT_BYTES, ..WalConfig::default() },
        writer: Writer::Task,
    };
    let net = SimNet;
    let listener = base::Net::listen(&net, &format!("0.0.0.0:{GRPC_PORT}")).await?;
    let running = match assembly::start(options, seams).await {
        Ok(running) => running,
        Err(error) if matches!(error.downcast_ref(), Some(cluster::NodeError::Refused(_))) => {
            record.trace(&format!("{} ends: {error:#}", node_name(index)));
            // The machine lives on and refuses connections.
            drop(listener);
            return std::future::pending().await;
        }
        // The failed sync struck at the start.
        Err(error) if matches!(error.downcast_ref(), Some(PairError::Wal(WalError::Io { .. }))) => {
            record.trace(&format!("{} stops: {error:#}", node_name(index)));
            return Ok(());
        }
        Err(error) => return Err(format!("{error:#}").into()),
    };
    let served = running.serve(listener, None, CancellationToken::new());
    tokio::select! {
        biased;
        served = served => served.map_err(|error| format!("{error:#}"))?,
        reason = running.failed() => {
            record.trace(&format!("{} stops: {reason}", node_name(index)));
            return Ok(());
        }
        () = watch_leaders(&running, index, &record) => {}
    }
    Err(format!("{} ended by itself", node_name(index)).into())
}

/// Writes down who begins to lead what.
async fn watch_leaders(running: &Running, index: usize, record: &Record) {
    let groups = running.node().groups().into_iter().map(|(shard, group)| (shard.to_string(), group));
    let groups = groups.chain([("metadata".to_owned(), running.node().metadata_group())]);
    let watches = groups.map(|(name, group)| watch_leader(name, group, index, record));
    futures_util::future::join_all(watches).await;
}

async fn watch_leader(name: String, group: Group, index: usize, record: &Record) {
    let mut role = group.role();
    let mut last = None;
    while role.changed().await.is_ok() {
        if let Role::Leader { term, ready: true } = *role.borrow_and_update()
            && last != Some(term)
        {
            last = Some(term);
            record.trace(&format!("{} leads {name} in term {term}", node_name(index)));
            record.count(|counts| counts.leaders += 1);
        }
    }
}

/// Small and odd sizes, other ones for each seed, so that what is rare in a server is
/// common here: evictions, pages, snapshots.
fn configure(options: &mut Options, seed: u64, planted: Option<Planted>) {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x636f_6e66_6967_7572);
    options.consensus.checkpoint_interval = Duration::from_millis(rng.random_range(500..5_000));
    options.consensus.log_keep_entries = rng.random_range(8..200);
    // Planted bugs must be found from outside.
    options.history.verify_rows = planted.is_none();
    options.history.pipeline_depth = rng.random_range(1..5);
    options.history.cache_runs_max = if rng.random_bool(0.3) { 2 } else { options.history.cache_runs_max };
    options.history.cache_history_bytes_max =
        if rng.random_bool(0.3) { 256 } else { options.history.cache_history_bytes_max };
    options.history.history_page_events_max =
        if rng.random_bool(0.3) { 3 } else { options.history.history_page_events_max };
    options.history.fused_dispatch = rng.random_bool(0.7);
    plant(options, planted);
}

fn plant(options: &mut Options, planted: Option<Planted>) {
    match planted {
        Some(Planted::AckBeforeQuorum) => options.consensus.planted_ack_before_quorum = true,
        Some(Planted::ForgetFence) => options.history.planted_forget_fence = true,
        Some(Planted::WelcomeWiped) => options.planted_welcome_wiped = true,
        Some(Planted::SkipFsync) | None => {}
    }
}
