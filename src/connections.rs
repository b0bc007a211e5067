//! Who is connected, counted: in all, from each address, and those who have not shown a living token ("strangers"). Where
//! there is no room, the stranger who was silent for the longest goes; who has shown a token never does, because the
//! clients in use do not come back by themselves. Knows no socket and no protocol.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_address: usize,
    /// Of those who have not shown a living token.
    pub strangers: usize,
}

/// Who is connected.
#[derive(Debug)]
pub struct Connections {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: ConnectionLimits,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    strangers: HashMap<u64, Arc<Record>>,
    /// The number of the next connection.
    next: u64,
}

/// What is known of one connection from outside.
#[derive(Debug)]
struct Record {
    number: u64,
    address: IpAddr,
    /// When the peer last said something, in milliseconds since the start; [`AT_WORK`] while it waits for us.
    heard: AtomicU64,
    task: OnceLock<AbortHandle>,
}

/// A peer that waits for an answer is not silent.
const AT_WORK: u64 = u64::MAX;

/// A connection's place in the count; given up when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    record: Arc<Record>,
    is_stranger: bool,
}

/// By which a connection can be shown out.
#[derive(Debug)]
pub struct Door(Arc<Record>);

impl Connections {
    /// Nobody yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Connections> {
        let state = State { limits, total: 0, by_address: HashMap::new(), strangers: HashMap::new(), next: 0 };
        Arc::new(Connections { begun: Instant::now(), state: Mutex::new(state) })
    }

    /// Takes other limits. Who is there stays.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.state().limits = limits;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.state().total
    }

    /// Lets somebody in, if need be in the place of a silent stranger.
    pub fn enter(self: &Arc<Connections>, address: IpAddr) -> Option<Place> {
        let mut state = self.state();
        if state.by_address.get(&address).is_some_and(|here| *here >= state.limits.per_address) {
            return None;
        }
        if state.total >= state.limits.total || state.strangers.len() >= state.limits.strangers {
            state.show_out_a_stranger()?;
        }
        state.total += 1;
        *state.by_address.entry(address).or_default() += 1;
        let number = state.next;
        state.next += 1;
        let record = Arc::new(Record { number, address, heard: self.now().into(), task: OnceLock::new() });
        state.strangers.insert(number, record.clone());
        Some(Place { connections: self.clone(), record, is_stranger: true })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(AT_WORK - 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the connection of the stranger who was silent for the longest, and takes it off the count at once.
    fn show_out_a_stranger(&mut self) -> Option<()> {
        let heard = |record: &Record| record.heard.load(Ordering::Relaxed);
        let silent = self.strangers.values().filter(|record| heard(record) != AT_WORK && record.task.get().is_some());
        let longest = silent.min_by_key(|record| (heard(record), record.number))?.clone();
        longest.task.get()?.abort();
        self.strangers.remove(&longest.number);
        self.leave(longest.address);
        Some(())
    }

    fn leave(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(here) = self.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Place {
    /// The way out, to be told which task has the place.
    pub fn door(&self) -> Door {
        Door(self.record.clone())
    }

    /// The peer has said something, be it half a line.
    pub fn heard(&self) {
        if self.is_stranger {
            self.record.heard.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    /// The peer waits for an answer.
    pub fn at_work(&self) {
        if self.is_stranger {
            self.record.heard.store(AT_WORK, Ordering::Relaxed);
        }
    }

    /// The last token that was shown was, or was not, that of a living session.
    pub fn showed_token(&mut self, living: bool) {
        if living != self.is_stranger {
            return;
        }
        self.is_stranger = !living;
        let mut state = self.connections.state();
        if living {
            state.strangers.remove(&self.record.number);
        } else {
            self.record.heard.store(self.connections.now(), Ordering::Relaxed);
            state.strangers.insert(self.record.number, self.record.clone());
        }
    }
}

impl Door {
    /// The connection ends when this is aborted.
    pub fn leads_to(self, task: AbortHandle) {
        // A door is made once for each place, so nothing is there yet.
        let _ = self.0.task.set(task);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        // A stranger who is not among the strangers was shown out, and is off the count.
        if !self.is_stranger || state.strangers.remove(&self.record.number).is_some() {
            state.leave(self.record.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn connections(total: usize, per_address: usize, strangers: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits { total, per_address, strangers })
    }

    /// Somebody who came in with a task that only ends when it is shown out, a little later than those before.
    async fn enter(connections: &Arc<Connections>, last: u8) -> Option<Place> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let place = connections.enter(address(last))?;
        place.door().leads_to(tokio::spawn(std::future::pending::<()>()).abort_handle());
        Some(place)
    }

    fn was_shown_out(place: &Place) -> bool {
        place.is_stranger && !place.connections.state().strangers.contains_key(&place.record.number)
    }

    #[tokio::test]
    async fn the_longest_silent_stranger_makes_room() {
        let connections = connections(3, 3, 3);
        let mut first = enter(&connections, 1).await.expect("there is room");
        let second = enter(&connections, 2).await.expect("there is room");
        let third = enter(&connections, 3).await.expect("there is room");
        first.showed_token(true);
        tokio::time::sleep(Duration::from_millis(2)).await;
        second.heard();
        let fourth = enter(&connections, 4).await.expect("the third makes room");
        assert_eq!([&first, &second, &third, &fourth].map(was_shown_out), [false, false, true, false]);
        assert_eq!(connections.count(), 3);
        drop(third);
        assert_eq!(connections.count(), 3, "it was off the count already");
        // Who waits for an answer is not silent, and with a session nobody is a stranger.
        second.at_work();
        fourth.at_work();
        assert!(enter(&connections, 5).await.is_none());
        first.showed_token(false);
        enter(&connections, 5).await.expect("the first has logged out");
        assert!(was_shown_out(&first));
    }

    #[tokio::test]
    async fn strangers_and_addresses_have_limits_of_their_own() {
        let connections = connections(10, 2, 3);
        let mut known = enter(&connections, 1).await.expect("there is room");
        known.showed_token(true);
        let places = [enter(&connections, 2).await, enter(&connections, 2).await].map(|p| p.expect("there is room"));
        assert!(enter(&connections, 2).await.is_none(), "one address has two");
        let others = [enter(&connections, 3).await, enter(&connections, 4).await].map(|p| p.expect("there is room"));
        assert_eq!(places.each_ref().map(was_shown_out), [true, false], "three strangers are too many");
        assert!(enter(&connections, 2).await.is_some(), "the first there was shown out");
        drop((places, others, known));
        assert_eq!(connections.count(), 0);
        assert!(connections.state().by_address.is_empty());
    }
}
