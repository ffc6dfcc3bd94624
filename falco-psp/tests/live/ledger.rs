//! The ledger of the final summary: nothing that the kernel counted is missing.

use anyhow::{Context as _, Result};

/// One kind's line: `exec: seen 5, filtered 1, deduplicated 2, sent 2, lost 0`; of capabilities with
/// `incidental 3` after `filtered`, if there were any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) seen: u64,
    pub(crate) filtered: u64,
    pub(crate) incidental: u64,
    pub(crate) deduplicated: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Line {
    /// What the line accounts for: equal to `seen`, or something is missing.
    pub(crate) fn accounted(&self) -> u64 {
        self.filtered + self.incidental + self.deduplicated + self.sent + self.lost
    }

    /// Finds the line of a kind in what the agent said.
    pub(crate) fn find(messages: &str, kind: &str) -> Result<Self> {
        let start = format!("{kind}: seen ");
        let line = messages
            .lines()
            .find(|line| line.contains(&start))
            .with_context(|| format!("no line with `{start}` in:\n{messages}"))?;
        let number = |name: &str| -> Result<u64> {
            let value = line
                .split_once(&format!("{name} "))
                .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or(rest))
                .with_context(|| format!("no `{name}` in: {line}"))?;
            value
                .replace('_', "")
                .parse()
                .with_context(|| format!("`{name}` is no number in: {line}"))
        };
        Ok(Self {
            seen: number("seen")?,
            filtered: number("filtered")?,
            incidental: match line.contains("incidental ") {
                true => number("incidental")?,
                false => 0,
            },
            deduplicated: number("deduplicated")?,
            sent: number("sent")?,
            lost: number("lost")?,
        })
    }
}

#[test]
fn a_line_of_the_ledger_is_read() {
    let text = "x\n  exec: seen 20005, filtered 3, deduplicated 19990, sent 10, lost 2\ny";
    let line = Line::find(text, "exec").unwrap();
    assert_eq!(line.seen, 20_005);
    assert_eq!(line.accounted(), 20_005);
    assert!(Line::find(text, "mount").is_err());
    let text = "capability: seen 9, filtered 3, incidental 4, deduplicated 1, sent 1, lost 0";
    assert_eq!(Line::find(text, "capability").unwrap().accounted(), 9);
}
