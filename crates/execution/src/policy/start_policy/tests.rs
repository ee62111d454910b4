//! Every cell of the table.

use temporalio_protos::temporal::api::workflow::v1::OnConflictOptions;

use super::*;
use WorkflowExecutionStatus as Status;
use WorkflowIdConflictPolicy as Conflict;
use WorkflowIdReusePolicy as Reuse;

const CLOSED: [Status; 6] =
    [Status::Completed, Status::Failed, Status::Canceled, Status::Terminated, Status::ContinuedAsNew, Status::TimedOut];
const REUSE: [Reuse; 4] =
    [Reuse::Unspecified, Reuse::AllowDuplicate, Reuse::AllowDuplicateFailedOnly, Reuse::RejectDuplicate];
const CONFLICT: [Conflict; 4] =
    [Conflict::Unspecified, Conflict::Fail, Conflict::UseExisting, Conflict::TerminateExisting];

fn current(status: Status) -> CurrentRun {
    CurrentRun {
        run_id: "run".into(),
        first_execution_run_id: "first".into(),
        start_request_id: "creator".into(),
        attached_request_ids: vec!["joiner".into()],
        status,
        signal: Signal::New,
    }
}

/// As [`current`], once the signal of the request was seen.
fn signaled(status: Status) -> CurrentRun {
    CurrentRun { signal: Signal::Seen, ..current(status) }
}

fn start(request_id: &str, reuse: Reuse, conflict: Conflict) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        workflow_id: "wf".into(),
        request_id: request_id.into(),
        workflow_id_reuse_policy: reuse.into(),
        workflow_id_conflict_policy: conflict.into(),
        ..Default::default()
    }
}

fn signal_with_start(request_id: &str, reuse: Reuse, conflict: Conflict) -> SignalWithStartWorkflowExecutionRequest {
    SignalWithStartWorkflowExecutionRequest {
        workflow_id: "wf".into(),
        request_id: request_id.into(),
        workflow_id_reuse_policy: reuse.into(),
        workflow_id_conflict_policy: conflict.into(),
        ..Default::default()
    }
}

fn compatible(reuse: Reuse, conflict: Conflict) -> bool {
    (reuse, conflict) != (Reuse::RejectDuplicate, Conflict::TerminateExisting)
}

fn use_existing() -> StartDecision {
    StartDecision::UseExisting { run_id: "run".into(), attach: None }
}

fn already_started(message: &str) -> Rejection {
    Rejection::AlreadyStarted {
        message: message.into(),
        start_request_id: "creator".into(),
        run_id: "run".into(),
        first_execution_run_id: "first".into(),
    }
}

/// The whole table once more, written as rows instead of as code.
fn expected(status: Status, reuse: Reuse, conflict: Conflict) -> Result<StartDecision, Rejection> {
    let terminate = StartDecision::TerminateThenCreate { run_id: "run".into() };
    match (status, reuse, conflict) {
        (Status::Running | Status::Paused, _, Conflict::Unspecified | Conflict::Fail) => {
            Err(already_started("Workflow execution is already running. WorkflowId: wf, RunId: run."))
        }
        (Status::Running | Status::Paused, _, Conflict::UseExisting) => Ok(use_existing()),
        (Status::Running | Status::Paused, _, Conflict::TerminateExisting) => Ok(terminate),
        (_, Reuse::RejectDuplicate, _) => Err(already_started(
            "Workflow execution already finished. WorkflowId: wf, RunId: run. Workflow Id reuse policy: reject duplicate workflow Id.",
        )),
        (Status::Completed | Status::ContinuedAsNew, Reuse::AllowDuplicateFailedOnly, _) => Err(already_started(
            "Workflow execution already finished successfully. WorkflowId: wf, RunId: run. Workflow Id reuse policy: allow duplicate workflow Id if last run failed.",
        )),
        _ => Ok(StartDecision::CreateNew),
    }
}

#[test]
fn an_unknown_id_is_created_under_every_policy() {
    for reuse in REUSE {
        for conflict in CONFLICT.into_iter().filter(|conflict| compatible(reuse, *conflict)) {
            let request = start("other", reuse, conflict);
            assert_eq!(decide_start(None, &request), Ok(StartDecision::CreateNew), "{reuse:?} {conflict:?}");
        }
    }
}

#[test]
fn every_status_under_every_policy() {
    for status in CLOSED.into_iter().chain([Status::Running, Status::Paused]) {
        for reuse in REUSE {
            for conflict in CONFLICT.into_iter().filter(|conflict| compatible(reuse, *conflict)) {
                let decision = decide_start(Some(&current(status)), &start("other", reuse, conflict));
                assert_eq!(decision, expected(status, reuse, conflict), "{status:?} {reuse:?} {conflict:?}");
            }
        }
    }
}

#[test]
fn a_request_that_was_served_before_gets_the_same_run_whatever_its_policy() {
    for status in CLOSED.into_iter().chain([Status::Running, Status::Paused]) {
        for reuse in REUSE {
            for conflict in CONFLICT.into_iter().filter(|conflict| compatible(reuse, *conflict)) {
                for (request_id, started) in [("creator", true), ("joiner", false)] {
                    let decision = decide_start(Some(&current(status)), &start(request_id, reuse, conflict));
                    assert_eq!(decision, Ok(StartDecision::ReturnExisting { run_id: "run".into(), started }));
                }
            }
        }
    }
}

#[test]
fn no_request_id_is_not_the_same_request_id() {
    let mut current = current(Status::Running);
    current.start_request_id = String::new();
    let decision = decide_start(Some(&current), &start("", Reuse::Unspecified, Conflict::UseExisting));
    assert_eq!(decision, Ok(use_existing()));
}

#[test]
#[expect(deprecated, reason = "that is what is tested")]
fn terminate_if_running_is_terminate_existing_with_allow_duplicate() {
    let request = start("other", Reuse::TerminateIfRunning, Conflict::Unspecified);
    let terminate = StartDecision::TerminateThenCreate { run_id: "run".into() };
    assert_eq!(decide_start(Some(&current(Status::Running)), &request), Ok(terminate));
    for status in CLOSED {
        assert_eq!(decide_start(Some(&current(status)), &request), Ok(StartDecision::CreateNew));
    }
    assert_eq!(decide_start(None, &request), Ok(StartDecision::CreateNew));
}

#[test]
#[expect(deprecated, reason = "that is what is tested")]
fn policies_that_contradict_each_other_are_refused_even_for_an_unknown_id() {
    let with_conflict = Err(Rejection::InvalidArgument(
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIDConflictPolicy".into(),
    ));
    for conflict in [Conflict::Fail, Conflict::UseExisting, Conflict::TerminateExisting] {
        let request = start("other", Reuse::TerminateIfRunning, conflict);
        assert_eq!(decide_start(None, &request), with_conflict);
        let request = signal_with_start("other", Reuse::TerminateIfRunning, conflict);
        assert_eq!(decide_signal_with_start(None, &request), with_conflict);
    }
    let rejecting = Err(Rejection::InvalidArgument(
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING".into(),
    ));
    assert_eq!(decide_start(None, &start("other", Reuse::RejectDuplicate, Conflict::TerminateExisting)), rejecting);
    let request = signal_with_start("other", Reuse::RejectDuplicate, Conflict::TerminateExisting);
    assert_eq!(decide_signal_with_start(None, &request), rejecting);
}

#[test]
fn policies_from_the_future_are_refused() {
    let mut request = start("other", Reuse::Unspecified, Conflict::Unspecified);
    request.workflow_id_reuse_policy = 99;
    assert!(matches!(decide_start(None, &request), Err(Rejection::InvalidArgument(_))));
    request.workflow_id_reuse_policy = 0;
    request.workflow_id_conflict_policy = 99;
    assert!(matches!(decide_start(None, &request), Err(Rejection::InvalidArgument(_))));
}

#[test]
fn joining_attaches_what_was_asked_for() {
    let mut request = start("other", Reuse::Unspecified, Conflict::UseExisting);
    request.completion_callbacks = vec![Callback::default()];
    request.links = vec![Link::default(), Link::default()];
    let mut attached = |attach_request_id, attach_completion_callbacks, attach_links| {
        let options = OnConflictOptions { attach_request_id, attach_completion_callbacks, attach_links };
        request.on_conflict_options = Some(options);
        match decide_start(Some(&current(Status::Running)), &request)? {
            StartDecision::UseExisting { attach: Some(attach), .. } => {
                Ok((attach.request_id, attach.completion_callbacks.len(), attach.links.len()))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(attached(true, true, true), Ok(("other".into(), 1, 2)));
    assert_eq!(attached(true, false, false), Ok(("other".into(), 0, 0)));
    assert_eq!(attached(false, false, true), Ok((String::new(), 0, 2)));
    assert_eq!(attached(false, false, false), Ok((String::new(), 0, 0)));
    let refused = "attaching request ID is required for attaching completion callbacks";
    assert_eq!(attached(false, true, false), Err(Rejection::InvalidArgument(refused.into())));
}

#[test]
fn signal_with_start_under_every_policy() {
    for status in CLOSED.into_iter().chain([Status::Running, Status::Paused]) {
        for reuse in REUSE {
            for conflict in [Conflict::Unspecified, Conflict::UseExisting, Conflict::TerminateExisting] {
                if !compatible(reuse, conflict) {
                    continue;
                }
                let effective = if conflict == Conflict::Unspecified { Conflict::UseExisting } else { conflict };
                let request = signal_with_start("other", reuse, conflict);
                let decision = decide_signal_with_start(Some(&current(status)), &request);
                assert_eq!(decision, expected(status, reuse, effective), "{status:?} {reuse:?} {conflict:?}");
                assert_eq!(decide_signal_with_start(None, &request), Ok(StartDecision::CreateNew));
            }
            let request = signal_with_start("other", reuse, Conflict::Fail);
            let refused = "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.";
            let decision = decide_signal_with_start(Some(&current(status)), &request);
            assert_eq!(decision, Err(Rejection::InvalidArgument(refused.into())));
        }
    }
}

#[test]
fn a_retried_signal_with_start_neither_starts_twice_nor_terminates_its_own_run() {
    let again = StartDecision::ReturnExisting { run_id: "run".into(), started: false };
    let request = signal_with_start("creator", Reuse::Unspecified, Conflict::TerminateExisting);
    assert_eq!(decide_signal_with_start(Some(&signaled(Status::Running)), &request), Ok(again.clone()));
    for status in CLOSED {
        for reuse in REUSE {
            let request = signal_with_start("creator", reuse, Conflict::Unspecified);
            assert_eq!(decide_signal_with_start(Some(&signaled(status)), &request), Ok(again.clone()));
        }
    }
    // While it runs, the signal's own request id takes care of it.
    let request = signal_with_start("creator", Reuse::Unspecified, Conflict::Unspecified);
    assert_eq!(decide_signal_with_start(Some(&signaled(Status::Running)), &request), Ok(use_existing()));
    // Another request may have had the same id: its signal is new.
    for status in CLOSED {
        let decision = decide_signal_with_start(Some(&current(status)), &request);
        assert_eq!(decision, Ok(StartDecision::CreateNew));
    }
}

#[test]
fn the_old_run_is_told_who_replaced_it() {
    let request = superseded("old", "new");
    assert_eq!(request.reason, "TerminateIfRunning WorkflowIdReusePolicy");
    assert_eq!(request.identity, "history-service");
    assert_eq!(request.details.unwrap().payloads[0].data, b"\"terminated by new runID: new\"");
    assert_eq!(request.workflow_execution.unwrap().run_id, "old");
}
