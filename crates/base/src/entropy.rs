//! Randomness as a seam: run ids, jitter and tokens come from here and nowhere else.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::Timestamp;

pub trait Entropy: Send + Sync + 'static {
    fn next_u64(&self) -> u64;

    /// A random UUID (version 4), hyphenated.
    fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid().to_string()
    }

    /// A UUID that sorts by time (version 7), hyphenated; the form of run ids.
    fn uuid_at(&self, now: Timestamp) -> String {
        let random = self.bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&random[..10]);
        uuid::Builder::from_unix_timestamp_millis(now.as_nanos() / 1_000_000, &tail).into_uuid().to_string()
    }

    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes
    }
}

/// The operating system's generator, buffered per thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// A generator whose whole sequence follows from its seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().expect("no panic while held").next_u64()
    }
}
