//! How each request finds its namespace: by name, by the task token it carries, or not at
//! all. One line per request type at the end.

use std::sync::Arc;

use api::Error;
use api::internal::{ActivityTaskToken, QueryTaskToken, WorkflowTaskToken};
use cluster::Namespace;
use prost::Message;
use temporalio_protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, DeleteNamespaceRequest, ListSearchAttributesRequest, RemoveSearchAttributesRequest,
};
use temporalio_protos::temporal::api::workflowservice::v1::{
    ExecuteMultiOperationRequest, PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest,
};
// Nearly every request of the API is named below.
use temporalio_protos::temporal::api::workflowservice::v1::*;

use crate::call::{Call, check_name, named, namespace_not_set, tokened};
use crate::token::TaskToken;

/// A request of the public API.
pub(crate) trait PublicRequest: Message + Default {
    /// What the request is about.
    type Scope: Send;

    fn scope(&self, call: &Call) -> Result<Self::Scope, Error>;
}

/// A task that a worker was given, and the namespace it belongs to.
pub(crate) struct Task<Token> {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) token: Token,
}

fn task<Token: TaskToken>(call: &Call, name: &str, bytes: &[u8]) -> Result<Task<Token>, Error> {
    let token = if bytes.is_empty() {
        Err(Error::InvalidArgument("Task token not set on request.".to_owned()))
    } else {
        Token::read(bytes).map_err(|_| Error::InvalidArgument("Error deserializing task token.".to_owned()))
    };
    let (namespace, token) = tokened(call, name, token, Token::namespace_id)?;
    Ok(Task { namespace, token })
}

/// Requests about no namespace.
macro_rules! unscoped {
    ($($request:ty),* $(,)?) => {$(
        impl PublicRequest for $request {
            type Scope = ();
            fn scope(&self, _: &Call) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

/// Requests that name a namespace, which must exist.
macro_rules! by_name {
    ($($request:ty),* $(,)?) => {$(
        impl PublicRequest for $request {
            type Scope = Arc<Namespace>;
            fn scope(&self, call: &Call) -> Result<Arc<Namespace>, Error> {
                named(call, &self.namespace)
            }
        }
    )*};
}

/// Requests that carry the token of a task.
macro_rules! by_token {
    ($token:ty: $($request:ty),* $(,)?) => {$(
        impl PublicRequest for $request {
            type Scope = Task<$token>;
            fn scope(&self, call: &Call) -> Result<Task<$token>, Error> {
                task(call, &self.namespace, &self.task_token)
            }
        }
    )*};
}

unscoped!(GetSystemInfoRequest, GetClusterInfoRequest, ListNamespacesRequest, GetSearchAttributesRequest);

by_name!(
    UpdateNamespaceRequest,
    StartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    QueryWorkflowRequest,
    UpdateWorkflowExecutionRequest,
    PollWorkflowExecutionUpdateRequest,
    ExecuteMultiOperationRequest,
    ResetStickyTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollActivityTaskQueueRequest,
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    UpdateTaskQueueConfigRequest,
    ShutdownWorkerRequest,
    RecordWorkerHeartbeatRequest,
    ListWorkersRequest,
    CountWorkersRequest,
    DescribeWorkerRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskCanceledByIdRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    ListWorkflowExecutionsRequest,
    CountWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsRequest,
);

// What operators ask of activities.
by_name!(
    PauseActivityRequest,
    UnpauseActivityRequest,
    ResetActivityRequest,
    UpdateActivityOptionsRequest,
    PauseActivityExecutionRequest,
    UnpauseActivityExecutionRequest,
    ResetActivityExecutionRequest,
    UpdateActivityExecutionOptionsRequest,
);

// What operators ask of runs.
by_name!(
    ResetWorkflowExecutionRequest,
    DeleteWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
);

by_token!(WorkflowTaskToken: RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest);

by_token!(
    ActivityTaskToken:
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskCanceledRequest,
    RecordActivityTaskHeartbeatRequest,
);

by_token!(QueryTaskToken: RespondQueryTaskCompletedRequest);

/// It is about a namespace that is not there yet.
impl PublicRequest for RegisterNamespaceRequest {
    type Scope = ();

    fn scope(&self, call: &Call) -> Result<(), Error> {
        check_name(call, &self.namespace)?;
        if self.namespace.is_empty() { Err(namespace_not_set()) } else { Ok(()) }
    }
}

/// It may name the namespace by its id, and wants to see deleted ones too.
impl PublicRequest for DescribeNamespaceRequest {
    type Scope = ();

    fn scope(&self, call: &Call) -> Result<(), Error> {
        check_name(call, &self.namespace)?;
        if self.namespace.is_empty() && self.id.is_empty() { Err(namespace_not_set()) } else { Ok(()) }
    }
}

/// It names the namespace in one of two ways.
impl PublicRequest for DeleteNamespaceRequest {
    type Scope = ();

    fn scope(&self, call: &Call) -> Result<(), Error> {
        check_name(call, &self.namespace)
    }
}

/// Requests that may leave the namespace out; what that means is theirs.
macro_rules! optionally_by_name {
    ($($request:ty),* $(,)?) => {$(
        impl PublicRequest for $request {
            type Scope = Option<Arc<Namespace>>;
            fn scope(&self, call: &Call) -> Result<Option<Arc<Namespace>>, Error> {
                if self.namespace.is_empty() { Ok(None) } else { named(call, &self.namespace).map(Some) }
            }
        }
    )*};
}

optionally_by_name!(AddSearchAttributesRequest, RemoveSearchAttributesRequest, ListSearchAttributesRequest);
