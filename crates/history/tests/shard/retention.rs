//! Closed runs are removed, and nothing of them stays.

use std::time::Duration;

use api::Error;
use storage::{Kv, Scan};
use temporalio_protos::temporal::api::enums::v1::EventType as E;

use crate::client::{QUEUE, complete_workflow};
use crate::world::{Life, World};

const RETENTION: Duration = Duration::from_secs(600);
const MARGIN: Duration = Duration::from_secs(60);

/// Rows of history's tables, whoever they belong to.
fn rows(life: &Life) -> usize {
    let all = life.kv.scan(&Scan::range(vec![0, 0], vec![0x10, 0], 100_000)).unwrap();
    all.iter().filter(|(key, _)| (1..=6).contains(&key[2])).count()
}

#[test]
fn everything_goes_after_the_retention_time() {
    let mut world = World::new();
    world.retention = RETENTION;
    world.live(async |life| {
        let client = &life.client;
        for number in 0..150 {
            client.start(&format!("w{number}")).await;
            let task = client.poll_workflow(QUEUE).await;
            client.complete(&task, vec![complete_workflow()]).await.unwrap();
        }
        client.start("open").await;
        tokio::time::sleep(RETENTION - MARGIN).await;
        assert_eq!(client.history("w0").await.last(), Some(&E::WorkflowExecutionCompleted));
    });
    world.live(async |life| {
        let client = &life.client;
        assert_eq!(client.history("w1").await.last(), Some(&E::WorkflowExecutionCompleted));
        tokio::time::sleep(2 * MARGIN).await;
        let error = client.describe("w0").await.unwrap_err();
        assert_eq!(error, Error::NotFound("workflow not found for ID: w0".into()));
        assert_eq!(client.history("open").await.len(), 2);
        client.terminate("open").await.unwrap();
        tokio::time::sleep(RETENTION + MARGIN).await;
        assert_eq!(rows(life), 0);
    });
}

#[test]
fn an_old_run_goes_without_its_successor() {
    let mut world = World::new();
    world.retention = RETENTION;
    world.live(async |life| {
        let client = &life.client;
        client.start("w").await;
        client.terminate("w").await.unwrap();
        tokio::time::sleep(MARGIN).await;
        let run_id = client.start("w").await;
        tokio::time::sleep(RETENTION).await;
        let described = client.describe("w").await.unwrap();
        assert_eq!(described.workflow_execution_info.unwrap().execution.unwrap().run_id, run_id);
    });
}

#[test]
fn a_run_is_kept_as_long_as_the_namespace_says_when_it_closes() {
    let mut world = World::new();
    world.retention = RETENTION;
    world.live(async |life| {
        let client = &life.client;
        client.start("early").await;
        client.start("late").await;
        client.terminate("early").await.unwrap();
        life.change_namespace(|namespace| namespace.retention = 10 * RETENTION).await;
        client.terminate("late").await.unwrap();
        tokio::time::sleep(RETENTION + MARGIN).await;
        client.describe("early").await.unwrap_err();
        client.describe("late").await.unwrap();
    });
    world.live(async |life| {
        life.client.describe("late").await.unwrap();
        tokio::time::sleep(9 * RETENTION + MARGIN).await;
        life.client.describe("late").await.unwrap_err();
    });
}

#[test]
fn a_deleted_namespace_leaves_nothing() {
    let world = World::new();
    world.live(async |life| {
        let client = &life.client;
        for number in 0..300 {
            client.start(&format!("w{number}")).await;
        }
        for number in 0..50 {
            client.terminate(&format!("w{number}")).await.unwrap();
        }
        life.delete_namespace().await;
        while rows(life) > 0 {
            tokio::time::sleep(MARGIN).await;
        }
    });
}
