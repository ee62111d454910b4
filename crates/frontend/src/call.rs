//! What every call goes through before its handler, in the order of the official
//! server's interceptors (`protocol.md` 1.3), because which error comes first can be seen:
//!
//! ```text
//! decode ─▶ namespace name, task token ─▶ (authorization) ─▶ namespace state
//!        ─▶ (rate limits) ─▶ room on the disk ─▶ client version ─▶ handler
//! ```
//! The steps in parentheses are still to come; their places are marked below.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::{
    HistoryRequest, MatchingRequest, PartitionKey, history_request, matching_request, matching_response,
};
use base::{Clock, Entropy, cell_of};
use bytes::Bytes;
use cluster::Namespace;
use http::HeaderMap;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::request::PublicRequest;
use crate::{Backend, Config, Limits, room, version};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decodes a request, checks it and answers with an encoded response.
pub(crate) type Handler = for<'a> fn(Call, &'a HeaderMap, Bytes) -> BoxFuture<'a, Result<Bytes, Error>>;

/// What all calls of a node share.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Cancelled when the node prepares to stop.
    pub(crate) draining: CancellationToken,
}

/// One call under way.
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) name: &'static str,
    pub(crate) deadline: Instant,
    /// What the caller allowed, if it said.
    pub(crate) timeout: Option<Duration>,
    /// The CLI and the Web UI show only what is written.
    pub(crate) written_events_only: bool,
    /// The client finds the next run of a chain by itself, whatever the event that names it.
    pub(crate) follows_next_run: bool,
}

impl Call {
    pub(crate) fn limits(&self) -> &Limits {
        &self.state.config.limits
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.state.backend.as_ref()
    }

    /// Asks the shard of the workflow; the answer is an encoded public response.
    pub(crate) fn history(
        &self,
        namespace: &Namespace,
        workflow_id: &str,
        request: history_request::Request,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send {
        let request = Box::new(HistoryRequest {
            namespace_id: namespace.id.as_str().to_owned(),
            namespace: namespace.name.clone(),
            cell: u32::from(cell_of(namespace.id.as_str(), workflow_id).index()),
            request: Some(request),
            written_events_only: self.written_events_only,
            ..HistoryRequest::default()
        });
        let answer = self.backend().history(request, self.deadline);
        async move { Ok(answer.await?.body) }
    }

    /// Asks the owner of the partition; the answer is an encoded public response.
    pub(crate) fn matching(
        &self,
        namespace: &Namespace,
        partition: PartitionKey,
        request: matching_request::Request,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send {
        let request = Box::new(MatchingRequest {
            namespace_id: namespace.id.as_str().to_owned(),
            namespace: namespace.name.clone(),
            partition: Some(partition),
            request: Some(request),
        });
        let answer = self.backend().matching(request, self.deadline);
        async move {
            match answer.await?.response {
                Some(matching_response::Response::Body(body)) => Ok(body),
                // Nothing to say: an empty public response.
                None => Ok(Bytes::new()),
                Some(other) => Err(Error::Internal(format!("{}: matching answered with {other:?}", self.name))),
            }
        }
    }
}

/// Runs one handler behind the common steps.
pub(crate) async fn run<R, F, Answer>(call: Call, headers: &HeaderMap, body: Bytes, handler: F) -> Result<Bytes, Error>
where
    R: PublicRequest,
    F: FnOnce(Call, R::Scope, R) -> Answer,
    Answer: Future<Output = Result<Bytes, Error>>,
{
    let request = R::decode(body).map_err(|error| Error::Malformed(format!("proto: {error}")))?;
    let scope = request.scope(&call)?;
    room::admit(call.name, call.backend())?;
    version::check(headers)?;
    handler(call, scope, request).await
}

/// Every request with a namespace passes here first, whatever else is wrong with it.
pub(crate) fn check_name(call: &Call, name: &str) -> Result<(), Error> {
    if name.len() > call.limits().id_bytes_max {
        return Err(Error::InvalidArgument("Namespace length exceeds limit.".to_owned()));
    }
    Ok(())
}

/// The namespace of a request that names it.
pub(crate) fn named(call: &Call, name: &str) -> Result<Arc<Namespace>, Error> {
    check_name(call, name)?;
    admit(call, by_name(call, name)?)
}

/// The namespace of a request with a task token: the token's. The request may name it too;
/// then that one must exist, whatever the token says, and be the same.
pub(crate) fn tokened<Token>(
    call: &Call,
    name: &str,
    token: Result<Token, Error>,
    namespace_id: fn(&Token) -> &str,
) -> Result<(Arc<Namespace>, Token), Error> {
    check_name(call, name)?;
    let named = if name.is_empty() { None } else { Some(by_name(call, name)?) };
    let token = token?;
    let id = namespace_id(&token);
    if id.is_empty() {
        return Err(namespace_not_set());
    }
    let namespace = call.backend().namespace_by_id(id).ok_or_else(|| no_such_namespace(call, id))?;
    if named.is_some_and(|named| named.id != namespace.id) {
        return Err(Error::InvalidArgument("Operation requested with a token from a different namespace.".to_owned()));
    }
    Ok((admit(call, namespace)?, token))
}

/// The end of the way to the namespace. Authorization and rate limits belong here.
fn admit(call: &Call, namespace: Arc<Namespace>) -> Result<Arc<Namespace>, Error> {
    check_state(call.name, &namespace)?;
    Ok(namespace)
}

fn by_name(call: &Call, name: &str) -> Result<Arc<Namespace>, Error> {
    if name.is_empty() {
        // Two places of the official server find this out, each in its own words.
        return Err(match call.name {
            "UpdateNamespace" => namespace_not_set(),
            _ => Error::InvalidArgument("Namespace is empty.".to_owned()),
        });
    }
    call.backend().namespace_by_name(name).ok_or_else(|| no_such_namespace(call, name))
}

/// A cluster is born with namespaces. A node that knows of none has only just started,
/// and may not say what there is.
pub(crate) fn no_such_namespace(call: &Call, name: &str) -> Error {
    if call.backend().namespaces().is_empty() {
        return Error::Unavailable("the node is starting and knows no namespace yet".to_owned());
    }
    Error::NamespaceNotFound(name.to_owned())
}

pub(crate) fn namespace_not_set() -> Error {
    Error::InvalidArgument("Namespace not set on request.".to_owned())
}

/// Nothing new starts in a deprecated namespace; nothing at all happens in a deleted one.
fn check_state(operation: &str, namespace: &Namespace) -> Result<(), Error> {
    let allowed: &[NamespaceState] = match operation {
        "StartWorkflowExecution" | "SignalWithStartWorkflowExecution" => &[NamespaceState::Registered],
        _ => &[NamespaceState::Registered, NamespaceState::Deprecated],
    };
    if allowed.contains(&namespace.state) {
        return Ok(());
    }
    Err(Error::NamespaceInvalidState {
        namespace: namespace.name.clone(),
        state: namespace.state as i32,
        allowed: allowed.iter().map(|state| *state as i32).collect(),
    })
}

/// Encodes a response that was made here.
pub(crate) fn encoded(response: &impl Message) -> Result<Bytes, Error> {
    Ok(response.encode_to_vec().into())
}
