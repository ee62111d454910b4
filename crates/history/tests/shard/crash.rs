//! What survives the loss of everything in memory and of every unsynced write.

use std::time::Duration;

use api::internal::TaskKind;
use temporalio_protos::temporal::api::enums::v1::EventType as E;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::time::Instant;

use crate::client::{QUEUE, complete_workflow, schedule_activity, start_timer, types};
use crate::world::World;

#[test]
fn tasks_are_offered_again() {
    let world = World::new();
    world.live(async |life| {
        life.client.start("task").await;
        life.client.start("activity").await;
        // The first is left alone.
        let left = life.client.poll_workflow(QUEUE).await;
        let task = life.client.poll_workflow(QUEUE).await;
        assert_eq!((id(&left), id(&task)), ("task", "activity"));
        life.client.complete(&task, vec![schedule_activity("a")]).await.unwrap();
    });
    world.live(async |life| {
        let task = life.client.poll_workflow(QUEUE).await;
        assert_eq!((id(&task), task.attempt), ("task", 1));
        life.client.complete(&task, vec![complete_workflow()]).await.unwrap();
        let activity = life.client.poll_activity().await;
        life.client.complete_activity(&activity).await.unwrap();
        let task = life.client.poll_workflow(QUEUE).await;
        life.client.complete(&task, vec![complete_workflow()]).await.unwrap();
        assert_eq!(life.client.history("activity").await.last(), Some(&E::WorkflowExecutionCompleted));
    });
}

#[test]
fn a_task_of_the_life_before_cannot_be_completed() {
    let world = World::new();
    let task = world.live(async |life| {
        life.client.start("w").await;
        life.client.poll_workflow(QUEUE).await
    });
    world.live(async |life| {
        let again = life.client.poll_workflow(QUEUE).await;
        let refused = life.client.complete(&task, vec![complete_workflow()]).await.unwrap_err();
        assert_eq!(refused, api::Error::NotFound("Workflow task not found.".into()));
        life.client.complete(&again, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn who_has_a_task_may_answer_it_in_the_next_life() {
    let world = World::new();
    let (task, late, failing) = world.live(async |life| {
        let mut tasks = Vec::new();
        for id in ["answered", "late", "failing"] {
            life.client.start(id).await;
            tasks.push(life.client.poll_workflow(QUEUE).await);
        }
        let [answered, late, failing] = tasks.try_into().unwrap();
        (answered, late, failing)
    });
    world.live(async |life| {
        let client = &life.client;
        client.complete(&task, vec![complete_workflow()]).await.unwrap();
        let closed = client.history("answered").await;
        assert_eq!(closed[2..], [E::WorkflowTaskStarted, E::WorkflowTaskCompleted, E::WorkflowExecutionCompleted]);
        client.fail(&failing).await.unwrap();
        assert_eq!(client.history("failing").await[2..4], [E::WorkflowTaskStarted, E::WorkflowTaskFailed]);
        // What has happened meanwhile is not known to the worker.
        client.signal("late", "meanwhile").await.unwrap();
        let refused = client.complete(&late, vec![complete_workflow()]).await.unwrap_err();
        assert_eq!(refused, api::Error::NotFound("Workflow task not found.".into()));
        let mut again = [client.poll_workflow(QUEUE).await, client.poll_workflow(QUEUE).await];
        again.sort_by_key(|task| task.attempt);
        assert_eq!(again.each_ref().map(id), ["late", "failing"]);
    });
}

#[test]
fn a_task_that_takes_long_is_completed_in_the_next_life() {
    let world = World::new();
    let task = world.live(async |life| {
        life.client.start("w").await;
        let task = life.client.poll_workflow(QUEUE).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.client.signal("w", "meanwhile").await.unwrap();
        task
    });
    world.live(async |life| {
        life.client.complete(&task, vec![start_timer("t", Duration::from_secs(1))]).await.unwrap();
        let events = life.client.history("w").await;
        let expected = [E::WorkflowTaskCompleted, E::TimerStarted, E::WorkflowExecutionSignaled];
        assert_eq!(events[3..6], expected);
    });
}

#[test]
fn a_task_that_took_long_times_out_in_the_next_life() {
    let world = World::new();
    let task = world.live(async |life| {
        life.client.start("w").await;
        let task = life.client.poll_workflow(QUEUE).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        task
    });
    world.live(async |life| {
        let again = life.client.poll_workflow(QUEUE).await;
        assert_eq!(again.attempt, 2);
        let refused = life.client.complete(&task, vec![complete_workflow()]).await.unwrap_err();
        assert_eq!(refused, api::Error::NotFound("Workflow task not found.".into()));
        life.client.complete(&again, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn timers_fire_after_a_restart_and_not_early() {
    let world = World::new();
    let after = Duration::from_secs(100);
    let slept = world.live(async |life| {
        let client = &life.client;
        client.start("w").await;
        let task = client.poll_workflow(QUEUE).await;
        let timers = vec![start_timer("near", after), start_timer("far", after * 10)];
        client.complete(&task, timers).await.unwrap();
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(30)).await;
        start.elapsed()
    });
    let slept = world.live(async |life| {
        let start = Instant::now();
        let task = life.client.poll_workflow(QUEUE).await;
        assert!(slept + start.elapsed() >= after);
        life.client.complete(&task, vec![]).await.unwrap();
        slept + start.elapsed()
    });
    world.live(async |life| {
        let start = Instant::now();
        let task = life.client.poll_workflow(QUEUE).await;
        assert!(slept + start.elapsed() >= after * 10);
        life.client.complete(&task, vec![complete_workflow()]).await.unwrap();
    });
}

#[test]
fn whatever_was_acknowledged_is_there() {
    let world = World::new();
    for round in 0..10 {
        world.live(async |life| {
            if round == 0 {
                life.client.start("w").await;
            }
            for number in 0..5 {
                life.client.signal("w", &format!("{round}/{number}")).await.unwrap();
            }
            if round % 3 == 1 {
                let task = life.client.poll_workflow(QUEUE).await;
                life.client.complete(&task, vec![]).await.unwrap();
            }
        });
    }
    world.live(async |life| {
        let events = life.client.events_of_run("w", "").await;
        types(&events);
        let signals = events.iter().filter(|event| event.event_type() == E::WorkflowExecutionSignaled);
        assert_eq!(signals.count(), 50);
    });
}

#[test]
fn a_request_is_carried_out_once_even_if_it_is_sent_again_after_a_restart() {
    let world = World::new();
    let (request, signal, run_id) = world.live(async |life| {
        let request = life.client.start_request("w");
        let run_id = life.client.start_with(request.clone()).await.unwrap().run_id;
        let signal = wf::SignalWorkflowExecutionRequest {
            workflow_execution: Some(crate::client::execution("w", "")),
            signal_name: "s".into(),
            request_id: "r".into(),
            ..Default::default()
        };
        life.client.raw("w", api::internal::history_request::Request::Signal(signal.clone())).await.unwrap();
        (request, signal, run_id)
    });
    world.live(async |life| {
        let again = life.client.start_with(request).await.unwrap();
        assert_eq!((again.run_id, again.started), (run_id, true));
        life.client.raw("w", api::internal::history_request::Request::Signal(signal)).await.unwrap();
        let history = life.client.history("w").await;
        assert_eq!(history.iter().filter(|kind| **kind == E::WorkflowExecutionSignaled).count(), 1);
    });
}

#[test]
fn a_backlog_beyond_memory_is_found_again() {
    let mut world = World::new();
    world.config.dispatch_tasks_max = 10;
    world.live(async |life| {
        life.matching.limit(0);
        for number in 0..100 {
            life.client.start(&format!("w{number}")).await;
        }
    });
    world.live(async |life| {
        life.matching.limit(5);
        for _ in 0..100 {
            let task = life.client.poll_workflow(QUEUE).await;
            life.client.complete(&task, vec![complete_workflow()]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let left = life.matching.try_take(QUEUE, TaskKind::Workflow.into());
        assert!(left.is_none() || life.client.start_workflow_task(QUEUE, left.unwrap()).await.is_none());
    });
}

fn id(task: &wf::PollWorkflowTaskQueueResponse) -> &str {
    &task.workflow_execution.as_ref().unwrap().workflow_id
}
