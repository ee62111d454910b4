//! Real small file systems that fill up, under the real binary.

use std::time::Duration;

use prost::Message as _;
use temporalio_protos::google::rpc;
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use temporalio_protos::temporal::api::errordetails::v1::ResourceExhaustedFailure;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::process::{Server, SmallDisk};

const WORKFLOWS: &str = "temporal.api.workflowservice.v1.WorkflowService";
const OPERATORS: &str = "temporal.api.operatorservice.v1.OperatorService";
const MIB: u64 = 1 << 20;
/// Of the small disk, in MiB. A quarter of it is the reserve.
const DISK: u64 = 128;
const AT_A_TIME: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

fn detail(status: &Status) -> ResourceExhaustedFailure {
    let status = rpc::Status::decode(status.details()).unwrap();
    let [any] = &status.details[..] else { panic!("one detail: {status:?}") };
    ResourceExhaustedFailure::decode(&any.value[..]).unwrap()
}

fn is_refused(result: &Result<(), Status>) -> bool {
    matches!(result, Err(status) if status.code() == Code::ResourceExhausted)
}

/// Starts workflows, several at a time, until one is not begun. Returns why not; all answers
/// of that round that are not of success are of the same kind.
async fn begin_until_refused(server: &Server, begun: &mut Vec<String>) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ids = (0..AT_A_TIME).map(|number| format!("w{}-{number}", begun.len()));
        let answers = ids.map(async |id| (server.begin(&id).await, id));
        let mut refusals: Vec<Status> = Vec::new();
        for (answer, id) in futures_util::future::join_all(answers).await {
            match answer {
                Ok(()) => begun.push(id),
                Err(status) => refusals.push(status),
            }
        }
        if let Some(refusal) = refusals.pop() {
            for other in refusals.iter().filter(|_| refusal.code() == Code::ResourceExhausted) {
                assert_eq!(other.code(), Code::ResourceExhausted, "{other}");
            }
            return refusal;
        }
        assert!(Instant::now() < deadline, "{} workflows, and never refused", begun.len());
    }
}

async fn until_begun(server: &Server, begun: &mut Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    let workflow_id = format!("w{}", begun.len());
    loop {
        match server.begin(&workflow_id).await {
            Ok(()) => break,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(Instant::now() < deadline, "still refused: {status}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    begun.push(workflow_id);
}

async fn all_are_there(server: &Server, begun: &[String]) {
    for workflow_id in begun {
        assert!(server.has(workflow_id).await, "{workflow_id} was acknowledged and is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_serves_again_by_itself() {
    let disk = SmallDisk::new(DISK);
    let mut server = Server::ready(&disk, &[]).await;
    server.until_health("", Serving).await;
    let mut begun = Vec::new();
    server.begin("w0").await.unwrap();
    begun.push("w0".to_owned());
    // Somebody else takes most of what is left above the reserve.
    disk.fill_until((DISK / 4 + 6) * MIB);

    let refusal = begin_until_refused(&server, &mut begun).await;
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    let text = refusal.message();
    assert!(text.contains("disk") && text.contains(disk.data().to_str().unwrap()) && text.contains("MiB"), "{text}");
    let detail = detail(&refusal);
    assert_eq!(detail.cause(), ResourceExhaustedCause::PersistenceStorageLimit);
    assert_eq!(detail.scope(), ResourceExhaustedScope::System);
    // New work goes elsewhere, workers stay.
    server.until_health("", NotServing).await;
    assert_eq!(server.health(WORKFLOWS).await.unwrap(), Serving);
    let task = server.poll().await.unwrap();
    server.complete(task).await.unwrap();
    server.terminate(&begun[1]).await.unwrap();
    let held = server.poll().await.unwrap();

    // Next to nothing is left: what is not an end or a deletion waits.
    disk.fill_until(DISK / 16 * MIB - MIB);
    server.until_health(WORKFLOWS, NotServing).await;
    assert_eq!(server.health(OPERATORS).await.unwrap(), Serving);
    assert!(is_refused(&server.complete(held.clone()).await));
    assert!(is_refused(&server.poll().await.map(drop)));
    server.terminate(&begun[2]).await.unwrap();
    assert!(server.has(&begun[0]).await);

    disk.make_room();
    until_begun(&server, &mut begun).await;
    server.until_health("", Serving).await;
    server.until_health(WORKFLOWS, Serving).await;
    all_are_there(&server, &begun).await;
    assert!(server.is_running());
    server.kill();

    let server = Server::ready(&disk, &[]).await;
    all_are_there(&server, &begun).await;
    server.kill();
}

/// Without a reserve the store runs into the wall. Nothing hangs, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_ends_the_process() {
    let disk = SmallDisk::new(DISK);
    let server = Server::ready(&disk, &["--disk-reserve", "0"]).await;
    let mut begun = Vec::new();
    server.begin("w0").await.unwrap();
    begun.push("w0".to_owned());
    disk.fill_until(6 * MIB);
    let failure = begin_until_refused(&server, &mut begun).await;
    assert_ne!(failure.code(), Code::ResourceExhausted, "{failure}");
    let (code, said) = server.ended().await;
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("the node stops"), "{said}");

    // Still full: either it starts, with everything, and stops at the next write that finds
    // no room, or it says at once why it cannot.
    disk.fill_until(0);
    let (code, said) = Server::start(&disk, &[]).ended_or_stopped().await;
    if let Some(code) = code {
        assert_eq!(code, 74, "{said}");
    }

    disk.make_room();
    let server = Server::ready(&disk, &[]).await;
    all_are_there(&server, &begun).await;
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_is_refused_at_the_start() {
    let disk = SmallDisk::new(DISK);
    let server = Server::ready(&disk, &[]).await;
    server.begin("w0").await.unwrap();
    server.kill();
    disk.set_read_only(true);
    let (code, said) = Server::start(&disk, &[]).ended().await;
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("ead-only file system") && said.contains(disk.data().to_str().unwrap()), "{said}");
    disk.set_read_only(false);
    let server = Server::ready(&disk, &[]).await;
    assert!(server.has("w0").await);
    server.kill();
}
