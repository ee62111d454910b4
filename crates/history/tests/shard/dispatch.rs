//! Tasks that matching cannot take, or loses.

use std::time::Duration;

use api::internal::TaskKind;

use crate::client::{QUEUE, complete_workflow};
use crate::world::World;

const WF: i32 = TaskKind::Workflow as i32;

#[test]
fn tasks_that_matching_lost_in_silence_are_offered_again() {
    World::new().live(async |life| {
        let client = &life.client;
        client.start("w1").await;
        client.start("w2").await;
        while life.matching.offered() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        life.matching.lose();
        assert!(life.matching.try_take(QUEUE, WF).is_none());
        // Nothing is left to offer; the shards ask by themselves.
        for _ in 0..2 {
            let task = client.poll_workflow(QUEUE).await;
            client.complete(&task, vec![complete_workflow()]).await.unwrap();
        }
        // Tasks that are done are not asked for, nor offered again.
        let offered = life.matching.offered();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(life.matching.offered(), offered);
    });
}

#[test]
fn what_waits_in_a_shard_is_told_with_each_offer() {
    let mut world = World::new();
    world.config.offer_tasks_max = 4;
    world.live(async |life| {
        life.matching.limit(1);
        for workflow in 0..40 {
            life.client.start(&format!("w{workflow}")).await;
        }
        // Each of the two shards offers four of its tasks and tells of the rest.
        while life.matching.backlog(QUEUE) < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}
