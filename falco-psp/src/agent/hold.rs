//! The hold: events of a container that is not yet known wait here for what is looked up of it,
//! but not for long, and not too many of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the events of a container wait.
pub(super) const LONGEST: Duration = Duration::from_secs(1);
/// How many events wait.
pub(super) const MOST: usize = 10_000;

/// Events that wait, the oldest first.
#[derive(Debug)]
pub(super) struct Hold<T> {
    waiting: VecDeque<Held<T>>,
    most: usize,
    /// When the next has waited long enough, or earlier.
    next_end: Option<Instant>,
}

#[derive(Debug)]
struct Held<T> {
    container: String,
    until: Instant,
    event: T,
}

impl<T> Hold<T> {
    /// A hold for so many events.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            most,
            next_end: None,
        }
    }

    /// Holds an event of a container. If there are too many, the oldest comes out.
    pub(super) fn push(&mut self, container: &str, until: Instant, event: T) -> Option<T> {
        let oldest = match self.waiting.len() >= self.most {
            true => self.waiting.pop_front().map(|held| held.event),
            false => None,
        };
        self.next_end = Some(self.next_end.map_or(until, |end| end.min(until)));
        self.waiting.push_back(Held {
            container: container.to_owned(),
            until,
            event,
        });
        oldest
    }

    /// The events of a container, in their order.
    pub(super) fn release(&mut self, container: &str) -> Vec<T> {
        self.take(|held| held.container == container)
    }

    /// The events that have waited long enough, in their order.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<T> {
        if self.next_end().is_none_or(|end| end > now) {
            return Vec::new();
        }
        self.take(|held| held.until <= now)
    }

    /// All events, in their order.
    pub(super) fn all(&mut self) -> Vec<T> {
        self.take(|_| true)
    }

    /// When the next event has waited long enough; it may be said too early, never too late.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.next_end
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, wanted: impl Fn(&Held<T>) -> bool) -> Vec<T> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(wanted);
        self.next_end = left.iter().map(|held| held.until).min();
        self.waiting = left;
        taken.into_iter().map(|held| held.event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_by_container_in_their_order() {
        let mut hold = Hold::new(10);
        let later = Instant::now() + LONGEST;
        for (container, event) in [("a", 1), ("b", 2), ("a", 3)] {
            assert_eq!(hold.push(container, later, event), None);
        }
        assert_eq!(hold.release("a"), [1, 3]);
        assert!(hold.release("a").is_empty());
        assert_eq!(hold.all(), [2]);
        assert_eq!(hold.len(), 0);
    }

    #[test]
    fn nothing_waits_longer_than_it_may() {
        let mut hold = Hold::new(10);
        let now = Instant::now();
        hold.push("a", now + LONGEST, 1);
        hold.push("b", now + LONGEST / 2, 2);
        assert_eq!(hold.next_end(), Some(now + LONGEST / 2));
        assert!(hold.expired(now).is_empty());
        assert_eq!(hold.expired(now + LONGEST / 2), [2]);
        assert_eq!(hold.expired(now + LONGEST), [1]);
        assert_eq!(hold.next_end(), None);
    }

    #[test]
    fn of_too_many_the_oldest_comes_out() {
        let mut hold = Hold::new(2);
        let later = Instant::now() + LONGEST;
        assert_eq!(hold.push("a", later, 1), None);
        assert_eq!(hold.push("b", later, 2), None);
        assert_eq!(hold.push("a", later, 3), Some(1));
        assert_eq!((hold.len(), hold.all()), (2, vec![2, 3]));
    }
}
