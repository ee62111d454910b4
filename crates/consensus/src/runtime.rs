//! The async runtime that openraft sees: tokio, with two changes.
//!
//! Randomness comes from a seed that travels from task to spawned task, so that a
//! simulated node draws the same election timeouts in every run of a seed. And waits of
//! a few microseconds return at once: tokio would round them up to its next millisecond,
//! which is longer than the fsync whose completion openraft wants to batch with them.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use openraft::rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Waits up to this long are skipped.
const SHORTEST_SLEEP: Duration = Duration::from_micros(5);

/// Where a task outside of any scope (only tests) starts.
const DEFAULT_SEED: u64 = 0x7065_7270_6574_756f;

tokio::task_local! {
    static SEED: Cell<u64>;
}

/// A bijective mixer (SplitMix64); different `step`s give unrelated sequences.
fn mix(seed: u64, step: u64) -> u64 {
    let z = seed.wrapping_add(step);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn draw() -> u64 {
    SEED.try_with(|cell| {
        let seed = cell.get();
        cell.set(mix(seed, 0x6a09_e667_f3bc_c909));
        seed
    })
    .unwrap_or(DEFAULT_SEED)
}

/// Runs `future` and all it spawns through [`Runtime`] with randomness from `seed`.
pub(crate) async fn with_seed<F: Future>(seed: u64, future: F) -> F::Output {
    SEED.scope(Cell::new(seed), future).await
}

pub(crate) struct Runtime {
    tokio: TokioRuntime,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = Either<tokio::time::Sleep, Ready<()>>;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = StdRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let seed = mix(draw(), 0x9e37_79b9_7f4a_7c15);
        TokioRuntime::spawn(SEED.scope(Cell::new(seed), future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        if duration <= SHORTEST_SLEEP { Either::Right(ready(())) } else { Either::Left(tokio::time::sleep(duration)) }
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        if deadline <= Self::Instant::now() + SHORTEST_SLEEP {
            Either::Right(ready(()))
        } else {
            Either::Left(TokioRuntime::sleep_until(deadline))
        }
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        StdRng::seed_from_u64(draw())
    }

    fn new(threads: usize) -> Self {
        Self { tokio: TokioRuntime::new(threads) }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.tokio.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    async fn numbers(seed: u64) -> Vec<u64> {
        with_seed(seed, async {
            let child = Runtime::spawn(async { Runtime::thread_rng().next_u64() });
            let own = Runtime::thread_rng().next_u64();
            vec![own, child.await.expect("does not panic"), Runtime::thread_rng().next_u64()]
        })
        .await
    }

    #[tokio::test]
    async fn a_seed_fixes_the_numbers_of_all_its_tasks() {
        let first = numbers(1).await;
        assert_eq!(first, numbers(1).await);
        assert_ne!(first, numbers(2).await);
        assert!(first[0] != first[1] && first[0] != first[2]);
    }
}
