//! A log and a state that do not belong together are refused, whatever is missing or old;
//! and no crash leaves a healthy pair in such a condition.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use storage::{
    Batch, Kv, MemoryDisk, MemoryKv, MetaKey, PairError, RealDisk, StoreId, Wal, WalConfig, WalError, checkpoint_pair,
    open_pair,
};

use crate::engines::{ENGINES, Store};
use crate::random::Random;
use crate::wal_basics::{block_on, entries};

const MINE: StoreId = StoreId([1; 16]);
const OTHER: StoreId = StoreId([2; 16]);

fn config() -> WalConfig {
    WalConfig { segment_bytes: 4096, batch_bytes_max: 1024, tail_bytes_max: 0, sync: true }
}

/// A data directory: the log in files, the state in one of the engines.
struct Pair {
    state: Store,
    log: PathBuf,
    directory: tempfile::TempDir,
}

impl Pair {
    fn new(state: Store) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { state, log: directory.path().join("wal"), directory }
    }

    fn open(&mut self, mint: StoreId) -> Result<Wal, PairError> {
        self.state.reopen();
        open_pair(Arc::new(RealDisk::open(&self.log).unwrap()), config(), &**self.state.kv(), mint)
    }

    /// One life: appends to the end, purges the beginning, makes the state durable.
    fn live(&mut self, mint: StoreId) {
        let wal = self.open(mint).unwrap();
        let log = wal.group(1);
        let next = log.bounds().map_or(1, |(_, last)| last + 1);
        let steps = async {
            for index in next..next + 60 {
                log.append(entries(index..index + 1, 200), Box::new(|result| result.unwrap()));
                log.purge(index.saturating_sub(40), Bytes::from("m"), Box::new(|result| result.unwrap()));
                while wal.stats().queue_bytes > 0 {
                    tokio::task::yield_now().await;
                }
            }
            write(&**self.state.kv(), next);
            checkpoint_pair(&wal, &**self.state.kv()).unwrap();
            wal.shutdown();
        };
        block_on(async { tokio::join!(wal.run_writer(), steps) });
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.log).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
        segments.sort();
        segments
    }

    fn copy_of_log(&self, name: &str) -> PathBuf {
        let to = self.directory.path().join(name);
        copy(&self.log, &to);
        to
    }

    fn restore_log(&self, from: &Path) {
        fs::remove_dir_all(&self.log).unwrap();
        copy(from, &self.log);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn write(kv: &dyn Kv, number: u64) {
    let mut batch = Batch::default();
    batch.put("row", number.to_be_bytes().to_vec());
    kv.write(batch).unwrap();
}

#[test]
fn what_does_not_belong_together_is_refused() {
    for engine in ENGINES {
        let mut pair = Pair::new(Store::new(engine));
        pair.live(MINE);
        let old = pair.copy_of_log("old");
        // The mint of a later start is not used.
        pair.live(OTHER);
        let whole = pair.copy_of_log("whole");
        assert!(pair.segments().len() > 3, "{:?}", pair.segments());

        fs::remove_dir_all(&pair.log).unwrap();
        let refused = |pair: &mut Pair| pair.open(OTHER).unwrap_err();
        assert!(matches!(refused(&mut pair), PairError::LogMissing(_)), "the log is gone");
        assert!(pair.segments().is_empty(), "nothing was put in its place");

        pair.restore_log(&old);
        let error = refused(&mut pair);
        assert!(matches!(error, PairError::LogOld { log, state } if log < state), "{error}");

        pair.restore_log(&whole);
        fs::remove_file(pair.log.join("manifest")).unwrap();
        assert!(matches!(refused(&mut pair), PairError::LogMissing(_)), "the manifest is gone");

        for missing in [0..1, 0..2, pair.segments().len() - 1..pair.segments().len(), 0..pair.segments().len()] {
            pair.restore_log(&whole);
            for segment in &pair.segments()[missing.clone()] {
                fs::remove_file(segment).unwrap();
            }
            let error = refused(&mut pair);
            assert!(matches!(error, PairError::Wal(WalError::Missing(_))), "{missing:?}: {error}");
        }
        pair.restore_log(&whole);
        fs::write(pair.segments().last().unwrap(), vec![0; 4096]).unwrap();
        let error = refused(&mut pair);
        assert!(matches!(error, PairError::Wal(WalError::Corrupt { .. })), "zeros at the end: {error}");

        let mut stranger = Pair::new(Store::new(engine));
        stranger.live(OTHER);
        pair.restore_log(&stranger.log);
        let error = refused(&mut pair);
        assert!(matches!(error, PairError::Strangers { log: OTHER, state: MINE }), "{error}");
        assert!(error.to_string().contains(&OTHER.to_string()), "{error}");

        pair.restore_log(&whole);
        assert_eq!(pair.open(OTHER).unwrap().store_id(), MINE);
    }
}

#[test]
fn a_pair_from_before_there_were_manifests_is_adopted_whole_only() {
    for engine in ENGINES {
        let mut pair = Pair::new(Store::new(engine));
        // As an older version left it: neither manifest nor mark.
        write(&**pair.state.kv(), 7);
        pair.state.kv().checkpoint().unwrap();
        assert!(matches!(pair.open(MINE), Err(PairError::LogMissing(_))));
        drop(Wal::open(Arc::new(RealDisk::open(&pair.log).unwrap()), config()).unwrap());
        fs::remove_file(pair.log.join("manifest")).unwrap();
        assert_eq!(pair.open(MINE).unwrap().store_id(), MINE);
        assert_eq!(pair.open(OTHER).unwrap().store_id(), MINE);
        fs::remove_dir_all(&pair.log).unwrap();
        assert!(matches!(pair.open(MINE), Err(PairError::LogMissing(_))));
    }
}

#[test]
fn a_lost_state_is_opened_for_its_groups_to_judge() {
    let mut pair = Pair::new(Store::new(ENGINES[0]));
    pair.live(MINE);
    pair.state = Store::new(ENGINES[0]);
    assert_eq!(pair.open(OTHER).unwrap().store_id(), MINE);
}

/// One life in memory, until the power goes.
fn live(disk: &MemoryDisk, kv: &MemoryKv, random: &mut Random, steps: u64) -> Result<(), PairError> {
    let wal = open_pair(Arc::new(disk.clone()), config(), kv, MINE)?;
    let log = wal.group(1);
    let script = async {
        for step in 0..steps {
            let next = log.bounds().map_or(1, |(_, last)| last + 1);
            log.append(entries(next..next + 1, random.below(700) as usize), Box::new(|_| {}));
            match random.below(6) {
                0 => log.purge(next.saturating_sub(4), Bytes::from("m"), Box::new(|_| {})),
                1 => log.save_meta(MetaKey::Vote, Bytes::from("v"), Box::new(|_| {})),
                2 => write(kv, step),
                3 => checkpoint_pair(&wal, kv).unwrap(),
                _ => tokio::task::yield_now().await,
            }
        }
        wal.shutdown();
    };
    block_on(async { tokio::join!(wal.run_writer(), script) });
    Ok(())
}

#[test]
fn no_power_cut_makes_a_healthy_pair_look_torn_apart() {
    const STEPS: u64 = 60;
    for seed in 0..6 {
        let whole = MemoryDisk::new();
        live(&whole, &MemoryKv::new(), &mut Random::new(seed), STEPS).unwrap();
        let writes = whole.writes();
        assert!(writes > 50);
        for cut in 0..=writes {
            let (disk, kv) = (MemoryDisk::new(), MemoryKv::new());
            disk.stop_after_writes(cut);
            // A disk that is out of writes fails, which is no verdict on the pair.
            let verdict = |result: Result<(), PairError>| match result {
                Ok(()) | Err(PairError::Wal(WalError::Io { .. })) => {}
                Err(error) => panic!("seed {seed}, cut {cut} of {writes}: {error}"),
            };
            verdict(live(&disk, &kv, &mut Random::new(seed), STEPS));
            let mut random = Random::new(seed << 32 | cut);
            for _ in 0..3 {
                disk.power_cut(&mut || random.next());
                kv.power_cut(random.next());
                // The process dies, what it wrote stays; then the power goes.
                verdict(live(&disk, &kv, &mut random, 20));
                disk.stop_after_writes(disk.writes() + random.below(30));
                verdict(live(&disk, &kv, &mut random, 20));
            }
            disk.power_cut(&mut || random.next());
            kv.power_cut(0);
            let steps = 5;
            live(&disk, &kv, &mut random, steps).unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        }
    }
}
