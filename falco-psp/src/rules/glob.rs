//! Shell patterns, as `fnmatch(3)` without flags reads them: `*` matches any text, slashes too.

use std::iter;
use std::str::Chars;

/// A pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Box<[Token]>,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    /// A character that stands for itself.
    Char(char),
    /// `[a-z]` or `[!a-z]`
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

/// Whether `fnmatch` reads the text as a pattern rather than as itself (Falco's test for the
/// components of a path).
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['?', '*', '['])
}

impl Glob {
    /// Reads a pattern. `ignore_case` holds for ASCII letters.
    ///
    /// # Errors
    /// The pattern has a named class (`[:alpha:]`), which is not supported.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Result<Self, &'static str> {
        let mut chars = pattern.chars();
        let tokens = iter::from_fn(|| {
            let c = chars.next()?;
            Some(match c {
                '*' => Ok(Token::Any),
                '?' => Ok(Token::One),
                '[' => match class(chars.clone()) {
                    Some((class, rest)) => {
                        chars = rest;
                        class
                    }
                    // A bracket that is never closed stands for itself.
                    None => Ok(Token::Char('[')),
                },
                '\\' => Ok(Token::Char(chars.next().unwrap_or('\\'))),
                other => Ok(Token::Char(other)),
            })
        });
        Ok(Self {
            tokens: tokens.collect::<Result<_, _>>()?,
            ignore_case,
        })
    }

    /// Whether all of `text` fits the pattern.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut token = 0;
        // Where to go on if what follows the last `*` does not fit.
        let mut retry: Option<(usize, Chars<'_>)> = None;
        loop {
            let fits = match self.tokens.get(token) {
                Some(Token::Any) => {
                    token += 1;
                    retry = Some((token, rest.clone()));
                    continue;
                }
                Some(one) => rest.next().is_some_and(|c| self.fits(one, c)),
                None if rest.as_str().is_empty() => return true,
                None => false,
            };
            if fits {
                token += 1;
                continue;
            }
            let Some((after, start)) = &mut retry else {
                return false;
            };
            if start.next().is_none() {
                return false;
            }
            token = *after;
            rest = start.clone();
        }
    }

    fn fits(&self, token: &Token, c: char) -> bool {
        match token {
            Token::Any | Token::One => true,
            Token::Char(own) if self.ignore_case => own.eq_ignore_ascii_case(&c),
            Token::Char(own) => *own == c,
            Token::Class { negated, ranges } => {
                let within = |c: char| ranges.iter().any(|(min, max)| (*min..=*max).contains(&c));
                let found = within(c)
                    || (self.ignore_case
                        && (within(c.to_ascii_lowercase()) || within(c.to_ascii_uppercase())));
                found != *negated
            }
        }
    }
}

/// Reads a class after its `[`; `None` if it is never closed.
fn class(mut chars: Chars<'_>) -> Option<(Result<Token, &'static str>, Chars<'_>)> {
    let mut negated = false;
    if let Some('!' | '^') = chars.clone().next() {
        negated = true;
        chars.next();
    }
    let mut ranges = Vec::new();
    let mut named = false;
    loop {
        let min = match chars.next()? {
            // The first one stands for itself.
            ']' if !ranges.is_empty() => break,
            '[' if matches!(chars.clone().next(), Some(':' | '.' | '=')) => {
                named = true;
                '['
            }
            '\\' => chars.next()?,
            other => other,
        };
        let mut ahead = chars.clone();
        let max = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(max)) if max != ']' => {
                chars = ahead;
                if max == '\\' { chars.next()? } else { max }
            }
            _ => min,
        };
        ranges.push((min, max));
    }
    let class = if named {
        Err("named classes such as [:alpha:] are not supported in a pattern")
    } else {
        Ok(Token::Class {
            negated,
            ranges: ranges.into(),
        })
    };
    Some((class, chars))
}
