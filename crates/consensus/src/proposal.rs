//! What a group replicates.

use base::Term;
use storage::Batch;

/// Proof that a batch was evaluated on the state it will be applied to. Checked again
/// at apply on every replica; a mismatch turns the entry into a counted no-op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The term whose leader evaluated the batch.
    pub term: Term,
    /// 1 for the first proposal of the term, then one more each.
    pub seq: u64,
    /// Bumped by split, merge and restore.
    pub shard_epoch: u64,
}

/// One entry: writes that were decided under `fence`.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub fence: Fence,
    pub batch: Batch,
}
