//! Queues that serve each owner in turn: an owner who queues many items delays only himself. Knows nothing about the
//! items.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A queue of items. Each belongs to an owner, which `Path` names.
pub(crate) trait FairQueue {
    type Item;
    /// The owner of an item: a key at each level.
    type Path;

    fn push(&mut self, path: Self::Path, item: Self::Item);
    /// The next whose turn it is.
    fn pop(&mut self) -> Option<Self::Item>;
    fn len(&self) -> usize;
    /// Takes out the newest item of the owner with the most items.
    fn pop_of_the_most(&mut self) -> Option<Self::Item>;
    /// Makes room for one more item of `path`. Takes out the newest item of an owner who has more items than `path`
    /// would have.
    fn displace(&mut self, path: &Self::Path) -> Option<Self::Item>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> FairQueue for VecDeque<T> {
    type Item = T;
    type Path = ();

    fn push(&mut self, (): (), item: T) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        VecDeque::len(self)
    }

    fn pop_of_the_most(&mut self) -> Option<T> {
        self.pop_back()
    }

    fn displace(&mut self, (): &()) -> Option<T> {
        None
    }
}

/// One turn for each key, round and round.
#[derive(Debug)]
pub(crate) struct Round<K, Q> {
    /// Those that are not empty.
    queues: HashMap<K, Q>,
    /// Their keys, the next first.
    order: VecDeque<K>,
    len: usize,
}

impl<K, Q> Default for Round<K, Q> {
    fn default() -> Round<K, Q> {
        Round { queues: HashMap::new(), order: VecDeque::new(), len: 0 }
    }
}

impl<K: Copy + Eq + Hash, Q: FairQueue + Default> Round<K, Q> {
    /// The next whose turn it is, of those keys that may have one.
    fn pop_where(&mut self, may: impl Fn(K) -> bool) -> Option<(K, Q::Item)> {
        let place = self.order.iter().position(|key| may(*key))?;
        let key = self.order.remove(place)?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop();
        self.len -= usize::from(item.is_some());
        match queue.is_empty() {
            true => _ = self.queues.remove(&key),
            false => self.order.push_back(key),
        }
        item.map(|item| (key, item))
    }

    fn pop_from(&mut self, key: K, pop: impl FnOnce(&mut Q) -> Option<Q::Item>) -> Option<Q::Item> {
        let queue = self.queues.get_mut(&key)?;
        let item = pop(queue)?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&key);
            self.order.retain(|other| *other != key);
        }
        Some(item)
    }
}

impl<K: Copy + Eq + Hash, Q: FairQueue + Default> FairQueue for Round<K, Q> {
    type Item = Q::Item;
    type Path = (K, Q::Path);

    fn push(&mut self, (key, path): Self::Path, item: Q::Item) {
        let queue = self.queues.entry(key).or_default();
        if queue.is_empty() {
            self.order.push_back(key);
        }
        queue.push(path, item);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Q::Item> {
        let key = self.order.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop();
        self.len -= usize::from(item.is_some());
        match queue.is_empty() {
            true => _ = self.queues.remove(&key),
            false => self.order.push_back(key),
        }
        item
    }

    fn len(&self) -> usize {
        self.len
    }

    fn pop_of_the_most(&mut self) -> Option<Q::Item> {
        let (key, _) = self.queues.iter().max_by_key(|(_, queue)| queue.len())?;
        self.pop_from(*key, Q::pop_of_the_most)
    }

    fn displace(&mut self, (mine, path): &Self::Path) -> Option<Q::Item> {
        let (key, most) = self.queues.iter().map(|(key, queue)| (*key, queue.len())).max_by_key(|(_, most)| *most)?;
        let of_mine = self.queues.get(mine).map_or(0, Q::len);
        if most > of_mine + 1 {
            return self.pop_from(key, Q::pop_of_the_most);
        }
        if of_mine == most { self.pop_from(*mine, |queue| queue.displace(path)) } else { None }
    }
}

/// A bounded number of turns at once. Those who wait are served by key in turn. If there is more than one turn, one key
/// never has all of them. So another key does not wait for a turn that has just begun.
#[derive(Debug)]
pub struct Turns<K: Copy + Eq + Hash> {
    /// How many turns one key may have.
    most: usize,
    state: Mutex<TurnState<K>>,
}

#[derive(Debug)]
struct TurnState<K: Copy + Eq + Hash> {
    free: usize,
    /// How many each key has; none that has none.
    held: HashMap<K, usize>,
    waiting: Round<K, VecDeque<oneshot::Sender<Turn<K>>>>,
}

/// A turn; given on when dropped.
#[derive(Debug)]
pub struct Turn<K: Copy + Eq + Hash> {
    /// `None` once it was given on.
    turns: Option<Arc<Turns<K>>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    pub fn new(at_once: usize) -> Arc<Turns<K>> {
        Turns::with(at_once, (at_once - 1).max(1))
    }

    /// So many turns, of which one key has so many at the most.
    pub fn with(at_once: usize, most: usize) -> Arc<Turns<K>> {
        let state = TurnState { free: at_once, held: HashMap::new(), waiting: Round::default() };
        Arc::new(Turns { most, state: Mutex::new(state) })
    }

    /// Waits for a turn of `key`. If the caller stops waiting, the next one gets the turn.
    pub async fn take(self: &Arc<Turns<K>>, key: K) -> Turn<K> {
        let mine = {
            let mut state = self.state();
            if state.free > 0 && state.held(key) < self.most {
                state.free -= 1;
                *state.held.entry(key).or_default() += 1;
                return Turn { turns: Some(self.clone()), key };
            }
            let (sender, mine) = oneshot::channel();
            state.waiting.push((key, ()), sender);
            mine
        };
        match mine.await {
            Ok(turn) => turn,
            // Nobody drops a sender but with the turns themselves.
            Err(_) => Turn { turns: None, key },
        }
    }

    /// Takes a turn back from `key`: to whom it goes.
    fn pass_on(&self, key: K) -> Option<(K, oneshot::Sender<Turn<K>>)> {
        let (most, mut state) = (self.most, self.state());
        let TurnState { free, held, waiting } = &mut *state;
        if let Entry::Occupied(mut held) = held.entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        let next = waiting.pop_where(|key| held.get(&key).is_none_or(|held| *held < most));
        match &next {
            Some((key, _)) => *held.entry(*key).or_default() += 1,
            None => *free += 1,
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, TurnState<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> TurnState<K> {
    fn held(&self, key: K) -> usize {
        self.held.get(&key).copied().unwrap_or_default()
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        let mut key = self.key;
        while let Some((next, sender)) = turns.pass_on(key) {
            match sender.send(Turn { turns: Some(turns.clone()), key: next }) {
                Ok(()) => return,
                // Whoever waited has gone.
                Err(mut turn) => turn.turns = None,
            }
            key = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Two = Round<u8, Round<u8, VecDeque<u32>>>;

    fn all(queue: &mut Two) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn turns_go_round_at_each_level() {
        let mut queue = Two::default();
        // One network floods from two of its hosts; another has one item.
        (0..4).for_each(|i| queue.push((1, (1, ())), i));
        queue.push((1, (2, ())), 10);
        queue.push((2, (9, ())), 20);
        assert_eq!(queue.len(), 6);
        assert_eq!(all(&mut queue), [0, 20, 10, 1, 2, 3]);
        assert!(queue.is_empty() && queue.queues.is_empty() && queue.order.is_empty());
    }

    #[test]
    fn a_full_queue_makes_room_at_the_cost_of_whoever_has_the_most() {
        let mut queue = Two::default();
        (0..5).for_each(|i| queue.push((1, (1, ())), i));
        queue.push((1, (2, ())), 10);
        assert_eq!(queue.displace(&(2, (1, ()))), Some(4), "another network");
        queue.push((2, (1, ())), 20);
        assert_eq!(queue.displace(&(1, (2, ()))), Some(3), "another host of the same network");
        assert_eq!(queue.displace(&(1, (1, ()))), None, "nobody at his own cost");
        assert_eq!(all(&mut queue), [0, 20, 10, 1, 2]);
    }

    #[tokio::test]
    async fn a_turn_goes_to_the_next_key_and_none_is_lost_with_who_stops_waiting() {
        let turns = Turns::new(1);
        let first = turns.take(1).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |key: u8, name: u8| {
            let (turns, order) = (turns.clone(), order.clone());
            tokio::spawn(async move {
                let _turn = turns.take(key).await;
                order.lock().expect("nobody panics").push(name);
            })
        };
        let mut waiting = Vec::new();
        for (key, name) in [(1, 10), (1, 11), (1, 12), (2, 20)] {
            let before = turns.state().waiting.len();
            waiting.push(wait(key, name));
            while turns.state().waiting.len() == before {
                tokio::task::yield_now().await;
            }
        }
        waiting[1].abort();
        assert!((&mut waiting[1]).await.is_err());
        drop(first);
        for task in waiting.into_iter().filter(|task| !task.is_finished()) {
            let _ = task.await;
        }
        assert_eq!(*order.lock().expect("nobody panics"), [10, 20, 12]);
        // A turn that was handed over and never taken is given on.
        let held = turns.take(1).await;
        let mut late = Box::pin(turns.take(2));
        assert!(futures_ready(&mut late).is_none());
        drop(held);
        drop(late);
        let _again = turns.take(3).await;
    }

    #[tokio::test]
    async fn no_key_has_all_turns() {
        let turns = Turns::new(3);
        let (first, second) = (turns.take(1).await, turns.take(1).await);
        let mut third = Box::pin(turns.take(1));
        assert!(futures_ready(&mut third).is_none(), "one is left for others");
        let other = turns.take(2).await;
        let mut next = Box::pin(turns.take(3));
        assert!(futures_ready(&mut next).is_none(), "all are taken");
        drop(other);
        let next = futures_ready(&mut next).expect("who waited longer may not have it");
        drop(first);
        let third = futures_ready(&mut third).expect("one of its own came back");
        drop((second, third, next));
        let state = turns.state();
        assert_eq!((state.free, state.held.len()), (3, 0));
    }

    #[tokio::test]
    async fn a_key_has_no_more_turns_than_it_may() {
        let turns = Turns::with(8, 1);
        let first = turns.take(1).await;
        let mut again = Box::pin(turns.take(1));
        assert!(futures_ready(&mut again).is_none());
        let _other = turns.take(2).await;
        drop(first);
        assert!(futures_ready(&mut again).is_some());
    }

    /// What a future gives if it is ready now.
    fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
