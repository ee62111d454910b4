//! The admin service of a node and its command-line side. Listens on a port of its own:
//! clients of workflows never see it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::{Io, Listener, cell_of};
use cluster::{Member, Node};
use consensus::Role;
use futures_util::stream;
use http::{Request, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::Connected;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::output;
use crate::target::Target;

/// The messages of `proto/perpetuo/admin/v1`.
pub(crate) mod proto {
    #![allow(clippy::all, unreachable_pub, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/perpetuo.admin.v1.rs"));
}

const LOCATE: &str = "/perpetuo.admin.v1.AdminService/LocateWorkflow";
const STATUS: &str = "/perpetuo.admin.v1.AdminService/GetStatus";
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `stop`.
pub(crate) async fn serve(
    node: Node,
    members: Vec<Member>,
    listener: Box<dyn Listener>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let incoming = stream::unfold(listener, |mut listener| async {
        let accepted = listener.accept().await.map(|accepted| Connection(accepted.io));
        Some((accepted, listener))
    });
    tonic::transport::Server::builder()
        .add_service(Admin { node, members: members.into() })
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .context("the admin service failed")
}

/// A stream as tonic wants it. Who is at the other end does not matter here.
struct Connection(Box<dyn Io>);

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(ctx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(ctx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(ctx)
    }
}

#[derive(Clone)]
struct Admin {
    node: Node,
    members: Arc<[Member]>,
}

impl Admin {
    fn locate(&self, request: &proto::LocateWorkflowRequest) -> Result<proto::LocateWorkflowResponse, Status> {
        let namespaces = self.node.namespaces();
        let namespace = namespaces
            .by_name(&request.namespace)
            .ok_or_else(|| Status::not_found(format!("Namespace {} is not found.", request.namespace)))?;
        let cell = cell_of(namespace.id.as_str(), &request.workflow_id);
        let shard = self.node.router().shard_of(cell);
        let mut located =
            proto::LocateWorkflowResponse { cell: cell.index().into(), shard: shard.0, ..Default::default() };
        if let Some((_, group)) = self.node.groups().into_iter().find(|(id, _)| *id == shard) {
            (located.leader, located.term) = self.leader_and_term(*group.role().borrow());
        }
        Ok(located)
    }

    fn status(&self) -> proto::GetStatusResponse {
        let router = self.node.router();
        let shards = self.node.groups().into_iter().map(|(shard, group)| {
            let status = group.status();
            let (leader, term) = self.leader_and_term(status.role);
            proto::ShardStatus {
                shard: shard.0,
                role: role_name(status.role).to_owned(),
                leader,
                term,
                last_log_index: status.last_log_index,
                committed_index: status.committed_index,
                applied_index: status.applied_index,
                fenced: status.fenced,
            }
        });
        let live = router.live_nodes();
        let nodes = self.members.iter().map(|member| proto::NodeStatus {
            id: member.id.0,
            peer_address: member.peer_address.clone(),
            alive: live.contains(&member.id),
        });
        proto::GetStatusResponse {
            node_id: router.this_node().0,
            live_nodes: live.iter().map(|node| node.0).collect(),
            shards: shards.collect(),
            nodes: nodes.collect(),
        }
    }

    fn leader_and_term(&self, role: Role) -> (u64, u64) {
        match role {
            Role::Leader { term, .. } => (self.node.router().this_node().0, term.0),
            Role::Follower { term, leader } | Role::Learner { term, leader } => {
                (leader.map_or(0, |node| node.0), term.0)
            }
            Role::Candidate { term } => (0, term.0),
            Role::Stopped => (0, 0),
        }
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader { .. } => "leader",
        Role::Follower { .. } => "follower",
        Role::Learner { .. } => "learner",
        Role::Candidate { .. } => "candidate",
        Role::Stopped => "stopped",
    }
}

impl NamedService for Admin {
    const NAME: &'static str = "perpetuo.admin.v1.AdminService";
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<Request<Body>> for Admin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let admin = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                LOCATE => answer(request, move |message| admin.locate(&message)).await,
                STATUS => answer(request, move |_: proto::GetStatusRequest| Ok(admin.status())).await,
                path => Status::unimplemented(format!("{path} is not implemented")).into_http(),
            })
        })
    }
}

/// Answers one unary call with a function of its message.
async fn answer<Req, Res, F>(request: Request<Body>, handler: F) -> Response<Body>
where
    Req: Message + Default + 'static,
    Res: Message + Default + 'static,
    F: Fn(Req) -> Result<Res, Status> + Send + Sync + 'static,
{
    struct Handler<F>(F);
    impl<Req, Res, F> UnaryService<Req> for Handler<F>
    where
        Req: Message + Default + 'static,
        Res: Message + Default + 'static,
        F: Fn(Req) -> Result<Res, Status>,
    {
        type Response = Res;
        type Future = std::future::Ready<Result<tonic::Response<Res>, Status>>;
        fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
            std::future::ready((self.0)(request.into_inner()).map(tonic::Response::new))
        }
    }
    Grpc::new(ProstCodec::<Res, Req>::default()).unary(Handler(handler), request).await
}

/// Arguments of `perpetuo shard of`.
#[derive(clap::Args, Debug)]
pub(crate) struct OfArgs {
    /// Namespace of the workflow.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The workflow's id.
    #[arg(long)]
    workflow_id: String,
    #[command(flatten)]
    target: Target,
    /// `text` or `json`.
    #[arg(long, short = 'o', default_value = "text")]
    output: String,
}

pub(crate) async fn of(args: OfArgs) -> anyhow::Result<()> {
    let located = locate(&args.target, &args.namespace, &args.workflow_id).await?;
    match args.output.as_str() {
        "json" => output::line(
            &serde_json::json!({ "cell": located.cell, "shard": located.shard, "leader": located.leader, "term": located.term })
                .to_string(),
        ),
        "text" => output::line(&format!(
            "shard {} (cell {}), leader node {}, term {}",
            located.shard, located.cell, located.leader, located.term
        )),
        other => bail!("--output {other:?}: expected text or json"),
    }
    Ok(())
}

/// Asks one node where a workflow lives.
pub(crate) async fn locate(
    target: &Target,
    namespace: &str,
    workflow_id: &str,
) -> anyhow::Result<proto::LocateWorkflowResponse> {
    let client = target.client()?;
    let request = proto::LocateWorkflowRequest { namespace: namespace.to_owned(), workflow_id: workflow_id.to_owned() };
    client.call(LOCATE, request, CALL_TIMEOUT).await.map_err(|status| explain(&status, &target.address))
}

/// Asks one node how it is.
pub(crate) async fn status(target: &Target) -> anyhow::Result<proto::GetStatusResponse> {
    let client = target.client()?;
    let request = proto::GetStatusRequest {};
    client.call(STATUS, request, CALL_TIMEOUT).await.map_err(|status| explain(&status, &target.address))
}

fn explain(status: &Status, address: &str) -> anyhow::Error {
    match status.code() {
        Code::Unavailable => anyhow::anyhow!("no answer from the admin service at {address}: {}", status.message()),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}
