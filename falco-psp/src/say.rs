//! What is said to people, on standard error.
//!
//! `eprintln!` ends the program when nobody reads there any more, as behind `2>&1 | head`. What is said
//! here is lost then, and the program goes on.

/// Says a line on standard error.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// Says a text on standard error that has its own ends of lines.
#[macro_export]
macro_rules! say_text {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($text)*);
    }};
}
