//! What the kernel was asked for: the checks of a capability, granted and refused.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MOST;
use crate::event::Process;

/// The checks of one capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// All of them.
    #[serde(flatten)]
    pub all: Outcomes,
    /// By the call that needed it.
    pub calls: BTreeMap<String, Outcomes>,
    /// The first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Check>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Check>,
}

/// How checks ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// How many found the capability.
    pub granted: u64,
    /// How many did not.
    pub denied: u64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// When: nanoseconds since the Unix epoch; in JSON in RFC 3339.
    #[serde(
        rename = "time",
        serialize_with = "to_text",
        deserialize_with = "from_text"
    )]
    pub time_ns: u64,
    /// The call.
    pub call: String,
    /// Whether the capability was not there.
    pub denied: bool,
    /// The process id on the host.
    pub pid: u32,
    /// The process's short name; not of what the kernel has only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its command line, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

fn to_text<S: Serializer>(ns: &u64, to: S) -> Result<S::Ok, S::Error> {
    let time = Timestamp::from_nanosecond(i128::from(*ns)).unwrap_or_default();
    to.collect_str(&format_args!("{time:.3}"))
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let time: Timestamp = String::deserialize(from)?
        .parse()
        .map_err(D::Error::custom)?;
    Ok(u64::try_from(time.as_nanosecond()).unwrap_or(0))
}

impl Outcomes {
    /// So many that ended the same.
    fn of(denied: bool, times: u64) -> Self {
        match denied {
            true => Self {
                granted: 0,
                denied: times,
            },
            false => Self {
                granted: times,
                denied: 0,
            },
        }
    }

    fn add(&mut self, other: Self) {
        self.granted = self.granted.saturating_add(other.granted);
        self.denied = self.denied.saturating_add(other.denied);
    }
}

impl Check {
    /// A check that was told.
    pub(super) fn new(time_ns: u64, call: &str, denied: bool, process: &Process) -> Self {
        let arguments = process.arguments.as_ref();
        Self {
            time_ns,
            call: call.to_owned(),
            denied,
            pid: process.pid,
            process: Some(process.name.clone()),
            command: arguments.map(|line| line.text().to_owned()),
        }
    }
}

impl Checks {
    /// Adds what was seen of so many checks that ended as this one; false if its call is one too many.
    pub(super) fn add(&mut self, check: Check, times: u64) -> bool {
        let outcomes = Outcomes::of(check.denied, times);
        self.all.add(outcomes);
        let is_kept = self.add_call(&check.call, outcomes);
        self.keep(check);
        is_kept
    }

    /// Adds other checks of the same capability; false if there were too many calls.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        self.all.add(other.all);
        let mut are_kept = true;
        for (call, outcomes) in &other.calls {
            are_kept &= self.add_call(call, *outcomes);
        }
        for check in [&other.first, &other.last].into_iter().flatten() {
            self.keep(check.clone());
        }
        are_kept
    }

    fn add_call(&mut self, call: &str, outcomes: Outcomes) -> bool {
        let has_room = self.calls.len() < MOST;
        match self.calls.get_mut(call) {
            Some(known) => known.add(outcomes),
            None if has_room => _ = self.calls.insert(call.to_owned(), outcomes),
            None => return false,
        }
        true
    }

    /// Keeps a check if it is the first or the last.
    fn keep(&mut self, check: Check) {
        // Of two at the same time the one is kept of which more is known.
        let rank = |check: &Check| (check.time_ns, check.process.is_some());
        if self
            .last
            .as_ref()
            .is_none_or(|last| rank(last) <= rank(&check))
        {
            self.last = Some(check.clone());
        }
        if self
            .first
            .as_ref()
            .is_none_or(|first| check.time_ns < first.time_ns)
        {
            self.first = Some(check);
        }
    }

    /// The calls in which it was refused, and how often.
    fn refused(&self) -> impl Iterator<Item = (&str, u64)> {
        let calls = self
            .calls
            .iter()
            .filter(|(_, outcomes)| outcomes.denied > 0);
        calls.map(|(call, outcomes)| (&**call, outcomes.denied))
    }
}

/// What was refused, a capability each: `NET_RAW (socket, 3×)`.
pub(crate) fn refused(checks: &BTreeMap<String, Checks>) -> Vec<String> {
    // For a file the kernel asks for DAC_READ_SEARCH first, and where that is not there for DAC_OVERRIDE,
    // which will do as well (`generic_permission` of `fs/namei.c`).
    let overrides = checks.get("DAC_OVERRIDE").into_iter();
    let overrides = overrides.flat_map(|checks| &checks.calls);
    let overrides = overrides.filter(|(_, outcomes)| outcomes.granted > 0);
    let overrides: HashSet<&str> = overrides.map(|(call, _)| &**call).collect();
    let each = checks.iter().filter_map(|(capability, checks)| {
        let calls = checks
            .refused()
            .filter(|(call, _)| capability != "DAC_READ_SEARCH" || !overrides.contains(call));
        let calls: Vec<String> = calls
            .map(|(call, times)| format!("{call}, {times}×"))
            .collect();
        (!calls.is_empty()).then(|| format!("{capability} ({})", calls.join("; ")))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time_ns: u64, call: &str, denied: bool) -> Check {
        let process = Process {
            name: "sh".to_owned(),
            ..Process::default()
        };
        Check::new(time_ns, call, denied, &process)
    }

    /// One that the kernel has only counted.
    fn repeat(time_ns: u64, call: &str, denied: bool) -> Check {
        Check {
            process: None,
            ..check(time_ns, call, denied)
        }
    }

    #[test]
    fn the_first_and_the_last_are_kept_whatever_comes_when() {
        let mut checks = Checks::default();
        checks.add(check(20, "chown", true), 1);
        checks.add(check(10, "fchown", false), 1);
        checks.add(repeat(30, "chown", true), 5);
        assert_eq!(checks.first, Some(check(10, "fchown", false)));
        assert_eq!(checks.last, Some(repeat(30, "chown", true)));
        let mut node = Checks::default();
        node.add(check(5, "chown", false), 2);
        node.add(check(30, "chown", true), 1);
        assert!(checks.absorb(&node));
        let outcomes = |granted, denied| Outcomes { granted, denied };
        assert_eq!(checks.all, outcomes(3, 7));
        assert_eq!(checks.calls["chown"], outcomes(2, 7));
        assert_eq!(checks.calls["fchown"], outcomes(1, 0));
        assert_eq!(checks.first, Some(check(5, "chown", false)));
        assert_eq!(checks.last, Some(check(30, "chown", true)));
    }

    #[test]
    fn calls_are_bounded_and_the_sum_is_not() {
        let mut checks = Checks::default();
        for call in 0..MOST + 10 {
            let is_kept = checks.add(check(1, &format!("syscall {call}"), true), 1);
            assert_eq!(is_kept, call < MOST);
        }
        assert_eq!(checks.calls.len(), MOST);
        assert_eq!(checks.all.denied, MOST as u64 + 10);
    }

    #[test]
    fn json_has_times_that_people_read() {
        let mut checks = Checks::default();
        checks.add(check(1_700_000_000_123_000_000, "socket", true), 3);
        let json = serde_json::to_value(&checks).unwrap();
        assert_eq!(json["denied"], 3);
        assert_eq!(json["first"]["time"], "2023-11-14T22:13:20.123Z");
        let read: Checks = serde_json::from_value(json).unwrap();
        assert_eq!(read, checks);
    }

    #[test]
    fn a_refusal_that_had_no_effect_is_not_told() {
        let mut all: BTreeMap<String, Checks> = BTreeMap::new();
        let told = [
            ("DAC_READ_SEARCH", "openat", true),
            ("DAC_READ_SEARCH", "stat", true),
            ("DAC_OVERRIDE", "openat", false),
            ("NET_RAW", "socket", true),
        ];
        for (capability, call, denied) in told {
            let checks = all.entry(capability.to_owned()).or_default();
            checks.add(check(1, call, denied), 2);
        }
        assert_eq!(
            refused(&all),
            ["DAC_READ_SEARCH (stat, 2×)", "NET_RAW (socket, 2×)"]
        );
    }
}
