//! The table of what is built. A method that is not in it answers UNIMPLEMENTED.

mod activities;
mod activity_operations;
mod delete_namespace;
mod follow;
mod namespaces;
mod operator;
mod queries;
mod run_control;
mod system;
mod task_queue_config;
mod task_queues;
mod updates;
mod visibility;
mod workers;
mod workflow_tasks;
mod workflows;

pub(crate) use follow::follows_next_run;

use crate::call::{Handler, run};

/// One arm per handler: the name of the RPC and the function that serves it.
macro_rules! table {
    ($($name:literal => $handler:path),* $(,)?) => {
        /// The handler of the RPC with this name. Names are unique over all services.
        pub(crate) fn find(name: &str) -> Option<Handler> {
            let handler: Handler = match name {
                $($name => |call, headers, body| Box::pin(run(call, headers, body, $handler)),)*
                _ => return None,
            };
            Some(handler)
        }
    };
}

table! {
    "GetSystemInfo" => system::get_system_info,
    "GetClusterInfo" => system::get_cluster_info,

    "RegisterNamespace" => namespaces::register,
    "DescribeNamespace" => namespaces::describe,
    "ListNamespaces" => namespaces::list,
    "UpdateNamespace" => namespaces::update,

    "StartWorkflowExecution" => workflows::start,
    "SignalWithStartWorkflowExecution" => workflows::signal_with_start,
    "SignalWorkflowExecution" => workflows::signal,
    "RequestCancelWorkflowExecution" => workflows::request_cancel,
    "TerminateWorkflowExecution" => workflows::terminate,
    "DescribeWorkflowExecution" => workflows::describe,
    "GetWorkflowExecutionHistory" => workflows::get_history,
    "GetWorkflowExecutionHistoryReverse" => workflows::get_history_reverse,
    "ResetStickyTaskQueue" => workflows::reset_sticky,
    "ResetWorkflowExecution" => run_control::reset,
    "DeleteWorkflowExecution" => run_control::delete,
    "UpdateWorkflowExecutionOptions" => run_control::update_options,
    "PauseWorkflowExecution" => run_control::pause,
    "UnpauseWorkflowExecution" => run_control::unpause,

    "PollWorkflowTaskQueue" => workflow_tasks::poll,
    "RespondWorkflowTaskCompleted" => workflow_tasks::complete,
    "RespondWorkflowTaskFailed" => workflow_tasks::fail,

    "PollActivityTaskQueue" => activities::poll,
    "RespondActivityTaskCompleted" => activities::complete,
    "RespondActivityTaskCompletedById" => activities::complete_by_id,
    "RespondActivityTaskFailed" => activities::fail,
    "RespondActivityTaskFailedById" => activities::fail_by_id,
    "RespondActivityTaskCanceled" => activities::cancel,
    "RespondActivityTaskCanceledById" => activities::cancel_by_id,
    "RecordActivityTaskHeartbeat" => activities::heartbeat,
    "RecordActivityTaskHeartbeatById" => activities::heartbeat_by_id,

    "PauseActivity" => activity_operations::pause,
    "UnpauseActivity" => activity_operations::unpause,
    "ResetActivity" => activity_operations::reset,
    "UpdateActivityOptions" => activity_operations::update_options,
    "PauseActivityExecution" => activity_operations::pause_execution,
    "UnpauseActivityExecution" => activity_operations::unpause_execution,
    "ResetActivityExecution" => activity_operations::reset_execution,
    "UpdateActivityExecutionOptions" => activity_operations::update_execution_options,
    "UpdateWorkflowExecution" => updates::update,
    "PollWorkflowExecutionUpdate" => updates::poll,
    "ExecuteMultiOperation" => updates::execute_multi_operation,

    "QueryWorkflow" => queries::query,
    "RespondQueryTaskCompleted" => queries::respond,

    "DescribeTaskQueue" => task_queues::describe,
    "ListTaskQueuePartitions" => task_queue_config::list_partitions,
    "UpdateTaskQueueConfig" => task_queue_config::update,
    "ShutdownWorker" => task_queues::shutdown_worker,

    "RecordWorkerHeartbeat" => workers::record_heartbeat,
    "ListWorkers" => workers::list,
    "CountWorkers" => workers::count,
    "DescribeWorker" => workers::describe,

    "ListWorkflowExecutions" => visibility::list,
    // Nothing but another name: request and response have the same form.
    "ScanWorkflowExecutions" => visibility::list,
    "CountWorkflowExecutions" => visibility::count,
    "ListOpenWorkflowExecutions" => visibility::list_open,
    "ListClosedWorkflowExecutions" => visibility::list_closed,
    "GetSearchAttributes" => visibility::get_search_attributes,

    "DeleteNamespace" => delete_namespace::delete_namespace,
    "AddSearchAttributes" => operator::add_search_attributes,
    "RemoveSearchAttributes" => operator::remove_search_attributes,
    "ListSearchAttributes" => operator::list_search_attributes,
}
