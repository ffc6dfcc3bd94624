//! Containers that are gone: the last ones by name, the others as numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tally::Tally;
use super::unknown::Unknown;
use crate::container::Container;

/// How many containers that are gone, and have violated something, are told by name.
const MAX_NAMED: usize = 1_000;

/// Containers that are gone.
#[derive(Debug, Default)]
pub struct Departed {
    named: VecDeque<Arc<Container>>,
    /// How many there were besides.
    pub others: u64,
    /// What was unknown of those.
    pub unknown: Unknown,
}

impl Departed {
    /// Those that are told by name.
    pub fn named(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.named.iter()
    }

    /// Adds containers that have gone. Gives the ids of those whose results are no longer to be
    /// told by name.
    pub fn add(&mut self, gone: Vec<Arc<Container>>, tally: &Tally) -> Vec<String> {
        let mut past = Vec::new();
        for container in gone {
            if tally.has(&container.id) {
                self.named.push_back(container);
            } else {
                self.count(&container);
                past.push(container.id.clone());
            }
        }
        while self.named.len() > MAX_NAMED
            && let Some(container) = self.named.pop_front()
        {
            self.count(&container);
            past.push(container.id.clone());
        }
        past
    }

    fn count(&mut self, container: &Container) {
        self.others += 1;
        self.unknown.count(container);
    }
}
