//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

/// What the format is called in a header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of metrics counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What only grows.
    Counter,
    /// What grows and shrinks.
    Gauge,
}

/// Families of metrics, as text.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; its samples have to follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// The text.
    pub fn text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample. A label with an empty value is the same as none, and is left out.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Number) -> &mut Self {
        self.text.push_str(self.name);
        let mut mark = '{';
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            self.text.push(mark);
            mark = ',';
            // Writing to a String does not fail.
            let _ = write!(self.text, "{name}=\"{}\"", escape(value));
        }
        if mark == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        value.write(self.text);
        self.text.push('\n');
        self
    }
}

fn escape(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

/// The value of a sample.
pub trait Number {
    /// Writes it.
    fn write(self, text: &mut String);
}

impl Number for u64 {
    fn write(self, text: &mut String) {
        let _ = write!(text, "{self}");
    }
}

impl Number for usize {
    fn write(self, text: &mut String) {
        let _ = write!(text, "{self}");
    }
}

impl Number for f64 {
    fn write(self, text: &mut String) {
        let _ = write!(text, "{self}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_cannot_break_out() {
        let mut exposition = Exposition::default();
        exposition
            .family("a_total", Kind::Counter, "one\nline \\")
            .sample(&[("b", "x\"} 7\n\\"), ("none", "")], 3_u64)
            .sample(&[("none", "")], 0.5);
        assert_eq!(
            exposition.text(),
            "# HELP a_total one\\nline \\\\\n# TYPE a_total counter\n\
             a_total{b=\"x\\\"} 7\\n\\\\\"} 3\na_total 0.5\n"
        );
    }
}
