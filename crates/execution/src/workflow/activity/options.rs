//! What an activity runs under: the options it was scheduled with, or what an operator
//! changed them to. The types of errors that are not retried cannot be changed.

use prost_types::Duration;
use temporalio_protos::temporal::api::activity::v1::ActivityOptions;
use temporalio_protos::temporal::api::common::v1::{Priority, RetryPolicy};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;

use super::Activity;

impl Activity {
    /// It waits for a worker to take it.
    pub(crate) fn is_offered(&self) -> bool {
        self.row.ready && self.row.started_time == 0 && self.row.pause.is_none()
    }

    pub(crate) fn task_queue(&self) -> &str {
        let queue = match &self.row.options {
            Some(options) => &options.task_queue,
            None => &self.input.task_queue,
        };
        queue.as_ref().map_or("", |queue| &queue.name)
    }

    pub(crate) fn schedule_to_close_timeout(&self) -> Option<&Duration> {
        match &self.row.options {
            Some(options) => options.schedule_to_close_timeout.as_ref(),
            None => self.input.schedule_to_close_timeout.as_ref(),
        }
    }

    pub(crate) fn schedule_to_start_timeout(&self) -> Option<&Duration> {
        match &self.row.options {
            Some(options) => options.schedule_to_start_timeout.as_ref(),
            None => self.input.schedule_to_start_timeout.as_ref(),
        }
    }

    pub(crate) fn start_to_close_timeout(&self) -> Option<&Duration> {
        match &self.row.options {
            Some(options) => options.start_to_close_timeout.as_ref(),
            None => self.input.start_to_close_timeout.as_ref(),
        }
    }

    pub(crate) fn heartbeat_timeout(&self) -> Option<&Duration> {
        match &self.row.options {
            Some(options) => options.heartbeat_timeout.as_ref(),
            None => self.input.heartbeat_timeout.as_ref(),
        }
    }

    pub(crate) fn priority(&self) -> Option<&Priority> {
        match &self.row.options {
            Some(options) => options.priority.as_ref(),
            None => self.input.priority.as_ref(),
        }
    }

    pub(crate) fn retry_policy(&self) -> Option<RetryPolicy> {
        let original = self.input.retry_policy.as_ref();
        let Some(options) = &self.row.options else { return original.cloned() };
        let mut policy = options.retry_policy.clone()?;
        policy.non_retryable_error_types =
            original.map_or_else(Vec::new, |original| original.non_retryable_error_types.clone());
        Some(policy)
    }

    /// All of it, as an operator sees and changes it.
    pub(crate) fn options(&self) -> ActivityOptions {
        ActivityOptions {
            task_queue: Some(TaskQueue { name: self.task_queue().to_owned(), ..TaskQueue::default() }),
            schedule_to_close_timeout: self.schedule_to_close_timeout().copied(),
            schedule_to_start_timeout: self.schedule_to_start_timeout().copied(),
            start_to_close_timeout: self.start_to_close_timeout().copied(),
            heartbeat_timeout: self.heartbeat_timeout().copied(),
            retry_policy: Some(RetryPolicy {
                non_retryable_error_types: Vec::new(),
                ..self.retry_policy().unwrap_or_default()
            }),
            priority: self.priority().cloned(),
            start_delay: None,
        }
    }

    /// What it was scheduled with.
    pub(crate) fn original_options(&self) -> ActivityOptions {
        let input = &self.input;
        ActivityOptions {
            task_queue: input
                .task_queue
                .as_ref()
                .map(|queue| TaskQueue { name: queue.name.clone(), ..TaskQueue::default() }),
            schedule_to_close_timeout: input.schedule_to_close_timeout,
            schedule_to_start_timeout: input.schedule_to_start_timeout,
            start_to_close_timeout: input.start_to_close_timeout,
            heartbeat_timeout: input.heartbeat_timeout,
            retry_policy: input.retry_policy.clone(),
            priority: input.priority.clone(),
            start_delay: None,
        }
    }
}
