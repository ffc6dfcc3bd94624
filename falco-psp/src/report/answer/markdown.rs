//! The answer as Markdown, for a pull request or an issue.

use std::fmt::Write as _;

use super::{Answer, Cell, State};
use crate::mend::Target;
use crate::rules::escape;

/// See [`Answer::markdown`].
pub(super) fn markdown(answer: &Answer) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(answer, &mut text);
    text
}

fn write(answer: &Answer, text: &mut String) -> std::fmt::Result {
    writeln!(text, "## falco-psp: {}\n", plain(&answer.headline()))?;
    writeln!(text, "{}.\n", plain(&answer.basis()))?;
    for weakness in &answer.weaknesses {
        writeln!(text, "- **Not all was seen:** {}", plain(weakness))?;
    }
    for note in &answer.notes {
        writeln!(text, "- {}", plain(note))?;
    }
    if answer.workloads.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\n| | Workload | Seen | Controls |\n|---|---|---|---|"
    )?;
    for workload in &answer.workloads {
        let of_state = |state: State| {
            let cells = workload.cells.iter().filter(|cell| cell.state == state);
            let names: Vec<&str> = cells.map(|cell| cell.control.name()).collect();
            (!names.is_empty()).then(|| format!("{}: {}", state.name(), names.join(", ")))
        };
        let states = [State::Denied, State::Breaks, State::Changed, State::Unknown];
        let parts: Vec<String> = states.into_iter().filter_map(of_state).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            workload.state.name(),
            code(&workload.id()),
            workload.basis(),
            parts.join("; ")
        )?;
    }
    for workload in &answer.workloads {
        let cells: Vec<&Cell> = workload
            .cells
            .iter()
            .filter(|c| c.state.is_broken())
            .collect();
        if cells.is_empty() {
            continue;
        }
        writeln!(
            text,
            "\n<details><summary>{}</summary>\n",
            plain(&workload.id())
        )?;
        for cell in cells {
            writeln!(text, "- **{}** {}", cell.control, cell.state.name())?;
            let declared = cell.declared.iter().flat_map(|cell| &cell.messages);
            for message in declared {
                writeln!(text, "  - declared: {}", code(message))?;
            }
            let evidence = cell.observed.iter().flat_map(|cell| &cell.evidence);
            for found in evidence {
                let (first, last) = (&found.first, &found.last);
                let times = super::count(found.count, "time");
                writeln!(text, "  - observed {times}, {first} to {last}")?;
                for example in &found.examples {
                    writeln!(text, "    - {}", code(example))?;
                }
            }
            for proposal in &cell.proposals {
                let what = match &proposal.of {
                    Target::Spec => "a change of the pod's spec".to_owned(),
                    Target::Policy(name) => format!("a change of policy {}", plain(name)),
                };
                let because = match proposal.because.as_str() {
                    "" => String::new(),
                    because => format!(" ({})", plain(because)),
                };
                writeln!(text, "  - {what}: {}{because}", code(&proposal.change))?;
            }
        }
        writeln!(text, "\n</details>")?;
    }
    for (what, items) in answer.lists() {
        writeln!(text, "\n{}:\n", plain(&what))?;
        for item in items {
            writeln!(text, "- {}", code(&item))?;
        }
    }
    Ok(())
}

/// Text that cannot become markup, whoever has made it.
fn plain(text: &str) -> String {
    let mut safe = String::new();
    for c in escape(text).chars() {
        match c {
            '<' => safe += "&lt;",
            '&' => safe += "&amp;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Text as code. A bar would end the cell of a table, a backtick the code.
fn code(text: &str) -> String {
    format!("`{}`", escape(text).replace('`', "'").replace('|', "\\|"))
}
