//! Which requests may be sent again when nobody knows what became of them.

use api::internal::{HistoryRequest, MatchingRequest, history_request, matching_request};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// The caller must decide: a second execution would be seen.
    Never,
    /// A second execution changes nothing, or is refused as the duplicate it is.
    Harmless,
}

impl Repeat {
    pub(crate) fn of_history(request: &HistoryRequest) -> Self {
        use history_request::Request;
        match &request.request {
            Some(
                Request::Describe(_)
                | Request::GetHistory(_)
                | Request::GetHistoryReverse(_)
                | Request::Query(_)
                | Request::PollUpdate(_)
                // Whoever asks with the same ids joins.
                | Request::Update(_)
                | Request::UpdateWithStart(_)
                // Their request ids make the second answer the first one.
                | Request::StartWorkflowTask(_)
                | Request::StartActivityTask(_)
                // A task that is no longer where it was is left alone.
                | Request::StickyQueueUnavailable(_),
            ) => Self::Harmless,
            _ => Self::Never,
        }
    }

    pub(crate) fn of_matching(request: &MatchingRequest) -> Self {
        use matching_request::Request;
        match &request.request {
            // A worker polls again anyway, and a task that was lost on its way times out;
            // a task that is offered twice is refused at its shard.
            Some(
                Request::PollWorkflow(_)
                | Request::PollActivity(_)
                | Request::Offer(_)
                | Request::Describe(_)
                | Request::CancelPolls(_)
                // The same heartbeat twice is the same worker.
                | Request::RecordHeartbeat(_)
                | Request::ListWorkers(_)
                | Request::CountWorkers(_)
                | Request::DescribeWorker(_),
            ) => Self::Harmless,
            _ => Self::Never,
        }
    }
}
