//! How much room is left where data is kept, and when that is too little. A pure rule; who
//! looks, and how often, is decided elsewhere.
//!
//! ```text
//!            free < reserve             free < reserve / 4
//!   Ample ─────────────────▶ Low ─────────────────────────▶ Critical
//!     ▲                     │  ▲                              │
//!     └── free ≥ 5/4 reserve┘  └──── free ≥ 5/16 reserve ─────┘
//! ```
//! The way back is longer than the way there, so that a node on the edge does not flicker.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Of a file system, in bytes. What is kept back for the superuser does not count as free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// What is left, compared with the reserve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum SpaceLevel {
    #[default]
    Ample,
    /// Below the reserve: nothing new may begin, what has begun goes on.
    Low,
    /// Below a quarter of the reserve: only what makes room, or must be, is still written.
    Critical,
}

/// Where data is kept: the seam through which free space is looked at.
pub trait Volume: Send + Sync + 'static {
    /// `None` where there is no bound to speak of, as in memory.
    fn space(&self) -> io::Result<Option<Space>>;
    /// What people call it.
    fn place(&self) -> String;
}

/// A directory of the machine's file system.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    #[must_use]
    pub fn new(path: &Path) -> Self {
        // A message that names a relative path helps nobody who did not start the process.
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }
}

impl Volume for Directory {
    fn space(&self) -> io::Result<Option<Space>> {
        let stat = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Some(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) }))
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}

/// How much is to be kept free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DiskReserve {
    /// 2 % of the file system, at least 256 MiB and at most 2 GiB; on one of less than
    /// 1 GiB a quarter of it. More would refuse work on disks that have room for days.
    #[default]
    Automatic,
    Bytes(u64),
    /// Of the file system, 0 to 90.
    Percent(u8),
}

/// Below it the store cannot count on one more segment of the log and one more table.
const AUTOMATIC_BYTES_MIN: u64 = 256 << 20;
const AUTOMATIC_BYTES_MAX: u64 = 2 << 30;
const PERCENT_MAX: u8 = 90;

impl DiskReserve {
    /// In bytes, on a file system of `total` bytes.
    #[must_use]
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Automatic => (total / 50).clamp(AUTOMATIC_BYTES_MIN, AUTOMATIC_BYTES_MAX).min(total / 4),
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }

    /// The level at `space`, when it was `before` the last time.
    #[must_use]
    pub fn level(self, before: SpaceLevel, space: Space) -> SpaceLevel {
        let reserve = self.bytes(space.total);
        let below = |threshold: u64, was_below: bool| {
            let threshold = if was_below { threshold + threshold / 4 } else { threshold };
            space.free < threshold
        };
        if below(reserve / 4, before == SpaceLevel::Critical) {
            SpaceLevel::Critical
        } else if below(reserve, before >= SpaceLevel::Low) {
            SpaceLevel::Low
        } else {
            SpaceLevel::Ample
        }
    }

    /// How much must be free for the level to be ample again, once it was not.
    #[must_use]
    pub fn ample_again(self, total: u64) -> u64 {
        let reserve = self.bytes(total);
        reserve + reserve / 4
    }
}

/// Not a reserve.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is neither a number of bytes (as 512MiB), nor a percentage from 0 to 90 (as 5%), nor auto")]
pub struct ReserveError(String);

impl FromStr for DiskReserve {
    type Err = ReserveError;

    fn from_str(text: &str) -> Result<Self, ReserveError> {
        let refused = || ReserveError(text.to_owned());
        if text == "auto" {
            return Ok(Self::Automatic);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| *percent <= PERCENT_MAX);
            return percent.map(Self::Percent).ok_or_else(refused);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(refused()),
        };
        let number: u64 = digits.parse().map_err(|_| refused())?;
        number.checked_mul(1 << shift).map(Self::Bytes).ok_or_else(refused)
    }
}

impl fmt::Display for DiskReserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Automatic => f.write_str("auto"),
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn the_automatic_reserve_suits_disks_of_every_size() {
        let bytes = |total| DiskReserve::Automatic.bytes(total);
        assert_eq!(bytes(64 * MIB), 16 * MIB);
        assert_eq!(bytes(GIB), 256 * MIB);
        assert_eq!(bytes(4 * GIB), 256 * MIB);
        assert_eq!(bytes(50 * GIB), GIB);
        assert_eq!(bytes(10_000 * GIB), 2 * GIB);
    }

    #[test]
    fn the_way_back_is_longer() {
        use SpaceLevel::{Ample, Critical, Low};
        let reserve = DiskReserve::Bytes(400);
        let level = |before, free| reserve.level(before, Space { free, total: 10_000 });
        assert_eq!(level(Ample, 400), Ample);
        assert_eq!(level(Ample, 399), Low);
        assert_eq!(level(Low, 499), Low);
        assert_eq!(level(Low, 500), Ample);
        assert_eq!(reserve.ample_again(10_000), 500);
        assert_eq!(level(Low, 100), Low);
        assert_eq!(level(Ample, 99), Critical);
        assert_eq!(level(Critical, 124), Critical);
        assert_eq!(level(Critical, 125), Low);
        assert_eq!(level(Critical, 499), Low);
        assert_eq!(level(Critical, 500), Ample);
        assert_eq!(DiskReserve::Bytes(0).level(Ample, Space { free: 0, total: 1 }), Ample, "0 is off");
    }

    #[test]
    fn reserves_are_written_as_bytes_or_percent() {
        assert_eq!("auto".parse(), Ok(DiskReserve::Automatic));
        assert_eq!("512MiB".parse(), Ok(DiskReserve::Bytes(512 * MIB)));
        assert_eq!("0".parse(), Ok(DiskReserve::Bytes(0)));
        assert_eq!("5%".parse(), Ok(DiskReserve::Percent(5)));
        for wrong in ["", "91%", "-1%", "5 %", "12MB", "MiB", "99999999TiB"] {
            assert!(wrong.parse::<DiskReserve>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_real_directory_has_room() {
        let space = Directory::new(Path::new(".")).space().unwrap().unwrap();
        assert!(space.free <= space.total && space.total > 0, "{space:?}");
        assert!(Directory::new(Path::new("/nowhere/at/all")).space().is_err());
    }
}
