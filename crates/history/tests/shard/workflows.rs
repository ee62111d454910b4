//! Workflows from start to end.

use std::time::Duration;

use cluster::ActivityReservation;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::EventType as E;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::{Client, QUEUE, complete_workflow, schedule_activity, start_timer, sticky, types};
use crate::world::World;

#[test]
fn one_activity() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let shown = types(&task.history.as_ref().unwrap().events);
        assert_eq!(shown, [E::WorkflowExecutionStarted, E::WorkflowTaskScheduled, E::WorkflowTaskStarted]);
        client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
        let activity = client.poll_activity().await;
        client.complete_activity(&activity).await.unwrap();
        let task = client.poll_workflow(QUEUE).await;
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        let expected = [
            E::WorkflowExecutionStarted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::ActivityTaskScheduled,
            E::ActivityTaskStarted,
            E::ActivityTaskCompleted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::WorkflowExecutionCompleted,
        ];
        assert_eq!(client.history("w").await, expected);
    });
}

#[test]
fn a_timer_fires_not_early_and_hardly_late() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let after = Duration::from_secs(200);
        client.complete(&task, vec![start_timer("t", after)]).await.unwrap();
        let start = Instant::now();
        let task = client.poll_workflow(QUEUE).await;
        assert!(
            start.elapsed() >= after && start.elapsed() < after + Duration::from_millis(50),
            "{:?}",
            start.elapsed()
        );
        assert!(types(&task.history.unwrap().events).contains(&E::TimerFired));
    });
}

#[test]
fn a_sticky_worker_gets_only_what_is_new_and_a_silent_one_loses_the_task() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let request =
            wf::RespondWorkflowTaskCompletedRequest { sticky_attributes: sticky("mine"), ..Default::default() };
        client.complete_with(&task, request).await.unwrap();
        client.signal("w", "one").await.unwrap();
        let task = client.poll_workflow("mine").await;
        let ids: Vec<_> = task.history.as_ref().unwrap().events.iter().map(|event| event.event_id).collect();
        assert_eq!(ids, [4, 5, 6, 7]);
        let request =
            wf::RespondWorkflowTaskCompletedRequest { sticky_attributes: sticky("mine"), ..Default::default() };
        client.complete_with(&task, request).await.unwrap();
        client.signal("w", "two").await.unwrap();
        // Nobody polls the sticky queue: after its timeout the task is on the normal one.
        let task = client.poll_workflow(QUEUE).await;
        assert_eq!(task.history.as_ref().unwrap().events[0].event_id, 1);
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn the_next_task_comes_with_the_answer_when_asked_for() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        client.signal("w", "buffered").await.unwrap();
        let request = wf::RespondWorkflowTaskCompletedRequest {
            sticky_attributes: sticky("mine"),
            return_new_workflow_task: true,
            ..Default::default()
        };
        let next = client.complete_with(&task, request).await.unwrap().workflow_task.expect("a task");
        let shown: Vec<_> = next.history.as_ref().unwrap().events.iter().map(|event| event.event_type()).collect();
        assert!(
            shown.contains(&E::WorkflowExecutionSignaled) && shown.ends_with(&[E::WorkflowTaskStarted]),
            "{shown:?}"
        );
        client.complete(&next, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn a_silent_worker_is_timed_out_and_its_answer_refused() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let late = client.poll_workflow(QUEUE).await;
        let task = client.poll_workflow(QUEUE).await;
        assert_eq!(task.attempt, 2);
        let error = client.complete(&late, vec![complete_workflow()]).await.unwrap_err();
        assert_eq!(error, api::Error::NotFound("Workflow task not found.".into()));
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn many_at_once_all_end() {
    let mut world = World::new();
    world.config.dispatch_tasks_max = 20;
    world.live(async |life| {
        life.matching.limit(5);
        let client = &life.client;
        let ids: Vec<String> = (0..200).map(|number| format!("w{number}")).collect();
        let starts = ids.iter().map(|id| client.start(id));
        futures_util::future::join_all(starts).await;
        let worker = async || {
            for _ in 0..50 {
                let task = client.poll_workflow(QUEUE).await;
                client.complete(&task, vec![complete_workflow()]).await.unwrap();
            }
        };
        tokio::join!(worker(), worker(), worker(), worker());
        for id in &ids {
            assert_eq!(client.history(id).await.last(), Some(&E::WorkflowExecutionCompleted));
        }
    });
}

#[test]
fn a_full_cache_keeps_what_is_not_written() {
    let mut world = World::new();
    world.config.cache_runs_max = 2;
    world.live(async |life| {
        let client = &life.client;
        let mut tasks = Vec::new();
        for number in 0..20 {
            client.start(&format!("w{number}")).await;
            tasks.push(client.poll_workflow(QUEUE).await);
        }
        for task in tasks {
            client.complete(&task, vec![complete_workflow()]).await.unwrap();
        }
        for number in 0..20 {
            assert_eq!(client.history(&format!("w{number}")).await.len(), 5);
        }
    });
}

#[test]
fn an_activity_is_handed_to_a_waiting_poller_in_the_same_commit() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let (deliver, delivered) = oneshot::channel();
        life.matching.park(ActivityReservation { poll: Client::activity_poll(), deliver });
        client.complete(&task, vec![schedule_activity("a"), schedule_activity("b")]).await.unwrap();
        let activity = wf::PollActivityTaskQueueResponse::decode(delivered.await.unwrap()).unwrap();
        assert_eq!(activity.activity_id, "a");
        let other = client.poll_activity().await;
        assert_eq!(other.activity_id, "b");
        client.complete_activity(&activity).await.unwrap();
        client.complete_activity(&other).await.unwrap();
    });
}

#[test]
fn an_activity_whose_poller_left_is_offered_again() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let (deliver, delivered) = oneshot::channel();
        life.matching.park(ActivityReservation { poll: Client::activity_poll(), deliver });
        drop(delivered);
        let start = Instant::now();
        client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
        let activity = client.poll_activity().await;
        assert_eq!((activity.activity_id.as_str(), activity.attempt), ("a", 1));
        assert!(start.elapsed() < Duration::from_secs(1), "before its timeout");
        client.complete_activity(&activity).await.unwrap();
    });
}
