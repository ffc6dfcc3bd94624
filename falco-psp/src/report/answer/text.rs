//! The answer for a terminal.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::{Answer, State};
use crate::mend::Target;
use crate::rules::escape;

/// The widest line.
const WIDTH: usize = 80;
/// Where what explains a cell begins.
const INDENT: usize = 10;

/// See [`Answer::text`].
pub(super) fn text(answer: &Answer, colour: bool) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(answer, colour, &mut text);
    text
}

fn write(answer: &Answer, colour: bool, text: &mut String) -> std::fmt::Result {
    writeln!(text, "{}", escape(&answer.headline()))?;
    writeln!(text, "{}", answer.basis())?;
    for weakness in &answer.weaknesses {
        writeln!(text, "not all was seen: {}", escape(weakness))?;
    }
    for note in &answer.notes {
        writeln!(text, "{}", escape(note))?;
    }
    for workload in &answer.workloads {
        let name = workload.id();
        let word = painted(workload.state, colour);
        let basis = workload.basis();
        writeln!(text, "\n{word} {} ({basis})", escape(&name))?;
        let cells = workload.cells.iter();
        let mut cells: Vec<_> = cells.filter(|cell| cell.state != State::Fine).collect();
        let fine = workload.cells.len() - cells.len();
        cells.sort_by_key(|cell| Reverse(cell.state));
        for cell in cells {
            let (count, why) = cell.why();
            let times = count
                .map(|count| format!("seen {count}×"))
                .unwrap_or_default();
            let word = painted(cell.state, colour);
            let line = format!("  {word} {:<26}{times}", cell.control.name());
            writeln!(text, "{}", line.trim_end())?;
            if !why.is_empty() {
                writeln!(text, "{:INDENT$}{}", "", cut(&escape(&why), WIDTH - INDENT))?;
            }
            for proposal in &cell.proposals {
                let what = match &proposal.of {
                    Target::Spec => "spec: ",
                    Target::Policy(_) => "policy: ",
                };
                let mend = format!("{what}{}", escape(&proposal.change));
                writeln!(text, "{:INDENT$}{}", "", cut(&mend, WIDTH - INDENT))?;
            }
        }
        if fine > 0 {
            let word = painted(State::Fine, colour);
            writeln!(text, "  {word} {}", super::count(fine as u64, "control"))?;
        }
    }
    let counts: Vec<String> = answer
        .counts()
        .into_iter()
        .map(|(state, count)| format!("{count} {}", state.name()))
        .collect();
    if !counts.is_empty() {
        writeln!(
            text,
            "\n{}: {}",
            super::count(answer.workloads.len() as u64, "workload"),
            counts.join(", ")
        )?;
    }
    for (what, items) in answer.lists() {
        writeln!(text, "\n{what}:")?;
        for item in items {
            writeln!(text, "  {}", cut(&escape(&item), WIDTH - 2))?;
        }
    }
    Ok(())
}

fn painted(state: State, colour: bool) -> String {
    let word = format!("{:<7}", state.name());
    let code = match state {
        State::Fine => 32,
        State::Unknown => 35,
        State::Changed => 33,
        State::Breaks | State::Denied => 31,
    };
    match colour {
        true => format!("\x1b[{code}m{word}\x1b[0m"),
        false => word,
    }
}

/// As much of a text as fits.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}
