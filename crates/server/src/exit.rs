//! What the process says when it ends. `docs/operations/disk.md` lists the codes.

use std::process::ExitCode;

use storage::KvError;

use crate::assembly::Failed;

/// `EX_IOERR` of `sysexits.h`: the storage failed under a running node, or could not be
/// opened. Supervisors start the process again; what was acknowledged is on disk.
const STORAGE_FAILED: u8 = 74;

/// A running node must not go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the node stops so that it cannot answer wrongly")]
pub(crate) struct Stopped(pub(crate) Failed);

/// What a command has found out, and has said already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Verdict {
    #[error("the cluster is not healthy")]
    Unhealthy,
    #[error("it would do harm")]
    Unsafe,
}

impl Verdict {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Unhealthy => 3,
            Self::Unsafe => 4,
        })
    }
}

pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    let is_of_storage = error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(Stopped(Failed::Storage(_))))
            || matches!(cause.downcast_ref(), Some(storage::PairError::Wal(storage::WalError::Io { .. })))
            || matches!(cause.downcast_ref(), Some(storage::PairError::Kv(error)) if is_of_engine(error))
            || matches!(cause.downcast_ref(), Some(cluster::NodeError::Kv(error)) if is_of_engine(error))
            || matches!(cause.downcast_ref(), Some(cluster::NodeError::Host(_)))
            || matches!(cause.downcast_ref(), Some(storage::WalError::Io { .. }))
            || cause.downcast_ref().is_some_and(is_of_engine)
            || matches!(cause.downcast_ref::<std::io::Error>(), Some(error) if is_of_disk(error))
    });
    if is_of_storage { ExitCode::from(STORAGE_FAILED) } else { ExitCode::FAILURE }
}

fn is_of_engine(error: &KvError) -> bool {
    matches!(error, KvError::Engine(_) | KvError::Busy(_))
}

/// Errors that only a disk has.
fn is_of_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded)
}
