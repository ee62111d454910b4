//! The server as a process with its data on a small file system of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use prost::Message;
use tempfile::TempDir;
use temporalio_protos::temporal::api::command::v1::{Command as WorkflowCommand, command};
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads, WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::CommandType;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const CALL: Duration = Duration::from_secs(20);
const QUEUE: &str = "disk";
/// Of each start, and not compressible.
const INPUT_BYTES: usize = 64 << 10;

/// A file system in memory with a fixed size. It can be full like any other.
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    pub(crate) fn new(mebibytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        disk.mount(&format!("size={mebibytes}m"));
        disk
    }

    fn mount(&self, options: &str) {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.path()).status();
        assert!(
            mounted.as_ref().is_ok_and(ExitStatus::success),
            "cannot mount a small file system ({mounted:?}): these tests must run as root, or in a user namespace of \
             their own (unshare --user --map-root-user --mount)"
        );
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn free(&self) -> u64 {
        storage::Volume::space(&storage::Directory::new(self.path())).unwrap().unwrap().free
    }

    /// A file of somebody else that takes room until only `free` bytes are left. Replaces
    /// the one before.
    pub(crate) fn fill_until(&self, free: u64) {
        self.make_room();
        let ballast = std::fs::File::create(self.ballast()).unwrap();
        let bytes = self.free().saturating_sub(free);
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), bytes), &mut &ballast).unwrap();
    }

    pub(crate) fn make_room(&self) {
        // There need not be any yet.
        let _ = std::fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        let remounted = Command::new("mount").args(["-o", options]).arg(self.path()).status().unwrap();
        assert!(remounted.success(), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// `perpetuo server start-dev`.
pub(crate) struct Server {
    process: Child,
    channel: Channel,
}

impl Server {
    pub(crate) fn start(disk: &SmallDisk, arguments: &[&str]) -> Self {
        // Bound and let go: the port is free for the moment that the server needs.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(env!("CARGO_BIN_EXE_perpetuo"))
            .args(["server", "start-dev", "--port", &port.to_string(), "--db-filename"])
            .arg(disk.data())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
        Self { process, channel }
    }

    /// Started, and ready for requests.
    pub(crate) async fn ready(disk: &SmallDisk, arguments: &[&str]) -> Self {
        let server = Self::start(disk, arguments);
        server.until_health("temporal.api.operatorservice.v1.OperatorService", ServingStatus::Serving).await;
        server
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// How the process ended, and what it said.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let ended = async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let status = timeout(PATIENCE, ended).await.expect("the process ends");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.process.stderr.take().unwrap(), &mut said).unwrap();
        (status.code(), said)
    }

    /// The same for a process that may also come up: then it is killed, and has no code.
    pub(crate) async fn ended_or_stopped(self) -> (Option<i32>, String) {
        let health = self.channel.clone();
        let up = async {
            let service = "temporal.api.operatorservice.v1.OperatorService".to_owned();
            let mut health = HealthClient::new(health);
            while health.check(HealthCheckRequest { service: service.clone() }).await.is_err() {
                sleep(BETWEEN_LOOKS).await;
            }
        };
        tokio::select! {
            ended = self.ended() => ended,
            () = up => (None, String::new()),
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    async fn call<Req, Res>(&self, method: &str, message: Req) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}").parse().unwrap();
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(message);
        request.set_timeout(CALL);
        Ok(grpc.unary(request, path, ProstCodec::<Req, Res>::default()).await?.into_inner())
    }

    pub(crate) async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(HealthClient::new(self.channel.clone()).check(request).await?.into_inner().status())
    }

    pub(crate) async fn until_health(&self, service: &str, wanted: ServingStatus) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.health(service).await;
            if matches!(&health, Ok(status) if *status == wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "the health of {service:?} stays {health:?}");
            sleep(BETWEEN_LOOKS).await;
        }
    }

    pub(crate) async fn begin(&self, workflow_id: &str) -> Result<(), Status> {
        let mut noise = workflow_id.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)) | 1;
        let data = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        });
        let payload = Payload { data: data.take(INPUT_BYTES).collect(), ..Payload::default() };
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType { name: "fill".to_owned() }),
            task_queue: Some(TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }),
            request_id: format!("start-{workflow_id}"),
            input: Some(Payloads { payloads: vec![payload] }),
            ..StartWorkflowExecutionRequest::default()
        };
        self.call("StartWorkflowExecution", request).await.map(|_: StartWorkflowExecutionResponse| ())
    }

    /// Whether the workflow is there, which must be known within the time of a call.
    pub(crate) async fn has(&self, workflow_id: &str) -> bool {
        let request =
            DescribeWorkflowExecutionRequest { namespace: "default".to_owned(), execution: execution(workflow_id) };
        self.call::<_, DescribeWorkflowExecutionResponse>("DescribeWorkflowExecution", request).await.is_ok()
    }

    pub(crate) async fn terminate(&self, workflow_id: &str) -> Result<(), Status> {
        let request = TerminateWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_execution: execution(workflow_id),
            ..TerminateWorkflowExecutionRequest::default()
        };
        self.call("TerminateWorkflowExecution", request).await.map(|_: TerminateWorkflowExecutionResponse| ())
    }

    pub(crate) async fn poll(&self) -> Result<Vec<u8>, Status> {
        let request = PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }),
            identity: "worker".to_owned(),
            ..PollWorkflowTaskQueueRequest::default()
        };
        let polled: PollWorkflowTaskQueueResponse = self.call("PollWorkflowTaskQueue", request).await?;
        Ok(polled.task_token)
    }

    /// Ends the workflow of the task.
    pub(crate) async fn complete(&self, task_token: Vec<u8>) -> Result<(), Status> {
        let complete = WorkflowCommand {
            command_type: CommandType::CompleteWorkflowExecution.into(),
            attributes: Some(command::Attributes::CompleteWorkflowExecutionCommandAttributes(Default::default())),
            ..WorkflowCommand::default()
        };
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: "default".to_owned(),
            task_token,
            commands: vec![complete],
            identity: "worker".to_owned(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        self.call("RespondWorkflowTaskCompleted", request).await.map(|_: RespondWorkflowTaskCompletedResponse| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Most often it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn execution(workflow_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() })
}
