//! Who is connected: how many in all, how many from each address, and who has not said
//! yet what he wants, oldest first.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::AbortHandle;

/// Those that may knock at the same time, in all and from one address. When more come, the
/// one that was silent longest gives way: whoever means it has said so within milliseconds.
const KNOCKING_MAX: usize = 1024;
pub(super) const KNOCKING_PER_ADDRESS_MAX: usize = 256;

pub(super) struct Ledger {
    connections_max: usize,
    per_address_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    open: usize,
    addresses: BTreeMap<IpAddr, Address>,
    /// By id, which is by age.
    knocking: BTreeMap<u64, Knock>,
}

#[derive(Default)]
struct Address {
    open: usize,
    knocking: usize,
}

struct Knock {
    address: IpAddr,
    /// None until the task runs.
    task: Option<AbortHandle>,
}

impl Ledger {
    pub(super) fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, per_address_max, state: Mutex::default() })
    }

    /// Counts a connection; it is uncounted with its ticket.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Ticket, &'static str> {
        let mut state = self.lock();
        if state.open >= self.connections_max {
            return Err("too many connections");
        }
        if state.addresses.get(&address).is_some_and(|counts| counts.open >= self.per_address_max) {
            return Err("too many connections from this address");
        }
        state.open += 1;
        state.last_id += 1;
        let id = state.last_id;
        state.knocking.insert(id, Knock { address, task: None });
        let counts = state.addresses.entry(address).or_default();
        counts.open += 1;
        counts.knocking += 1;
        Ok(Ticket { ledger: Arc::clone(self), address, id })
    }

    /// Notes the task of somebody who knocks, and ends that of the oldest when there are
    /// too many. Returns whether it did.
    pub(super) fn knocks(&self, id: u64, task: AbortHandle) -> bool {
        let mut state = self.lock();
        let Some(knock) = state.knocking.get_mut(&id) else { return false };
        knock.task = Some(task);
        let address = knock.address;
        let crowded = state.addresses.get(&address).is_some_and(|counts| counts.knocking > KNOCKING_PER_ADDRESS_MAX);
        let oldest = if crowded {
            state.knocking.iter().find(|(_, knock)| knock.address == address).map(|(&id, _)| id)
        } else if state.knocking.len() > KNOCKING_MAX {
            state.knocking.first_key_value().map(|(&id, _)| id)
        } else {
            None
        };
        let Some(oldest) = oldest else { return false };
        let task = state.remove_knock(oldest);
        drop(state);
        // Drops the ticket, which takes the lock.
        if let Some(task) = task {
            task.abort();
        }
        true
    }

    #[cfg(test)]
    pub(super) fn knocking(&self) -> usize {
        self.lock().knocking.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl State {
    fn remove_knock(&mut self, id: u64) -> Option<AbortHandle> {
        let knock = self.knocking.remove(&id)?;
        if let Some(counts) = self.addresses.get_mut(&knock.address) {
            counts.knocking -= 1;
        }
        knock.task
    }
}

/// A place among the connections.
pub(super) struct Ticket {
    ledger: Arc<Ledger>,
    address: IpAddr,
    id: u64,
}

impl Ticket {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Has said who he is.
    pub(super) fn let_in(&self) {
        self.ledger.lock().remove_knock(self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        state.remove_knock(self.id);
        state.open -= 1;
        if let Some(counts) = state.addresses.get_mut(&self.address) {
            counts.open -= 1;
            if counts.open == 0 {
                state.addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn connections_are_counted_in_all_and_per_address() {
        let ledger = Ledger::new(3, 2);
        let first = ledger.enter(address(1)).ok().unwrap();
        let _second = ledger.enter(address(1)).ok().unwrap();
        assert_eq!(ledger.enter(address(1)).err(), Some("too many connections from this address"));
        let _third = ledger.enter(address(2)).ok().unwrap();
        assert_eq!(ledger.enter(address(3)).err(), Some("too many connections"));
        first.let_in();
        drop(first);
        let _again = ledger.enter(address(1)).ok().unwrap();
        assert_eq!(ledger.lock().addresses.len(), 2);
    }

    #[tokio::test]
    async fn the_one_that_was_silent_longest_gives_way() {
        let ledger = Ledger::new(10_000, 10_000);
        let mut tasks = tokio::task::JoinSet::new();
        let mut knock = |last| {
            let ticket = ledger.enter(address(last)).ok().unwrap();
            let id = ticket.id();
            let task = tasks.spawn(async move {
                let _ticket = ticket;
                std::future::pending::<()>().await;
            });
            ledger.knocks(id, task)
        };
        assert!(!knock(2));
        for _ in 0..KNOCKING_PER_ADDRESS_MAX {
            assert!(!knock(1));
        }
        // One too many from that address: its own oldest goes, the older one of another stays.
        assert!(knock(1));
        assert!(!knock(2));
        while tasks.join_next().await.expect("an aborted one").is_ok() {}
        let state = ledger.lock();
        assert_eq!(state.knocking.len(), KNOCKING_PER_ADDRESS_MAX + 2);
        assert_eq!(state.addresses[&address(1)].open, KNOCKING_PER_ADDRESS_MAX);
        assert_eq!(state.addresses[&address(2)].knocking, 2);
    }
}
