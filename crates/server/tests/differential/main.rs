//! The same scripted requests to the official server and to ours: what comes back must be
//! equal, but for ids, times and tokens. The official answers are recorded in
//! `testdata/differential/official`; scripts are in `testdata/differential/scripts`, their
//! language is told in [`script`].
//!
//! `cargo xtask differential` runs this; `--record ADDRESS` records anew from an official
//! server (1.32.1, with our reference configuration, started less than an hour ago: it keeps
//! its data in memory for so long), `--against ADDRESS` compares any running server instead
//! of our own. Where we differ on purpose, `testdata/differential/intended.txt` says why.

mod coverage;
mod golden;
mod play;
mod print;
mod raw;
mod script;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Net as _, NodeId, TcpNet};
use bytes::Bytes;
use frontend::CallbackAddress;
use futures_util::StreamExt as _;
use prost::Message;
use prost_reflect::DescriptorPool;
use server::assembly::{self, Data, Options};
use temporalio_protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_protos::temporal::api::operatorservice::v1::AddSearchAttributesRequest;
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetClusterInfoRequest, GetClusterInfoResponse, RegisterNamespaceRequest,
};
use tokio_util::sync::CancellationToken;

use crate::coverage::Coverage;
use crate::golden::Answers;
use crate::play::Target;
use crate::print::Ignored;
use crate::raw::Client;
use crate::script::Scenario;

/// How many scenarios are under way at a time.
const IN_FLIGHT: usize = 100;

/// The same for recording: the official server is slower.
const RECORDED_IN_FLIGHT: usize = 24;

/// How often a scenario is recorded before it counts as one without a stable answer.
const RECORDINGS: usize = 5;

/// How often a scenario that differs is played again, among fewer others: a machine that
/// stalls can miss a timeout of a second.
const AGAIN: usize = 2;

const IN_FLIGHT_AGAIN: usize = 16;

/// The registry of the official server reads namespaces again only now and then.
const REGISTRY_REFRESH: Duration = Duration::from_secs(12);

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/differential").join(name)
}

#[expect(clippy::disallowed_methods, reason = "the switches of this test")]
fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_answers_are_those_of_the_official_server() {
    let only = switch("DIFFERENTIAL_ONLY").unwrap_or_default();
    let all = script::load(&directory("scripts"));
    let names: BTreeSet<_> = all.iter().map(|scenario| (scenario.area.clone(), scenario.name.clone())).collect();
    let chosen: Vec<Scenario> =
        all.into_iter().filter(|scenario| format!("{}/{}", scenario.area, scenario.name).starts_with(&only)).collect();
    if let Some(address) = switch("DIFFERENTIAL_RECORD") {
        record(&address, chosen, &names).await;
        return;
    }
    let stop = CancellationToken::new();
    let address = match switch("DIFFERENTIAL_AGAINST") {
        Some(address) => address,
        None => ours(&stop).await,
    };
    let coverage = Arc::new(Coverage::default());
    prepare(&target(&address, &coverage).await.client).await;
    let recorded = golden::read(&directory("official"));
    let name_of = |scenario: &Scenario| (scenario.area.clone(), scenario.name.clone());
    let mut problems = String::new();
    for (area, name) in chosen.iter().map(name_of).filter(|name| !recorded.contains_key(name)) {
        problems.push_str(&format!("{area}/{name}: not recorded\n"));
    }
    let mut left: Vec<Scenario> =
        chosen.iter().filter(|scenario| recorded.contains_key(&name_of(scenario))).cloned().collect();
    let mut different = Answers::new();
    for round in 0..=AGAIN {
        let target = Arc::new(target(&address, &coverage).await);
        let in_flight = if round == 0 { IN_FLIGHT } else { IN_FLIGHT_AGAIN };
        different = play_all(&target, left.clone(), in_flight).await;
        different.retain(|name, ours| recorded[name] != *ours);
        left.retain(|scenario| different.contains_key(&name_of(scenario)));
        if !left.is_empty() {
            eprintln!("{} scenarios differ", left.len());
        }
    }
    let meant = intended("scenario");
    let expected = golden::read(&directory("ours"));
    let is_meant = |(area, name): &(String, String)| meant.contains(&format!("{area}/{name}"));
    if switch("UPDATE_EXPECT").is_some() {
        let ours = different.iter().filter(|(name, _)| is_meant(name));
        let kept = expected.clone().into_iter().filter(|(name, _)| is_meant(name) && !answers_of(name, &chosen));
        let ours = kept.chain(ours.map(|(name, text)| (name.clone(), text.clone()))).collect();
        golden::write(&directory("ours"), "Our answers where they differ on purpose.", &ours);
    }
    let expected = golden::read(&directory("ours"));
    for (area, name) in chosen.iter().map(name_of).filter(is_meant) {
        if !different.contains_key(&(area.clone(), name.clone())) {
            problems.push_str(&format!("{area}/{name}: meant to differ, but does not\n"));
        }
    }
    different.retain(|name, ours| !is_meant(name) || expected.get(name) != Some(ours));
    for ((area, name), ours) in &different {
        let shown = golden::difference(&recorded[&(area.clone(), name.clone())], ours);
        problems.push_str(&format!("{area}/{name}: - official, + ours\n{shown}\n"));
    }
    stop.cancel();
    if only.is_empty() {
        for (area, name) in recorded.keys().filter(|name| !names.contains(name)) {
            problems.push_str(&format!("{area}/{name}: recorded, but there is no such scenario\n"));
        }
        let acting = Path::new(env!("CARGO_MANIFEST_DIR")).join("../frontend/testdata/acting_fields.txt");
        problems.push_str(&coverage.problems(&acting, &directory("unset_fields.txt")));
    }
    eprintln!("{} scenarios, {} different", chosen.len(), different.len());
    assert!(problems.is_empty(), "{problems}");
}

fn answers_of(name: &(String, String), chosen: &[Scenario]) -> bool {
    chosen.iter().any(|scenario| scenario.area == name.0 && scenario.name == name.1)
}

/// Starts our own server in this process.
async fn ours(stop: &CancellationToken) -> String {
    let listener = TcpNet.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let seams = assembly::Seams::system(&Data::Memory).await.expect("seams");
    let mut options = Options::single(NodeId(1));
    // As the official server of the recordings is told.
    options.frontend.callback_addresses = vec![CallbackAddress { pattern: "*".to_owned(), allow_insecure: true }];
    let node = assembly::start(options, seams).await.expect("a node");
    node.ready().await;
    let stop = stop.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        node.serve(listener, None, stop.clone()).await.expect("served");
        node.shutdown().await;
    });
    tasks.detach_all();
    address
}

async fn target(address: &str, coverage: &Arc<Coverage>) -> Target {
    let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors");
    let nonce = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let (client, coverage) = (Client::connect(address).await, Arc::clone(coverage));
    Target { pool, client, ignored: Ignored(intended("field")), nonce, coverage }
}

/// What `intended.txt` lists of a kind (`field` or `scenario`), without the reasons.
fn intended(kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(directory("intended.txt")).expect("the list");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut names = Vec::new();
    for line in lines {
        let (name, reason) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} has no reason"));
        assert!(!reason.trim().is_empty(), "{line:?} has no reason");
        names.extend(name.strip_prefix(kind).map(|name| name.trim().to_owned()));
    }
    names
}

async fn play_all(target: &Arc<Target>, scenarios: Vec<Scenario>, in_flight: usize) -> Answers {
    let plays = scenarios.into_iter().map(|scenario| {
        let target = Arc::clone(target);
        async move {
            let text = Box::pin(play::play(&target, &scenario)).await;
            ((scenario.area, scenario.name), text)
        }
    });
    futures_util::stream::iter(plays).buffer_unordered(in_flight).collect().await
}

async fn record(address: &str, scenarios: Vec<Scenario>, names: &BTreeSet<(String, String)>) {
    let coverage = Arc::new(Coverage::default());
    let target = Arc::new(target(address, &coverage).await);
    if prepare(&target.client).await {
        tokio::time::sleep(REGISTRY_REFRESH).await;
    }
    // An answer counts when it came twice.
    let mut seen: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut stable = Answers::new();
    let mut left = scenarios;
    for _ in 0..RECORDINGS {
        let target = Arc::new(self::target(address, &coverage).await);
        for (name, text) in play_all(&target, left.clone(), RECORDED_IN_FLIGHT).await {
            let earlier = seen.entry(name.clone()).or_default();
            if earlier.contains(&text) {
                stable.insert(name, text);
            } else {
                earlier.push(text);
            }
        }
        left.retain(|scenario| !stable.contains_key(&(scenario.area.clone(), scenario.name.clone())));
    }
    let mut unstable = String::new();
    for scenario in left {
        let texts = &seen[&(scenario.area.clone(), scenario.name.clone())];
        let shown = golden::difference(&texts[0], &texts[1]);
        unstable.push_str(&format!("{}/{}\n{shown}", scenario.area, scenario.name));
    }
    let mut recorded = golden::read(&directory("official"));
    recorded.retain(|name, _| names.contains(name));
    recorded.extend(stable);
    let info: GetClusterInfoResponse = call(&target.client, "GetClusterInfo", &GetClusterInfoRequest {}).await;
    let title = format!("Answers of the official server {}.", info.server_version);
    golden::write(&directory("official"), &title, &recorded);
    assert!(unstable.is_empty(), "not recorded, for their answers are not always the same:\n{unstable}");
}

/// Makes what the scenarios expect to be there. Tells whether a namespace is new.
async fn prepare(client: &Client) -> bool {
    let mut fresh = false;
    for namespace in ["default", "other"] {
        let request = RegisterNamespaceRequest {
            namespace: namespace.to_owned(),
            workflow_execution_retention_period: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..Default::default()
        };
        fresh |= try_call(client, "RegisterNamespace", &request).await.is_ok();
    }
    let types = [
        ("CustomKeywordField", IndexedValueType::Keyword),
        ("CustomIntField", IndexedValueType::Int),
        ("CustomTextField", IndexedValueType::Text),
    ];
    let request = AddSearchAttributesRequest {
        namespace: "default".to_owned(),
        search_attributes: types.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32)).collect(),
    };
    // They are there already when this server was used before.
    let _ = try_call(client, "AddSearchAttributes", &request).await;
    fresh
}

async fn try_call(client: &Client, rpc: &str, request: &impl Message) -> Result<Bytes, tonic::Status> {
    let method = api::METHODS.iter().find(|method| method.name == rpc).expect("an RPC");
    client.call(method.path, None, request.encode_to_vec().into(), Duration::from_secs(10)).await
}

async fn call<R: Message + Default>(client: &Client, rpc: &str, request: &impl Message) -> R {
    R::decode(try_call(client, rpc, request).await.expect("an answer")).expect("a reply")
}
