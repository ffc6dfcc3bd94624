//! Where the characters of a text value stand in the file: walks the value and what is written
//! side by side, through quotes, escapes, folds and indentation.

use crate::diagnostic::Position;

/// Where byte `offset` of `value` stands in `text`, in which the value begins at `start`; `None`
/// if the value is not what is written there.
pub(super) fn position_at(
    text: &str,
    start: Position,
    value: &str,
    offset: usize,
) -> Option<Position> {
    let mut source = Source::at(text, start)?;
    // A tag or an anchor is no part of the value.
    while matches!(source.peek(), Some('!' | '&')) {
        source.skip_while(|c| !c.is_whitespace());
        source.skip_while(char::is_whitespace);
    }
    let wanted = value.get(..offset)?.chars().count();
    let value: Vec<char> = value.chars().collect();
    let walk = Walk {
        source,
        value: &value,
        wanted,
        done: 0,
    };
    match walk.source.peek()? {
        quote @ ('"' | '\'') => walk.flow(Some(quote)),
        '|' | '>' => walk.block(),
        _ => walk.flow(None),
    }
}

/// The rest of the file, and where it begins.
#[derive(Clone)]
struct Source<'a> {
    chars: std::str::Chars<'a>,
    position: Position,
}

impl<'a> Source<'a> {
    fn at(text: &'a str, position: Position) -> Option<Self> {
        let line = text
            .split_inclusive('\n')
            .take(position.line.checked_sub(1)?)
            .map(str::len)
            .sum();
        let mut chars = text.get(line..)?.chars();
        for _ in 1..position.column {
            chars.next()?;
        }
        Some(Self { chars, position })
    }

    fn peek(&self) -> Option<char> {
        self.chars.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        if next == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(next)
    }

    fn skip_while(&mut self, matches: impl Fn(char) -> bool) -> usize {
        let mut skipped = 0;
        while self.peek().is_some_and(&matches) {
            self.next();
            skipped += 1;
        }
        skipped
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// The value and the source, read up to the same point.
struct Walk<'a> {
    source: Source<'a>,
    value: &'a [char],
    /// The character of the value that is looked for.
    wanted: usize,
    /// How many of its characters have been walked over.
    done: usize,
}

impl Walk<'_> {
    fn arrived(&self) -> bool {
        self.done >= self.wanted
    }

    /// A plain or quoted scalar.
    fn flow(mut self, quote: Option<char>) -> Option<Position> {
        if quote.is_some() {
            self.source.next();
        }
        while !self.arrived() {
            if let Some(breaks) = self.line_breaks() {
                // One break is a space, each further one is a break.
                self.done += (breaks - 1).max(1);
                if self.arrived() && self.done > self.wanted {
                    break;
                }
                continue;
            }
            let written = self.source.next()?;
            let read = match (quote, written) {
                (Some('\''), '\'') => self.source.next()?,
                (Some('"'), '\\') => match self.escape()? {
                    Some(read) => read,
                    None => continue,
                },
                _ => written,
            };
            if self.value.get(self.done) != Some(&read) {
                return None;
            }
            self.done += 1;
        }
        // The character may stand behind an escaped line break.
        let mut ahead = self.source.clone();
        if quote == Some('"') && ahead.next() == Some('\\') && ahead.peek().is_some_and(is_break) {
            ahead.skip_while(char::is_whitespace);
            self.source = ahead;
        }
        Some(self.source.position)
    }

    /// Skips blanks with line breaks among them, and says how many breaks these were.
    fn line_breaks(&mut self) -> Option<usize> {
        let mut ahead = self.source.clone();
        ahead.skip_while(is_blank);
        if !ahead.peek().is_some_and(is_break) {
            return None;
        }
        let mut breaks = 0;
        while let Some(c) = ahead.peek().filter(|c| c.is_ascii_whitespace()) {
            breaks += usize::from(c == '\n');
            ahead.next();
        }
        self.source = ahead;
        Some(breaks.max(1))
    }

    /// What an escape in double quotes stands for; nothing for an escaped line break.
    fn escape(&mut self) -> Option<Option<char>> {
        let digits = match self.source.next()? {
            '\r' | '\n' => {
                self.source.skip_while(char::is_whitespace);
                return Some(None);
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0' => return Some(Some('\0')),
            'a' => return Some(Some('\x07')),
            'b' => return Some(Some('\x08')),
            't' | '\t' => return Some(Some('\t')),
            'n' => return Some(Some('\n')),
            'v' => return Some(Some('\x0b')),
            'f' => return Some(Some('\x0c')),
            'r' => return Some(Some('\r')),
            'e' => return Some(Some('\x1b')),
            'N' => return Some(Some('\u{85}')),
            '_' => return Some(Some('\u{a0}')),
            'L' => return Some(Some('\u{2028}')),
            'P' => return Some(Some('\u{2029}')),
            other => return Some(Some(other)),
        };
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.source.next()?.to_digit(16)?;
        }
        char::from_u32(code).map(Some)
    }

    /// A literal or folded scalar.
    fn block(mut self) -> Option<Position> {
        let folded = self.source.peek() == Some('>');
        self.source.skip_while(|c| c != '\n');
        self.source.next();
        let indent = self.indent()?;
        let mut column = 0;
        loop {
            // The indentation of a line is no part of the value.
            while column < indent && self.source.peek() == Some(' ') {
                self.source.next();
                column += 1;
            }
            if self.arrived() {
                return Some(self.source.position);
            }
            if self.source.peek() == Some('\r') {
                self.source.next();
                continue;
            }
            let mut written = self.source.next()?;
            let expected = *self.value.get(self.done)?;
            if folded && written == '\n' {
                while self.source.peek() == Some('\n') {
                    self.source.next();
                }
                let breaks = &self.value[self.done..];
                let run = breaks.iter().take_while(|&&c| c == '\n').count();
                if run > 1 {
                    self.done = (self.done + run - 1).min(self.wanted.max(self.done));
                }
                written = if run == 0 { ' ' } else { '\n' };
            }
            if written != expected {
                return None;
            }
            self.done += 1;
            column = if self.source.position.column == 1 {
                0
            } else {
                indent
            };
        }
    }

    /// How far the lines of a block are indented: as much as its first line that has any text,
    /// without the blanks which belong to the value.
    fn indent(&self) -> Option<usize> {
        let mut ahead = self.source.clone();
        let blanks = loop {
            let blanks = ahead.skip_while(|c| c == ' ');
            match ahead.peek()? {
                '\n' | '\r' => ahead.next(),
                _ => break blanks,
            };
        };
        let text = self.value.iter().skip_while(|&&c| c == '\n');
        let own = text.take_while(|&&c| c == ' ').count();
        blanks.checked_sub(own)
    }
}
