//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The kernel counts CPU time for user space in hundredths of a second everywhere.
const TICK: Duration = Duration::from_millis(10);

/// What the server's processes, and this one, have used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Usage {
    pub server_cpu: Duration,
    pub server_resident_bytes: u64,
    pub own_cpu: Duration,
}

impl Usage {
    pub(super) fn of(pids: &[u32]) -> anyhow::Result<Self> {
        let mut usage = Self { own_cpu: cpu("self").unwrap_or_default(), ..Self::default() };
        for pid in pids {
            let pid = pid.to_string();
            usage.server_cpu += cpu(&pid)?;
            usage.server_resident_bytes += resident_bytes(&pid)?;
        }
        Ok(usage)
    }
}

fn cpu(pid: &str) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&stat).map(|ticks| TICK * ticks).with_context(|| format!("{path} has an unknown form"))
}

/// User and system time: fields 14 and 15. The name in field 2 may contain anything, so
/// counting begins after its last parenthesis.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes(pid: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).with_context(|| format!("{path} has an unknown form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 2 3";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("nonsense"), None);
    }
}
