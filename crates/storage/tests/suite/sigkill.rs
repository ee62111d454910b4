//! A process that writes to the log or to an engine is killed at random moments. The test
//! binary starts itself as that process; what it has acknowledged arrives through a pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use storage::{Batch, Engine, Kv, MetaKey, RealDisk, Scan, Wal, WalConfig, open_kv};

use crate::random::Random;

const CHILD: &str = "child=";
const WAL_GROUPS: u64 = 4;
const WAL_KEPT: u64 = 30;
/// Submitted ahead, like what Raft has in flight.
const QUEUE_BYTES: u64 = 16 << 10;
const KV_KEPT: u64 = 20;
/// The child gives up by itself should nobody kill it.
const STEPS_MAX: u64 = 200_000;

/// The child's side: does nothing in an ordinary run.
#[test]
fn child() {
    let Some(role) = std::env::args().find_map(|argument| argument.strip_prefix(CHILD).map(str::to_owned)) else {
        return;
    };
    let (role, directory) = role.split_once(':').unwrap();
    match role {
        "wal" => write_wal(Path::new(directory)),
        "fjall" => write_kv(Engine::Fjall, Path::new(directory)),
        "sled" => write_kv(Engine::Sled, Path::new(directory)),
        _ => unreachable!(),
    }
}

/// Runs the child until it has acknowledged that many lines, kills it, and returns all that
/// it has acknowledged.
fn kill_after(role: &str, directory: &Path, lines: u64) -> Vec<Vec<u64>> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigkill::child", "--nocapture", "--test-threads=1"])
        .arg(format!("{CHILD}{role}:{}", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if output.read_until(b'\n', &mut line).unwrap() == 0 {
            break;
        }
        // The test harness talks, too; and the last line may be cut off.
        if let Some(numbers) = line.strip_prefix(b"ack ").and_then(|rest| rest.strip_suffix(b" .\n")) {
            let numbers = std::str::from_utf8(numbers).unwrap();
            acknowledged.push(numbers.split(' ').map(|number| number.parse().unwrap()).collect());
        }
        if acknowledged.len() as u64 == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() as u64 >= lines, "the child ended by itself after {}", acknowledged.len());
    acknowledged
}

fn acknowledge(numbers: &[u64]) {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let line = format!("ack {} .\n", numbers.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

fn wal_config() -> WalConfig {
    WalConfig { segment_bytes: 64 << 10, batch_bytes_max: 32 << 10, tail_bytes_max: 16 << 10, sync: true }
}

fn wal_payload(group: u64, index: u64) -> Bytes {
    let mut random = Random::new(group << 32 | index);
    let len = random.below(700) as usize;
    random.bytes(len).into()
}

fn write_wal(directory: &Path) {
    let wal = Wal::open(Arc::new(RealDisk::open(directory).unwrap()), wal_config()).unwrap();
    let _writer = wal.spawn_writer_thread().unwrap();
    let mut random = Random::new(wal.group(0).bounds().map_or(0, |(_, last)| last));
    for _ in 0..STEPS_MAX {
        while wal.stats().queue_bytes > QUEUE_BYTES {
            std::thread::yield_now();
        }
        let group = random.below(WAL_GROUPS);
        let log = wal.group(group);
        let next = log.bounds().map_or(1, |(_, last)| last + 1);
        let last = next + random.below(3);
        let entries = (next..=last).map(|index| storage::LogEntry { index, payload: wal_payload(group, index) });
        let entries = entries.collect();
        if random.below(5) == 0 {
            log.save_meta(MetaKey::Vote, Bytes::copy_from_slice(&last.to_le_bytes()), Box::new(|_| {}));
        }
        log.append(
            entries,
            Box::new(move |result| {
                result.unwrap();
                acknowledge(&[group, last]);
            }),
        );
        if random.below(10) == 0 && last > WAL_KEPT {
            log.purge(last - WAL_KEPT, Bytes::copy_from_slice(&last.to_le_bytes()), Box::new(|_| {}));
        }
    }
}

#[test]
fn the_log_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    for round in 0..6 {
        let acknowledged = kill_after("wal", directory.path(), 1 + random.below(600));
        let wal = Wal::open(Arc::new(RealDisk::open(directory.path()).unwrap()), wal_config()).unwrap();
        let mut lasts = [0; WAL_GROUPS as usize];
        for numbers in acknowledged {
            lasts[numbers[0] as usize] = numbers[1];
        }
        for group in 0..WAL_GROUPS {
            let log = wal.group(group);
            let Some((first, last)) = log.bounds() else {
                assert_eq!(lasts[group as usize], 0);
                continue;
            };
            assert!(last >= lasts[group as usize], "round {round}, group {group}: lost entries");
            assert!(first + WAL_KEPT > last.min(WAL_KEPT) && first <= last);
            for entry in log.read(first..last + 1, usize::MAX).unwrap() {
                assert_eq!(entry.payload, wal_payload(group, entry.index));
            }
        }
    }
}

fn number_at(kv: &dyn Kv, key: &'static [u8]) -> u64 {
    kv.get(key).unwrap().map_or(0, |value| u64::from_le_bytes(value[..].try_into().unwrap()))
}

fn kv_key(number: u64) -> Bytes {
    [b"log/", &number.to_be_bytes()[..]].concat().into()
}

fn kv_value(number: u64) -> Bytes {
    let mut random = Random::new(number);
    let len = random.below(2000) as usize;
    random.bytes(len).into()
}

/// Each batch adds one value, drops the one that is too old, and counts.
fn write_kv(engine: Engine, directory: &Path) {
    let kv = open_kv(engine, directory).unwrap();
    let start = number_at(&*kv, b"count");
    for number in start + 1..start + STEPS_MAX {
        let mut batch = Batch::default();
        batch.put(kv_key(number), kv_value(number));
        batch.delete_range(kv_key(0), kv_key((number + 1).saturating_sub(KV_KEPT)));
        batch.put("count", number.to_le_bytes().to_vec());
        kv.write(batch).unwrap();
        if number % 16 == 0 {
            kv.checkpoint().unwrap();
            acknowledge(&[number]);
        }
    }
}

fn check_kv(role: &str, engine: Engine) {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(2);
    for round in 0..5 {
        let acknowledged = kill_after(role, directory.path(), 1 + random.below(30));
        let durable = acknowledged.last().unwrap()[0];
        let kv = open_kv(engine, directory.path()).unwrap();
        let count = number_at(&*kv, b"count");
        assert!(count >= durable, "{role}, round {round}: {count} batches of {durable}");
        let pairs = kv.scan(&Scan::prefix("log/", usize::MAX)).unwrap();
        let expected: Vec<_> = ((count + 1).saturating_sub(KV_KEPT).max(1)..=count)
            .map(|number| (kv_key(number), kv_value(number)))
            .collect();
        assert!(pairs == expected, "{role}, round {round}: not the state after batch {count}");
    }
}

#[test]
fn fjall_keeps_its_checkpoints() {
    check_kv("fjall", Engine::Fjall);
}

#[test]
fn sled_keeps_its_checkpoints() {
    check_kv("sled", Engine::Sled);
}
