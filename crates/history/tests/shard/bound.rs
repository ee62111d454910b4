//! Who waits and names no run stays with the run that was current when the wait began.

use std::time::Duration;

use api::internal::history_request::Request;
use prost::Message;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{Command, ContinueAsNewWorkflowExecutionCommandAttributes};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use temporalio_protos::temporal::api::enums::v1::{
    CommandType, EventType as E, HistoryEventFilterType, QueryRejectCondition, QueryResultType,
    WorkflowIdConflictPolicy,
};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::query::v1::WorkflowQueryResult;
use temporalio_protos::temporal::api::update::v1 as update;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::client::{Client, QUEUE, execution};
use crate::queries;
use crate::resets::reset;
use crate::updates::{accept, answer, ask, idle, request, respond};
use crate::world::World;

/// How a run is replaced by another.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Replaced {
    ContinuedAsNew,
    Reset,
    ByStart,
    AfterItsEnd,
}

const WAYS: [(Replaced, E); 4] = [
    (Replaced::ContinuedAsNew, E::WorkflowExecutionContinuedAsNew),
    (Replaced::Reset, E::WorkflowExecutionTerminated),
    (Replaced::ByStart, E::WorkflowExecutionTerminated),
    (Replaced::AfterItsEnd, E::WorkflowExecutionTerminated),
];

fn continue_as_new() -> Command {
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "type".into() }),
        ..Default::default()
    };
    Command {
        command_type: CommandType::ContinueAsNewWorkflowExecution.into(),
        attributes: Some(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// The next task of the run continues it as new.
async fn continue_run(client: &Client) {
    client.signal("w", "go").await.unwrap();
    let task = client.poll_workflow(QUEUE).await;
    client.complete(&task, vec![continue_as_new()]).await.unwrap();
}

async fn replace(client: &Client, how: Replaced) {
    match how {
        Replaced::ContinuedAsNew => continue_run(client).await,
        Replaced::Reset => drop(reset(client, "w", "", 4, "r").await.unwrap()),
        Replaced::ByStart => {
            let mut start = client.start_request("w");
            start.workflow_id_conflict_policy = WorkflowIdConflictPolicy::TerminateExisting.into();
            client.start_with(start).await.unwrap();
        }
        Replaced::AfterItsEnd => {
            client.terminate("w").await.unwrap();
            client.start("w").await;
        }
    }
}

fn for_the_end() -> wf::GetWorkflowExecutionHistoryRequest {
    wf::GetWorkflowExecutionHistoryRequest {
        execution: Some(execution("w", "")),
        wait_new_event: true,
        history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
        ..Default::default()
    }
}

/// Waits as clients do: with the token of the last page, naming no run.
async fn the_end(client: &Client) -> HistoryEvent {
    let mut request = for_the_end();
    loop {
        let page = client.history_page("w", request.clone()).await.unwrap();
        if let Some(event) = page.history.unwrap().events.pop() {
            return event;
        }
        request.next_page_token = page.next_page_token;
    }
}

async fn current_run(client: &Client) -> String {
    client.describe("w").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id
}

#[test]
fn the_end_of_a_run_that_is_replaced_is_told() {
    // At once, and after the first pages have been empty.
    for (after, (how, expected)) in [1, 50].into_iter().flat_map(|after| WAYS.map(|way| (after, way))) {
        World::new().live(async |life| {
            let client = &life.client;
            idle(client).await;
            let first = current_run(client).await;
            let (event, ()) = tokio::join!(the_end(client), async {
                tokio::time::sleep(Duration::from_secs(after)).await;
                replace(client, how).await;
            });
            assert_eq!(event.event_type(), expected, "{how:?}");
            assert_ne!(current_run(client).await, first, "{how:?}");
            assert_eq!(client.events_of_run("w", &first).await.last(), Some(&event), "{how:?}");
        });
    }
}

#[test]
fn the_token_of_a_wait_names_its_run_to_the_next_leader() {
    for (how, expected) in WAYS {
        let world = World::new();
        let token = world.live(async |life| {
            idle(&life.client).await;
            let page = life.client.history_page("w", for_the_end()).await.unwrap();
            assert!(page.history.unwrap().events.is_empty());
            page.next_page_token
        });
        world.live(async |life| {
            let client = &life.client;
            replace(client, how).await;
            let request = wf::GetWorkflowExecutionHistoryRequest { next_page_token: token, ..for_the_end() };
            let events = client.history_page("w", request).await.unwrap().history.unwrap().events;
            assert_eq!(events.iter().map(HistoryEvent::event_type).collect::<Vec<_>>(), [expected], "{how:?}");
        });
    }
}

fn look_up(id: &str, stage: Stage) -> Request {
    let reference = update::UpdateRef { workflow_execution: Some(execution("w", "")), update_id: id.into() };
    Request::PollUpdate(wf::PollWorkflowExecutionUpdateRequest {
        update_ref: Some(reference),
        wait_policy: Some(update::WaitPolicy { lifecycle_stage: stage.into() }),
        ..Default::default()
    })
}

fn named(mut request: Request, run_id: &str) -> Request {
    let execution = match &mut request {
        Request::GetHistory(request) => request.execution.as_mut(),
        Request::Query(request) => request.execution.as_mut(),
        Request::Update(request) => request.workflow_execution.as_mut(),
        Request::PollUpdate(request) => request.update_ref.as_mut().unwrap().workflow_execution.as_mut(),
        _ => panic!("does not wait"),
    };
    run_id.clone_into(&mut execution.unwrap().run_id);
    request
}

#[test]
fn a_sender_that_can_is_told_the_run_before_it_waits_for_its_end() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let first = current_run(client).await;
        let response = client.bindable("w", Request::GetHistory(for_the_end())).await;
        assert_eq!((&*response.bind_run_id, response.body.len()), (&*first, 0));
        // What can be answered at once is.
        let all = wf::GetWorkflowExecutionHistoryRequest {
            execution: Some(execution("w", "")),
            wait_new_event: true,
            ..Default::default()
        };
        assert_eq!(client.bindable("w", Request::GetHistory(all)).await.bind_run_id, "");
        replace(client, Replaced::ByStart).await;
        let bound = named(Request::GetHistory(for_the_end()), &first);
        let response = client.bindable("w", bound).await;
        assert_eq!(response.bind_run_id, "");
        let page = wf::GetWorkflowExecutionHistoryResponse::decode(response.body).unwrap();
        assert_eq!(page.history.unwrap().events[0].event_type(), E::WorkflowExecutionTerminated);
    });
}

#[test]
fn an_update_is_bound_once_it_is_accepted_and_is_not_carried_out_by_the_next_run() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let first = current_run(client).await;
        let asked = Request::Update(request("u", Stage::Completed));
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u")]).await;
        };
        let (response, ()) = tokio::join!(client.bindable("w", asked.clone()), worker);
        assert_eq!(response.bind_run_id, first);
        assert_eq!(client.bindable("w", look_up("u", Stage::Completed)).await.bind_run_id, first);
        assert_eq!(client.bindable("w", look_up("u", Stage::Accepted)).await.bind_run_id, "", "it is so far");
        // The run goes; who asks again is told what became of the update there.
        continue_run(client).await;
        for again in [named(asked, &first), named(look_up("u", Stage::Completed), &first)] {
            let response = client.bindable("w", again).await;
            assert_eq!(response.bind_run_id, "");
            let response = wf::PollWorkflowExecutionUpdateResponse::decode(response.body).unwrap_or_default();
            assert_ne!(response.outcome, Some(update::Outcome::default()));
        }
        let events = client.history("w").await;
        assert!(!events.contains(&E::WorkflowExecutionUpdateAccepted), "{events:?}");
    });
}

#[test]
fn who_looks_up_an_update_is_told_of_its_run() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u")]).await;
        };
        let (accepted, ()) = tokio::join!(ask(client, "u", Stage::Accepted), worker);
        assert_eq!(accepted.unwrap().stage(), Stage::Accepted);
        let poll = client.call::<wf::PollWorkflowExecutionUpdateResponse>("w", look_up("u", Stage::Completed));
        let (outcome, ()) = tokio::join!(poll, continue_run(client));
        let Some(update::outcome::Value::Failure(failure)) = outcome.unwrap().outcome.unwrap().value else {
            panic!("the run is gone")
        };
        assert!(failure.message.contains("completed before the Update completed"), "{failure:?}");
    });
}

#[test]
fn an_update_that_its_run_completed_stays_completed() {
    World::new().live(async |life| {
        let client = &life.client;
        idle(client).await;
        let first = current_run(client).await;
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            answer(client, &task, vec![accept("u"), respond("u")]).await;
        };
        let (completed, ()) = tokio::join!(ask(client, "u", Stage::Completed), worker);
        completed.unwrap();
        continue_run(client).await;
        let again = named(Request::Update(request("u", Stage::Completed)), &first);
        let again = wf::UpdateWorkflowExecutionResponse::decode(client.bindable("w", again).await.body).unwrap();
        assert_eq!(again.stage(), Stage::Completed);
        assert_eq!(again.update_ref.unwrap().workflow_execution.unwrap().run_id, first);
    });
}

#[test]
fn a_query_that_waits_for_a_task_is_answered_by_its_run() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let first = current_run(client).await;
        let asked = Request::Query(queries::request(QueryRejectCondition::None));
        assert_eq!(client.bindable("w", asked.clone()).await.bind_run_id, first);
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            client.complete(&task, vec![]).await.unwrap();
            task
        };
        worker.await;
        // Idle, it is asked at once; the next run is not known yet to be another.
        life.matching.answer_queries(|_, _| Some(queries::answer("direct")));
        assert_eq!(client.bindable("w", asked.clone()).await.bind_run_id, "");
        continue_run(client).await;
        life.matching.answer_queries(|_, task| Some(queries::answer(&task.workflow_execution.unwrap().run_id)));
        let response = client.bindable("w", named(asked, &first)).await;
        let answered = wf::QueryWorkflowResponse::decode(response.body).unwrap();
        assert_eq!(answered.query_result.unwrap().payloads[0].data, first.as_bytes());
    });
}

#[test]
fn a_query_stays_with_its_run_while_that_continues_as_new() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let first = current_run(client).await;
        life.matching.answer_queries(|_, task| Some(queries::answer(&task.workflow_execution.unwrap().run_id)));
        let worker = async {
            let task = client.poll_workflow(QUEUE).await;
            assert!(task.queries.is_empty() || task.queries.len() == 1);
            let results = task.queries.keys().map(|id| {
                let unknown =
                    WorkflowQueryResult { result_type: QueryResultType::Unspecified.into(), ..Default::default() };
                (id.clone(), unknown)
            });
            let completion = wf::RespondWorkflowTaskCompletedRequest {
                query_results: results.collect(),
                commands: vec![continue_as_new()],
                ..Default::default()
            };
            client.complete_with(&task, completion).await.unwrap();
        };
        let (answered, ()) = tokio::join!(queries::query(client), worker);
        assert_eq!(answered.unwrap().query_result.unwrap().payloads[0].data, first.as_bytes());
    });
}
