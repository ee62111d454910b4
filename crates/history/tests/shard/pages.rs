//! Pages of histories that move on between two of them, whoever holds the workflow task and however: what
//! `HistoryPageToken` promises.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use temporalio_protos::temporal::api::command::v1::command::Attributes;
use temporalio_protos::temporal::api::command::v1::{Command, StartChildWorkflowExecutionCommandAttributes};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::{CommandType, EventType as E, UpdateWorkflowExecutionLifecycleStage};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use crate::children::until;
use crate::client::{Client, QUEUE, complete_workflow, execution, schedule_activity, start_timer, types};
use crate::queries;
use crate::updates::{accept, answer, ask, idle, respond};
use crate::world::{Life, World};

const PAGE: i32 = 4;
const TIMER: Duration = Duration::from_secs(30);
/// Longer than the timer, so that the task is still held when it fires.
const TASK_TIMEOUT: Duration = Duration::from_secs(100);

/// What happens between the first page and the second.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cause {
    Signal,
    TimerFires,
    ActivityEnds,
    CancelRequest,
    ChildEnds,
}

const CAUSES: [Cause; 5] =
    [Cause::Signal, Cause::TimerFires, Cause::ActivityEnds, Cause::CancelRequest, Cause::ChildEnds];

/// The workflow task that the pages are for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Held {
    Speculative,
    Transient,
    Normal,
    Kept,
}

const HELD: [Held; 4] = [Held::Speculative, Held::Transient, Held::Normal, Held::Kept];

/// What a worker and two clients hold after their first pages.
struct Readers {
    task: wf::PollWorkflowTaskQueueResponse,
    activity: wf::PollActivityTaskQueueResponse,
    plain: wf::GetWorkflowExecutionHistoryResponse,
    waiting: wf::GetWorkflowExecutionHistoryResponse,
}

fn start_child() -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".into(),
        workflow_type: Some(WorkflowType { name: "child".into() }),
        task_queue: Some(TaskQueue { name: "children".into(), ..Default::default() }),
        ..Default::default()
    };
    Command {
        command_type: CommandType::StartChildWorkflowExecution.into(),
        attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// A run that waits for an activity, a timer and a child, and has no workflow task.
async fn waits_for_everything(client: &Client) -> wf::PollActivityTaskQueueResponse {
    let mut start = client.start_request("w");
    start.workflow_task_timeout = Some(TASK_TIMEOUT.try_into().unwrap());
    client.start_with(start).await.unwrap();
    let task = client.poll_workflow(QUEUE).await;
    let commands = vec![schedule_activity("a"), start_timer("t", TIMER), start_child()];
    client.complete(&task, commands).await.unwrap();
    let task = client.poll_workflow(QUEUE).await;
    assert!(!task.next_page_token.is_empty(), "the history is longer than a page");
    client.complete(&task, vec![]).await.unwrap();
    client.poll_activity().await
}

async fn first_pages(client: &Client, held: Held) -> Readers {
    let activity = waits_for_everything(client).await;
    let task = match held {
        Held::Speculative => tokio::select! {
            _ = ask(client, "u", UpdateWorkflowExecutionLifecycleStage::Completed) => panic!("nobody answered"),
            task = client.poll_workflow(QUEUE) => task,
        },
        Held::Transient => {
            client.signal("w", "first").await.unwrap();
            let task = client.poll_workflow(QUEUE).await;
            client.fail(&task).await.unwrap();
            client.poll_workflow(QUEUE).await
        }
        Held::Normal | Held::Kept => {
            client.signal("w", "first").await.unwrap();
            client.poll_workflow(QUEUE).await
        }
    };
    if held == Held::Kept {
        // Held for so long, its start is written down.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let page = |wait| wf::GetWorkflowExecutionHistoryRequest {
        maximum_page_size: PAGE,
        wait_new_event: wait,
        ..Default::default()
    };
    let plain = client.history_page("w", page(false)).await.unwrap();
    let waiting = client.history_page("w", page(true)).await.unwrap();
    Readers { task, activity, plain, waiting }
}

async fn happen(client: &Client, cause: Cause, readers: &Readers) {
    match cause {
        Cause::Signal => client.signal("w", "between").await.unwrap(),
        Cause::TimerFires => tokio::time::sleep(TIMER + Duration::from_secs(1)).await,
        Cause::ActivityEnds => client.complete_activity(&readers.activity).await.unwrap(),
        Cause::CancelRequest => {
            let request = wf::RequestCancelWorkflowExecutionRequest {
                workflow_execution: Some(execution("w", "")),
                ..Default::default()
            };
            client.raw("w", Request::RequestCancel(request)).await.unwrap();
        }
        Cause::ChildEnds => {
            client.terminate("child").await.unwrap();
            until(async || client.describe("w").await.unwrap().pending_children.is_empty()).await;
        }
    }
}

/// The first events and all pages that follow.
async fn rest(client: &Client, mut events: Vec<HistoryEvent>, mut token: Vec<u8>, wait: bool) -> Vec<HistoryEvent> {
    while !token.is_empty() {
        let request = wf::GetWorkflowExecutionHistoryRequest {
            next_page_token: token,
            maximum_page_size: PAGE,
            wait_new_event: wait,
            ..Default::default()
        };
        let page = client.history_page("w", request).await.unwrap();
        events.extend(page.history.unwrap().events);
        token = page.next_page_token;
    }
    events
}

/// Worker and client read on: both see the history up to the start of the task, as it was.
async fn read_on(client: &Client, readers: &Readers) -> Vec<E> {
    let Readers { task, plain, .. } = readers;
    let first = task.history.clone().unwrap().events;
    assert!(!task.next_page_token.is_empty() && !plain.next_page_token.is_empty());
    let events = rest(client, first, task.next_page_token.clone(), false).await;
    let last = events.last().unwrap();
    assert_eq!((last.event_type(), last.event_id), (E::WorkflowTaskStarted, task.started_event_id));
    let seen = rest(client, plain.history.clone().unwrap().events, plain.next_page_token.clone(), false).await;
    assert_eq!(types(&seen), types(&events));
    types(&events)
}

/// The task is answered; says whether that was taken.
async fn respond_to(client: &Client, held: Held, task: &wf::PollWorkflowTaskQueueResponse) -> Result<(), Error> {
    if held == Held::Speculative {
        let messages = vec![accept("u"), respond("u")];
        let request = wf::RespondWorkflowTaskCompletedRequest { messages, ..Default::default() };
        return client.complete_with(task, request).await.map(drop);
    }
    client.complete(task, vec![]).await.map(drop)
}

/// The run goes on, and whoever waited for events gets every one of them.
async fn end(client: &Client, readers: &Readers) {
    let task = client.poll_workflow(QUEUE).await;
    client.complete(&task, vec![complete_workflow()]).await.unwrap();
    let Readers { waiting, .. } = readers;
    let all = rest(client, waiting.history.clone().unwrap().events, waiting.next_page_token.clone(), true).await;
    assert_eq!(types(&all).last(), Some(&E::WorkflowExecutionCompleted));
}

fn world() -> World {
    let mut world = World::new();
    world.config.history_page_events_max = usize::try_from(PAGE).unwrap();
    world
}

#[test]
fn whatever_comes_between_two_pages_a_worker_sees_its_task_begin() {
    for (cause, held) in CAUSES.into_iter().flat_map(|cause| HELD.map(|held| (cause, held))) {
        world().live(async |life| {
            let client = &life.client;
            let readers = first_pages(client, held).await;
            happen(client, cause, &readers).await;
            let shown = read_on(client, &readers).await;
            respond_to(client, held, &readers.task).await.unwrap();
            let written = rest(client, Vec::new(), view_token(client).await, false).await;
            assert_eq!(types(&written)[..shown.len()], shown, "{cause:?} {held:?}: it was shown what was written");
            end(client, &readers).await;
        });
    }
}

/// Of a client that has read nothing yet.
async fn view_token(client: &Client) -> Vec<u8> {
    use api::internal::HistoryPageToken;
    use prost::Message;
    let request = wf::GetWorkflowExecutionHistoryRequest { maximum_page_size: 1, ..Default::default() };
    let page = client.history_page("w", request).await.unwrap();
    let token = HistoryPageToken::decode(page.next_page_token.as_slice()).unwrap();
    HistoryPageToken { first_event_id: 1, ..token }.encode_to_vec()
}

#[test]
fn the_next_leader_shows_what_the_last_one_began_to_show() {
    for (cause, held) in CAUSES.into_iter().flat_map(|cause| HELD.map(|held| (cause, held))) {
        let world = world();
        let readers = world.live(async |life| {
            let readers = first_pages(&life.client, held).await;
            happen(&life.client, cause, &readers).await;
            readers
        });
        world.live(async |life: &Life| {
            let client = &life.client;
            read_on(client, &readers).await;
            match respond_to(client, held, &readers.task).await {
                Ok(()) => assert_ne!(held, Held::Speculative, "{cause:?}: nobody knows of it"),
                Err(Error::NotFound(message)) => {
                    assert_eq!(message, "Workflow task not found.");
                    assert_ne!(held, Held::Kept, "{cause:?}: its start is known");
                }
                // Made normal and held for long its start is known, but not the update that it is for.
                Err(Error::InvalidArgument(message)) => {
                    assert_eq!((cause, held), (Cause::TimerFires, Held::Speculative), "{message}");
                    assert!(message.contains("update u wasn't found"), "{message}");
                }
                Err(error) => panic!("{cause:?} {held:?}: {error}"),
            }
            end(client, &readers).await;
        });
    }
}

#[test]
fn a_query_shows_no_workflow_task_that_begins_between_its_pages() {
    world().live(async |life| {
        let client = &life.client;
        idle(client).await;
        client.signal("w", "s").await.unwrap();
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![]).await.unwrap();
        let before = rest(client, Vec::new(), view_token(client).await, false).await;
        let asked = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&asked);
        life.matching.answer_queries(move |_, task| {
            *keep.lock().unwrap() = Some(task);
            Some(queries::answer("known"))
        });
        queries::query(client).await.unwrap();
        tokio::select! {
            _ = ask(client, "u", UpdateWorkflowExecutionLifecycleStage::Completed) => panic!("nobody answered"),
            _ = client.poll_workflow(QUEUE) => {}
        };
        let task = asked.lock().unwrap().take().unwrap();
        assert!(!task.next_page_token.is_empty());
        let shown = rest(client, task.history.unwrap().events, task.next_page_token, false).await;
        assert_eq!(shown, before);
    });
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    use api::internal::HistoryPageToken;
    use prost::Message;
    world().live(async |life| {
        let client = &life.client;
        let readers = first_pages(client, Held::Speculative).await;
        let token = HistoryPageToken::decode(readers.task.next_page_token.as_slice()).unwrap();
        assert_eq!(token.unwritten.len(), 2);
        let with = |change: fn(&mut HistoryPageToken)| {
            let mut token = token.clone();
            change(&mut token);
            token.encode_to_vec()
        };
        let tokens = [
            with(|token| token.unwritten.swap(0, 1)),
            with(|token| token.unwritten.extend(token.unwritten.clone())),
            with(|token| token.next_event_id = i64::MAX),
            with(|token| token.next_event_id += 1),
            with(|token| token.first_event_id = 0),
            with(|token| token.run_id.clear()),
        ];
        for next_page_token in tokens {
            let request = wf::GetWorkflowExecutionHistoryRequest { next_page_token, ..Default::default() };
            let error = client.history_page("w", request).await.unwrap_err();
            assert_eq!(error, Error::InvalidArgument("Invalid NextPageToken.".into()));
        }
        answer(client, &readers.task, vec![accept("u"), respond("u")]).await;
    });
}
