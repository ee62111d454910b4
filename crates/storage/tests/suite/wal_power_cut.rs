//! The power goes at every write boundary of scripted runs: what was acknowledged is there,
//! nothing is there by half, and the state is one that the callers have gone through.

use std::sync::Arc;

use storage::{MemoryDisk, Wal, WalError};

use crate::random::Random;
use crate::wal_model::{Model, Run, run, small_config};

/// Opens the log after a cut and returns its state, which must be the one after some call
/// at or behind the last acknowledged.
fn recovered(disk: &MemoryDisk, run: &Run, context: &str) -> Model {
    let wal = match Wal::open(Arc::new(disk.clone()), small_config()) {
        Ok(wal) => wal,
        Err(error) => panic!("{context}: {error}"),
    };
    let found = Model::of(&wal).unwrap();
    let possible = &run.states[run.acknowledged..];
    match possible.iter().rev().find(|state| state.shows(&found)) {
        Some(state) => state.clone(),
        None => panic!(
            "{context}: {} calls acknowledged of {}, found\n{}\nexpected\n{}\nor later, up to\n{}",
            run.acknowledged,
            run.states.len() - 1,
            found.summary(),
            possible[0].summary(),
            possible[possible.len() - 1].summary(),
        ),
    }
}

/// Writes of an undisturbed run.
fn writes_of(seed: u64, calls: usize, moved_bytes: &mut u64) -> u64 {
    let disk = MemoryDisk::new();
    let run = run(&disk, &Model::default(), &mut Random::new(seed), calls);
    assert_eq!((run.acknowledged, &run.failures[..]), (calls, &[][..]));
    *moved_bytes += run.moved_bytes;
    let state = recovered(&disk, &run, "undisturbed");
    assert!(state.shows(&run.states[calls]));
    disk.writes()
}

#[test]
fn power_cut_at_every_write() {
    const CALLS: usize = 150;
    let mut moved_bytes = 0;
    for seed in 0..4 {
        let writes = writes_of(seed, CALLS, &mut moved_bytes);
        for cut in 0..=writes {
            let context = format!("seed {seed}, cut {cut} of {writes}");
            let disk = MemoryDisk::new();
            disk.stop_after_writes(cut);
            let first = run(&disk, &Model::default(), &mut Random::new(seed), CALLS);
            let mut random = Random::new(seed << 32 | cut);
            disk.power_cut(&mut || random.next());

            // A second life that ends the same way, so that it meets the first one's remains.
            let survived = match random.below(2) {
                0 => recovered(&disk, &first, &context),
                _ => reopen_quietly(&disk, &first, &context),
            };
            disk.stop_after_writes(disk.writes() + random.below(25));
            let second = run(&disk, &survived, &mut random, 25);
            disk.power_cut(&mut || random.next());
            let survived = recovered(&disk, &second, &format!("{context}, second life"));

            let third = run(&disk, &survived, &mut random, 5);
            assert_eq!(third.failures, []);
            recovered(&disk, &third, &format!("{context}, third life"));
        }
    }
    assert!(moved_bytes > 0, "no run has cleaned a segment");
}

/// Opens a copy only, so that the next life is the first to touch the torn tail.
fn reopen_quietly(disk: &MemoryDisk, run: &Run, context: &str) -> Model {
    disk.stop_after_writes(disk.writes() + 1);
    let opened = Wal::open(Arc::new(disk.clone()), small_config());
    drop(opened);
    // The write of the open is lost: as if it had crashed in the middle of it.
    disk.power_cut(&mut || 0);
    let state = recovered(disk, run, context);
    disk.power_cut(&mut || 0);
    state
}

#[test]
fn a_crash_without_power_cut_loses_nothing_that_was_written() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let first = run(&disk, &Model::default(), &mut Random::new(seed), 60);
        // The process dies: no shutdown, unsynced writes survive in the page cache.
        let survived = recovered(&disk, &first, "first life");
        let second = run(&disk, &survived, &mut Random::new(seed + 1000), 60);
        recovered(&disk, &second, "second life");
    }
}

#[test]
fn a_failed_sync_or_write_stops_the_log_for_good() {
    for seed in 0..4 {
        let disk = MemoryDisk::new();
        match seed % 3 {
            0 => disk.fail_sync(3 + seed / 2),
            1 => disk.stop_after_writes(8 + seed),
            _ => disk.fail_sync(9 + seed),
        }
        let mut random = Random::new(seed);
        let run = run(&disk, &Model::default(), &mut random, 80);
        let total = run.acknowledged + run.failures.len();
        assert!(total == 80 || run.states.len() == 1, "{total} completions");
        if let [first, later @ ..] = &run.failures[..] {
            assert!(matches!(first, WalError::Io { .. } | WalError::Stopped(_)), "{first}");
            assert!(later.iter().all(|error| matches!(error, WalError::Stopped(_) | WalError::OutOfRange { .. })));
        }
        disk.power_cut(&mut || random.next());
        recovered(&disk, &run, &format!("seed {seed}"));
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let found_out = (0..20).any(|seed| {
        let disk = MemoryDisk::new();
        let run = run(&disk, &Model::default(), &mut Random::new(seed), 30);
        let state = recovered(&disk, &run, "before");
        disk.set_sync_skipped(true);
        let run = crate::wal_model::run(&disk, &state, &mut Random::new(seed), 30);
        disk.power_cut(&mut || seed);
        match Wal::open(Arc::new(disk.clone()), small_config()) {
            Ok(wal) => {
                let found = Model::of(&wal).unwrap();
                !run.states[run.acknowledged..].iter().any(|state| state.shows(&found))
            }
            Err(_) => true,
        }
    });
    assert!(found_out, "this suite would not notice a missing sync");
}
