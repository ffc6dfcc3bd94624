//! The items of all files, by kind and name.

use std::collections::HashMap;

use crate::rules::expand::List;
use crate::rules::items::{ListItem, MacroItem, RuleItem};

/// The items by kind, each name once.
#[derive(Default)]
pub(super) struct Collected {
    /// How many items there have been.
    pub(super) count: usize,
    pub(super) lists: Named<ListItem>,
    pub(super) macros: Named<MacroItem>,
    pub(super) rules: Named<RuleItem>,
}

/// Items of one kind, in the order in which their names were first seen.
pub(super) struct Named<T> {
    pub(super) all: Vec<Entry<T>>,
    by_name: HashMap<String, usize>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            by_name: HashMap::new(),
        }
    }
}

pub(super) struct Entry<T> {
    pub(super) item: T,
    /// The number of the item that first defined it.
    pub(super) first: usize,
    /// The number of the item that last changed it.
    pub(super) last: usize,
}

impl<T> Named<T> {
    pub(super) fn get(&self, name: &str) -> Option<&Entry<T>> {
        self.all.get(*self.by_name.get(name)?)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry<T>> {
        self.all.get_mut(*self.by_name.get(name)?)
    }

    /// Adds an item, or replaces the one of the same name.
    pub(super) fn define(&mut self, name: &str, item: T, number: usize) {
        if let Some(entry) = self.get_mut(name) {
            entry.item = item;
            entry.last = number;
            return;
        }
        self.by_name.insert(name.to_owned(), self.all.len());
        self.all.push(Entry {
            item,
            first: number,
            last: number,
        });
    }
}

/// The lists, with the names of earlier lists among their items replaced by what these hold. That
/// goes one level deep.
pub(super) fn lists(collected: &Named<ListItem>) -> Vec<List> {
    let mut used = Vec::new();
    let filled: Vec<List> = collected
        .all
        .iter()
        .map(|entry| {
            let mut items = Vec::new();
            for item in &entry.item.items {
                match collected.get(item) {
                    Some(other) if other.first < entry.last => {
                        used.push(item);
                        items.extend(other.item.items.iter().cloned());
                    }
                    _ => items.push(item.clone()),
                }
            }
            List::new(entry.item.name.clone(), &items)
        })
        .collect();
    for list in &filled {
        if used.contains(&&list.name) {
            list.used.set(true);
        }
    }
    filled
}
