//! The answer as JUnit's XML, which CI systems show: a suite for each workload, a test for each
//! control. Broken cells have failed, unknown ones were skipped.

use std::fmt::Write as _;

use super::{Answer, Cell, State};
use crate::rules::escape;

/// See [`Answer::junit`].
pub(super) fn junit(answer: &Answer) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(answer, &mut text);
    text
}

/// How many tests there are, have failed and were skipped.
#[derive(Default)]
struct Counts([usize; 3]);

impl Counts {
    fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Self {
        let mut counts = Self::default();
        let Self([tests, failures, skipped]) = &mut counts;
        for cell in cells {
            *tests += 1;
            *failures += usize::from(cell.state.is_broken());
            *skipped += usize::from(cell.state == State::Unknown);
        }
        counts
    }

    fn attributes(&self) -> String {
        let Self([tests, failures, skipped]) = self;
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"")
    }
}

fn write(answer: &Answer, text: &mut String) -> std::fmt::Result {
    writeln!(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let cells = answer.workloads.iter().flat_map(|workload| &workload.cells);
    let Counts([tests, failures, _]) = Counts::of(cells);
    let holes = answer.weaknesses.len();
    let (name, tests) = (xml(&answer.headline()), tests + holes);
    // Of all suites together the schema has no `skipped`.
    writeln!(
        text,
        "<testsuites name=\"falco-psp: {name}\" tests=\"{tests}\" failures=\"{failures}\" \
         errors=\"0\">"
    )?;
    // What was not seen is not to pass for what has passed.
    if holes > 0 {
        writeln!(
            text,
            "  <testsuite name=\"what was seen\" {}>",
            Counts([holes, 0, holes]).attributes()
        )?;
        for weakness in &answer.weaknesses {
            let weakness = xml(weakness);
            writeln!(
                text,
                "    <testcase classname=\"falco-psp\" name=\"{weakness}\"><skipped \
                 message=\"not all was seen\"/></testcase>"
            )?;
        }
        writeln!(text, "  </testsuite>")?;
    }
    for workload in &answer.workloads {
        let id = xml(&workload.id());
        let attributes = Counts::of(workload.cells.iter()).attributes();
        writeln!(text, "  <testsuite name=\"{id}\" {attributes}>")?;
        for cell in &workload.cells {
            write!(
                text,
                "    <testcase classname=\"{id}\" name=\"{}\"",
                cell.control
            )?;
            let (_, why) = cell.why();
            let why = xml(&why);
            match cell.state {
                state if state.is_broken() => {
                    let state = state.name();
                    writeln!(text, "><failure type=\"{state}\" message=\"{why}\">")?;
                    for line in evidence(cell) {
                        writeln!(text, "{}", xml(&line))?;
                    }
                    writeln!(text, "    </failure></testcase>")?;
                }
                State::Unknown => {
                    writeln!(text, "><skipped message=\"{why}\"/></testcase>")?;
                }
                _ => writeln!(text, "/>")?,
            }
        }
        writeln!(text, "  </testsuite>")?;
    }
    writeln!(text, "</testsuites>")
}

/// All that is known of a cell, in lines.
fn evidence(cell: &Cell) -> Vec<String> {
    let declared = cell.declared.iter().flat_map(|cell| &cell.messages);
    let mut lines: Vec<String> = declared.map(|text| format!("declared: {text}")).collect();
    for found in cell.observed.iter().flat_map(|cell| &cell.evidence) {
        let times = super::count(found.count, "time");
        lines.push(format!(
            "observed {times}, {} to {}",
            found.first, found.last
        ));
        lines.extend(found.examples.iter().cloned());
    }
    lines
}

/// Text that is only text, in XML.
fn xml(text: &str) -> String {
    let mut safe = String::new();
    for c in escape(text).chars() {
        match c {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            // No characters of XML 1.0.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
