//! Three nodes in a simulation: what a node acknowledged survives one-way cuts and power
//! cuts, all copies of the metadata become equal, and a seed decides everything.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base::{Accepted, Clock, Entropy, Io, Listener, NamespaceId, Net, NodeId, SeededEntropy, Timestamp};
use cluster::{Config, Member, Namespace, NamespaceChange, Node};
use storage::{MemoryDisk, MemoryKv, StoreId, WalConfig};
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use tokio::time::{Instant, sleep};

const NODES: u64 = 3;
const PORT: u16 = 7234;
/// Long enough to find a connection dead, to elect, and to come back.
const CHAOS: Duration = Duration::from_secs(16);
const END: Duration = Duration::from_secs(24);

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

struct SimNet;
struct SimListener(turmoil::net::TcpListener);
struct SimClock;

impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, address) = self.0.accept().await?;
            Ok(Accepted { io: Box::new(stream), address, certified: None })
        })
    }
}

impl Net for SimNet {
    fn listen(&self, _address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async {
            let listener = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
            Ok(Box::new(SimListener(listener)) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let address = address.to_owned();
        Box::pin(async move { Ok(Box::new(turmoil::net::TcpStream::connect(address).await?) as Box<dyn Io>) })
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(turmoil::sim_elapsed().unwrap_or_default().as_millis()).unwrap())
    }
}

fn name(id: u64) -> String {
    format!("node-{id}")
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn say(&self, what: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{at:?} {what}"));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// One life of one node: it registers namespaces through itself until the chaos is over,
/// and says at the end what it knows.
async fn node(seed: u64, id: u64, disk: MemoryDisk, kv: MemoryKv, trace: Trace) -> turmoil::Result {
    let entropy =
        SeededEntropy::new(seed * 100 + id * 10_000 + u64::try_from(turmoil::sim_elapsed().unwrap().as_millis())?);
    let entropy: Arc<dyn Entropy> = Arc::new(entropy);
    let wal_config = WalConfig { segment_bytes: 256 << 10, ..WalConfig::default() };
    let wal = storage::open_pair(Arc::new(disk), wal_config, &kv, StoreId(entropy.bytes()))?;
    let members =
        (1..=NODES).map(|id| Member { id: NodeId(id), peer_address: format!("{}:{PORT}", name(id)) }).collect();
    let config = Config {
        node: NodeId(id),
        cluster_id: "sim".to_owned(),
        members,
        join: None,
        listen: None,
        shards: 2,
        consensus: consensus::Config::default(),
        namespaces: vec!["default".to_owned()],
        namespace_retention: Duration::from_secs(3600),
        planted_welcome_wiped: false,
        balance_interval: Some(Duration::from_millis(500)),
    };
    let mut tasks = tokio::task::JoinSet::new();
    let writer = wal.clone();
    tasks.spawn(async move { writer.run_writer().await });
    let node =
        Node::start(config, Arc::new(SimNet), Arc::new(SimClock), Arc::clone(&entropy), wal, Arc::new(kv)).await?;
    node.ready().await;
    trace.say(&format!("{id} ready"));
    let namespaces = node.namespaces();
    while turmoil::sim_elapsed().unwrap() < CHAOS {
        let name = format!("by-{id}-{}", entropy.next_u64());
        let change = NamespaceChange::Register(namespace(&entropy.uuid(), &name));
        let result = namespaces.change(change, Instant::now() + Duration::from_secs(3)).await;
        trace.say(&format!("{id} {} {name}", if result.is_ok() { "registered" } else { "failed" }));
        sleep(Duration::from_millis(150)).await;
    }
    sleep(END - Duration::from_secs(1) - turmoil::sim_elapsed().unwrap()).await;
    let names: Vec<String> = namespaces.list().iter().map(|namespace| namespace.name.clone()).collect();
    trace.say(&format!("{id} knows {}", names.join(" ")));
    trace.say(&format!("{id} lives with {:?}", node.router().live_nodes()));
    std::future::pending().await
}

fn namespace(id: &str, name: &str) -> Namespace {
    Namespace {
        id: NamespaceId::from(id),
        name: name.to_owned(),
        state: NamespaceState::Registered,
        description: String::new(),
        owner_email: String::new(),
        data: Default::default(),
        retention: Duration::from_secs(3600),
        config: Default::default(),
        version: 0,
    }
}

fn run(seed: u64) -> Vec<String> {
    let trace = Trace::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_secs(1_900_000_000))
        .simulation_duration(END + Duration::from_secs(10))
        .max_message_latency(Duration::from_millis(8))
        .tcp_capacity(4096)
        .build();
    let storages: Vec<(MemoryDisk, MemoryKv)> = (0..NODES).map(|_| (MemoryDisk::new(), MemoryKv::new())).collect();
    for (index, (disk, kv)) in storages.iter().enumerate() {
        let (id, disk, kv, trace) = (index as u64 + 1, disk.clone(), kv.clone(), trace.clone());
        sim.host(name(id), move || node(seed, id, disk.clone(), kv.clone(), trace.clone()));
    }
    let mut random = seed;
    let mut done = 0;
    while sim.elapsed() < END {
        let second = sim.elapsed().as_secs();
        if second > done {
            done = second;
            match second {
                3 => sim.partition_oneway(name(1), name(2)),
                7 => sim.repair_oneway(name(1), name(2)),
                9 => {
                    sim.crash(name(1));
                    storages[0].0.power_cut(&mut || {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        random >> 16
                    });
                    storages[0].1.power_cut(seed);
                }
                12 => sim.bounce(name(1)),
                13 => sim.partition(name(3), name(2)),
                15 => sim.repair(name(3), name(2)),
                _ => {}
            }
        }
        sim.step().unwrap();
    }
    trace.lines()
}

/// A thread of its own per run: nothing is left from the one before.
fn run_apart(seed: u64) -> Vec<String> {
    std::thread::spawn(move || run(seed)).join().unwrap()
}

fn check(lines: &[String]) {
    let after =
        |marker: &str| lines.iter().filter_map(|line| Some(line.split_once(marker)?.1.to_owned())).collect::<Vec<_>>();
    let knows = after(" knows ");
    assert_eq!(knows.len(), 3, "{lines:#?}");
    assert!(knows.iter().all(|names| *names == knows[0]), "{lines:#?}");
    let (known, acknowledged): (Vec<&str>, _) = (knows[0].split(' ').collect(), after(" registered "));
    assert!(acknowledged.len() > 50, "{lines:#?}");
    assert!(acknowledged.iter().all(|name| known.contains(&name.as_str())), "{lines:#?}");
    assert_eq!(after(" lives with "), ["[1, 2, 3]"; 3], "{lines:#?}");
}

#[test]
fn what_is_acknowledged_stays_and_copies_become_equal() {
    check(&run_apart(1));
}

#[test]
fn a_seed_decides_everything() {
    let lines = run_apart(2);
    check(&lines);
    assert_eq!(lines, run_apart(2));
}
