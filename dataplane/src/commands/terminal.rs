//! Colour for output to a terminal; `anstream` takes it out everywhere else.

use anstyle::{AnsiColor, Style};

pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub const FAINT: Style = Style::new().dimmed();
pub const STRONG: Style = Style::new().bold();

/// Text in a style, and the end of the style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
