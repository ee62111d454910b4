//! Many seeds, one process each; and the simulator's tests of itself.

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Planted;
use crate::record::say;

/// Within this many seeds a planted bug must be found.
const PLANTED_SEEDS_MAX: u64 = 60;
/// Seeds whose trace is compared with itself.
const REPEATED_SEEDS: [u64; 3] = [1, 2, 3];

fn seed_process(seed: u64, planted: Option<Planted>, quiet: bool) -> Command {
    let binary = std::env::current_exe().expect("the path of this process is known");
    let mut command = Command::new(binary);
    command.args(["--seed", &seed.to_string()]).stdin(Stdio::null());
    if quiet {
        command.arg("--quiet");
    }
    if let Some(planted) = planted {
        let name = clap::ValueEnum::to_possible_value(&planted).expect("no variant is skipped").get_name().to_owned();
        command.args(["--planted", &name]);
    }
    command
}

/// What the seeds of one call did.
struct Outcome {
    /// The seeds that failed, with what they printed, in order.
    failed: Vec<(u64, String)>,
    /// Sums over all seeds, in the order of [`COUNTS`].
    sums: [u64; COUNTS.len()],
}

/// The words of the line that every seed ends with.
const COUNTS: [&str; 4] = ["leaders", "power cuts", "wiped disks", "acknowledged"];

/// Runs the seeds `1..=count`. Stops early when `enough` failures are found.
fn run(count: u64, planted: Option<Planted>, enough: usize) -> Outcome {
    let next = AtomicU64::new(1);
    let failed = Mutex::new(Vec::new());
    let sums = Mutex::new([0; COUNTS.len()]);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > count || failed.lock().unwrap_or_else(PoisonError::into_inner).len() >= enough {
                        return;
                    }
                    let output = seed_process(seed, planted, true).output().expect("this program can be started again");
                    let counts = counts(&String::from_utf8_lossy(&output.stdout));
                    for (sum, count) in sums.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().zip(counts) {
                        *sum += count;
                    }
                    if !output.status.success() {
                        let text = [output.stdout, output.stderr].concat();
                        let text = String::from_utf8_lossy(&text).into_owned();
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, text));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort();
    Outcome { failed, sums: sums.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

/// The numbers of the line of counts.
fn counts(output: &str) -> [u64; COUNTS.len()] {
    let line = output.lines().rev().find_map(|line| line.strip_prefix("counts: ")).unwrap_or_default();
    let mut numbers =
        line.split(", ").map(|part| part.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0));
    COUNTS.map(|_| numbers.next().unwrap_or(0))
}

pub(crate) fn many(count: u64, planted: Option<Planted>) -> ExitCode {
    let Outcome { failed, sums } = run(count, planted, usize::MAX);
    for (seed, text) in &failed {
        say(&format!("seed {seed} failed (again: cargo xtask sim {seed}):\n{text}"));
    }
    let averages: Vec<_> =
        COUNTS.iter().zip(sums).map(|(name, sum)| format!("{:.1} {name}", sum as f64 / count.max(1) as f64)).collect();
    say(&format!("simulation: on average {}", averages.join(", ")));
    say(&format!("simulation: {} seeds, {} failed", count, failed.len()));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn meta() -> ExitCode {
    let mut good = true;
    for seed in REPEATED_SEEDS {
        let traces: Vec<_> =
            (0..2).map(|_| seed_process(seed, None, false).output().expect("can be started").stdout).collect();
        let same = traces[0] == traces[1] && !traces[0].is_empty();
        if !same {
            let [one, two] = [0, 1].map(|index| String::from_utf8_lossy(&traces[index]).into_owned());
            let first = one.lines().zip(two.lines()).find(|(one, two)| one != two);
            say(&format!("seed {seed} differs from itself, first here: {first:?}"));
        }
        good &= same;
    }
    say(&format!("simulation: {} seeds give the same trace twice: {good}", REPEATED_SEEDS.len()));
    for planted in [Planted::AckBeforeQuorum, Planted::SkipFsync, Planted::ForgetFence, Planted::WelcomeWiped] {
        let found = run(PLANTED_SEEDS_MAX, Some(planted), 1).failed;
        match found.first() {
            Some((seed, text)) => {
                let violations: Vec<_> = text.lines().filter(|line| line.contains(" violated: ")).collect();
                // That something hangs says less than what is wrong.
                let telling = violations.iter().find(|line| !line.starts_with("liveness"));
                let verdict = telling.or(violations.first()).copied().unwrap_or("(no verdict)");
                say(&format!("simulation: planted {planted:?} found with seed {seed}: {verdict}"));
            }
            None => say(&format!("simulation: planted {planted:?} NOT found in {PLANTED_SEEDS_MAX} seeds")),
        }
        good &= !found.is_empty();
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
