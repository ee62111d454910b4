//! Reading history.

use std::time::Duration;

use api::Error;
use temporalio_protos::temporal::api::enums::v1::{EventType as E, HistoryEventFilterType};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::time::Instant;

use crate::client::{Client, QUEUE, complete_workflow, execution, types};
use crate::world::World;

type Request = wf::GetWorkflowExecutionHistoryRequest;

/// All events, `size` at a time.
async fn paged(client: &Client, size: i32) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    let mut token = Vec::new();
    loop {
        let request = Request { maximum_page_size: size, next_page_token: token, ..Default::default() };
        let page = client.history_page("w", request).await.unwrap();
        events.extend(page.history.unwrap().events);
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}

/// The same from the end.
async fn paged_back(client: &Client, size: i32) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    let mut token = Vec::new();
    loop {
        let request = wf::GetWorkflowExecutionHistoryReverseRequest {
            execution: Some(execution("w", "")),
            maximum_page_size: size,
            next_page_token: token,
            ..Default::default()
        };
        let request = api::internal::history_request::Request::GetHistoryReverse(request);
        let page: wf::GetWorkflowExecutionHistoryReverseResponse = client.call("w", request).await.unwrap();
        events.extend(page.history.unwrap().events);
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}

#[test]
fn pages_of_every_size_join_to_the_same_history() {
    for cached in [0, 1 << 20] {
        let mut world = World::new();
        world.config.cache_history_bytes_max = cached;
        world.live(async |life| {
            let client = &life.client;
            client.start("w").await;
            for number in 0..30 {
                client.signal("w", &number.to_string()).await.unwrap();
                let task = client.poll_workflow(QUEUE).await;
                client.signal("w", "buffered").await.unwrap();
                client.complete(&task, vec![]).await.unwrap();
            }
            let all = client.events_of_run("w", "").await;
            types(&all);
            assert!(all.len() > 100);
            for size in [1, 2, 3, 7, 50, 1000] {
                assert_eq!(paged(client, size).await, all, "{size}");
                let mut back = paged_back(client, size).await;
                back.reverse();
                assert_eq!(back, all, "{size}");
            }
        });
        // Read from the store alone.
        world.live(async |life| {
            let all = paged(&life.client, 4).await;
            types(&all);
            assert!(all.len() > 100);
        });
    }
}

#[test]
fn a_worker_gets_the_rest_of_a_long_history_by_pages() {
    let mut world = World::new();
    world.config.history_page_events_max = 10;
    world.live(async |life| {
        let client = &life.client;
        client.start("w").await;
        for number in 0..40 {
            client.signal("w", &number.to_string()).await.unwrap();
        }
        let task = client.poll_workflow(QUEUE).await;
        let mut events = task.history.clone().unwrap().events;
        let mut token = task.next_page_token.clone();
        assert!(!token.is_empty());
        while !token.is_empty() {
            let request = Request {
                next_page_token: token,
                execution: task.workflow_execution.clone(),
                maximum_page_size: 10,
                ..Default::default()
            };
            let page = client.history_page("w", request).await.unwrap();
            events.extend(page.history.unwrap().events);
            token = page.next_page_token;
        }
        assert_eq!(types(&events).last(), Some(&E::WorkflowTaskStarted));
        assert_eq!(events.last().unwrap().event_id, task.started_event_id);
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn a_waiting_reader_gets_an_empty_page_in_the_end_and_events_when_they_come() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let page = client.history_page("w", Request { wait_new_event: true, ..Default::default() }).await.unwrap();
        assert_eq!(types(&page.history.unwrap().events).len(), 2);
        let token = page.next_page_token;
        let start = Instant::now();
        let wait = Request { wait_new_event: true, next_page_token: token.clone(), ..Default::default() };
        let page = client.history_page("w", wait.clone()).await.unwrap();
        assert!(page.history.unwrap().events.is_empty());
        assert_eq!(page.next_page_token, token);
        assert!(start.elapsed() >= Duration::from_secs(20) && start.elapsed() < Duration::from_secs(21));
        // A started task is not written, so it is nothing new.
        let task = client.poll_workflow(QUEUE).await;
        let (page, done) = tokio::join!(client.history_page("w", wait), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            client.complete(&task, vec![complete_workflow()]).await
        });
        done.unwrap();
        let page = page.unwrap();
        assert_eq!(page.history.unwrap().events[0].event_id, 3);
    });
}

#[test]
fn whoever_waits_for_the_end_gets_the_last_event() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let request = Request {
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
            ..Default::default()
        };
        let wait = async {
            let mut request = request.clone();
            loop {
                let page = client.history_page("w", request.clone()).await.unwrap();
                if let Some(event) = page.history.unwrap().events.pop() {
                    assert!(page.next_page_token.is_empty());
                    return event;
                }
                request.next_page_token = page.next_page_token;
            }
        };
        let (event, ()) = tokio::join!(wait, async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.terminate("w").await.unwrap();
        });
        assert_eq!(event.event_type(), E::WorkflowExecutionTerminated);
    });
}

#[test]
fn foreign_tokens_are_refused() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let page = client.history_page("w", Request { wait_new_event: true, ..Default::default() }).await.unwrap();
        let other = Request {
            execution: Some(execution("w", "other")),
            next_page_token: page.next_page_token,
            ..Default::default()
        };
        let error = client.history_page("w", other).await.unwrap_err();
        let expected = "RunId in the request does not match the NextPageToken.";
        assert_eq!(error, Error::InvalidArgument(expected.into()));
        let garbage = Request { next_page_token: b"garbage".to_vec(), ..Default::default() };
        let error = client.history_page("w", garbage).await.unwrap_err();
        assert_eq!(error, Error::InvalidArgument("Invalid NextPageToken.".into()));
        let unknown = client.history_page("nobody", Request::default()).await.unwrap_err();
        assert_eq!(unknown, Error::NotFound("workflow not found for ID: nobody".into()));
    });
}
