//! How things are spelt for people: escaping, colours, columns, plurals, durations, shares. No streams here.

use std::borrow::Cow;
use std::fmt::Write as _;

use console::measure_text_width;

use super::Style;
use crate::diag::is_unsafe;
use crate::model::Bytes;

/// Narrower than this nothing is wrapped: words would be torn apart for no gain.
const NARROWEST: usize = 40;

/// Makes a text safe for a terminal: control characters, and characters that turn or hide text, are written as
/// `\n` or `\u{…}`. What a repository's path holds must not be able to draw on the screen.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// As [`escape`], but keeps line breaks: for texts that may have several lines.
pub(super) fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// Colours, or none. Meaning is always in the words too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    color: bool,
}

impl Paint {
    /// Paints as the style allows.
    pub(super) fn new(style: Style) -> Self {
        Self { color: style.color }
    }

    fn with(self, style: console::Style, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        style.force_styling(self.color).apply_to(text).to_string()
    }

    /// A heading.
    pub(super) fn bold(self, text: &str) -> String {
        self.with(console::Style::new().bold(), text)
    }

    /// Danger and failure.
    pub(super) fn danger(self, text: &str) -> String {
        self.with(console::Style::new().red().bold(), text)
    }

    /// To be read with care.
    pub(super) fn warning(self, text: &str) -> String {
        self.with(console::Style::new().yellow().bold(), text)
    }

    /// A change, an address.
    pub(super) fn change(self, text: &str) -> String {
        self.with(console::Style::new().blue().bold(), text)
    }

    /// Beside the point, but there.
    pub(super) fn dim(self, text: &str) -> String {
        self.with(console::Style::new().dim(), text)
    }
}

/// Columns that line up by what a terminal shows, with two spaces between; no line ends in a space.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<(Vec<String>, String)>,
    right: Vec<usize>,
    /// No line is broken beyond this.
    width: usize,
}

impl Table {
    /// Makes a table; the columns with these indices are set to the right.
    pub(super) fn new(style: Style, right: &[usize]) -> Self {
        let width = if style.tty && style.width >= NARROWEST { style.width } else { usize::MAX };
        Self { rows: Vec::new(), right: right.to_vec(), width }
    }

    /// Adds a row; rows may differ in length.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.row_with(cells, String::new());
    }

    /// Adds a row with a note behind it, which goes to a line of its own where a terminal is too narrow.
    pub(super) fn row_with(&mut self, cells: impl IntoIterator<Item = String>, note: String) {
        self.rows.push((cells.into_iter().collect(), note));
    }

    /// Renders all rows, each behind `indent` spaces.
    pub(super) fn render(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(|(row, _)| row.len()).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for (row, note) in &self.rows {
            for (index, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
                // What ends its line pushes nothing of other lines away.
                let ends = index + 1 == row.len() && note.is_empty() && !self.right.contains(&index);
                if !ends {
                    *width = (*width).max(measure_text_width(cell));
                }
            }
        }
        let mut out = String::new();
        for (row, note) in &self.rows {
            let mut line = " ".repeat(indent);
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width.saturating_sub(measure_text_width(cell)));
                let (before, after) = if self.right.contains(&index) { (gap.as_str(), "") } else { ("", gap.as_str()) };
                let _ = write!(line, "{before}{cell}{after}  ");
            }
            if !note.is_empty() {
                if measure_text_width(&line) + measure_text_width(note) > self.width {
                    out.push_str(line.trim_end());
                    out.push('\n');
                    line = " ".repeat(indent + 4);
                }
                line.push_str(note);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Breaks prose at spaces into lines of the style's width, each behind `indent` spaces, and keeps its own line
/// breaks. Only a terminal gets broken lines: elsewhere a line stays one that `grep` finds.
pub(super) fn prose(style: Style, indent: usize, text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.lines() {
        let words = paragraph.trim_start_matches(' ');
        let indent = indent + paragraph.len() - words.len();
        let pad = " ".repeat(indent);
        if !style.tty || style.width < NARROWEST {
            let _ = writeln!(out, "{pad}{words}");
            continue;
        }
        let mut line = pad.clone();
        let mut used = indent;
        for word in words.split(' ') {
            let width = measure_text_width(word);
            if used > indent && used + 1 + width > style.width {
                out.push_str(line.trim_end());
                out.push('\n');
                line.clone_from(&pad);
                used = indent;
            }
            if used > indent {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `1 repository`, `3 repositories`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// `24 repositories`.
pub(super) fn repositories(n: u64) -> String {
    count(n, "repository", "repositories")
}

/// Seconds as hours, minutes and seconds: `2 h 5 m 3 s`, `5 m 0 s`, `12 s`.
pub(super) fn duration(seconds: u64) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 {
        format!("{h} h {m} m {s} s")
    } else if m > 0 {
        format!("{m} m {s} s")
    } else {
        format!("{s} s")
    }
}

/// Seconds as a rough time to wait: `2 h 05`, `12 min`, `40 s`.
pub fn eta(seconds: u64) -> String {
    if seconds >= 3600 {
        format!("{} h {:02}", seconds / 3600, seconds / 60 % 60)
    } else if seconds >= 60 {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}

/// Milliseconds as seconds with one decimal: `1.2 s`; longer ones as [`duration`].
pub(super) fn milliseconds(ms: u64) -> String {
    if ms < 60_000 { format!("{}.{} s", ms / 1000, ms % 1000 / 100) } else { duration(ms / 1000) }
}

/// Thousandths as per cent with at most one decimal: `33.3 %`, `50 %`.
pub(super) fn percent(permille: u64) -> String {
    if permille.is_multiple_of(10) {
        format!("{} %", permille / 10)
    } else {
        format!("{}.{} %", permille / 10, permille % 10)
    }
}

/// `1.2/9.8 TiB`: both in the unit that suits the whole.
pub(super) fn of_bytes(part: Bytes, whole: Bytes) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let largest = part.0.max(whole.0);
    while unit + 1 < UNITS.len() && largest >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let show = |bytes: u64| {
        let tenths = (u128::from(bytes) * 10) >> (10 * unit);
        if tenths % 10 == 0 { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
    };
    let name = UNITS.get(unit).copied().unwrap_or("B");
    format!("{}/{} {name}", show(part.0), show(whole.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Style = Style { color: false, width: 40, tty: false };

    #[test]
    fn nothing_that_draws_on_the_screen_survives() {
        assert_eq!(escape("a\u{1b}[31m\n\u{202e}\u{9b}é日"), "a\\u{1b}[31m\\n\\u{202e}\\u{9b}é日");
        assert!(matches!(escape("group/plain-path"), Cow::Borrowed(_)));
        assert_eq!(escape_lines("a\nb\tc"), "a\nb\\tc");
    }

    #[test]
    fn times_and_shares_read_well() {
        assert_eq!([duration(0), duration(300), duration(7503)], ["0 s", "5 m 0 s", "2 h 5 m 3 s"]);
        assert_eq!([eta(40), eta(725), eta(7503)], ["40 s", "12 min", "2 h 05"]);
        assert_eq!([percent(333), percent(1000), percent(0)], ["33.3 %", "100 %", "0 %"]);
        assert_eq!([milliseconds(1234), milliseconds(61_000)], ["1.2 s", "1 m 1 s"]);
    }

    #[test]
    fn a_part_has_the_unit_of_the_whole() {
        assert_eq!(of_bytes(Bytes(1_319_413_953_332), Bytes(10_775_213_953_332)), "1.2/9.8 TiB");
        assert_eq!(of_bytes(Bytes(0), Bytes(0)), "0/0 B");
        assert_eq!(of_bytes(Bytes(u64::MAX), Bytes(u64::MAX)), "15.9/15.9 EiB");
        assert_eq!(of_bytes(Bytes(512), Bytes(1024)), "0.5/1 KiB");
    }

    #[test]
    fn columns_line_up_by_what_is_shown() {
        let mut table = Table::new(PIPE, &[1]);
        table.row(["日本".to_owned(), "1".to_owned()]);
        table.row(["\u{1b}[1mab\u{1b}[0m".to_owned(), "22".to_owned(), String::new()]);
        let text = table.render(2);
        assert_eq!(console::strip_ansi_codes(&text), "  日本   1\n  ab    22\n");
    }

    #[test]
    fn what_ends_its_line_pushes_no_note_away() {
        let mut table = Table::new(PIPE, &[]);
        table.row(["a".to_owned(), "longer than all others".to_owned()]);
        table.row_with(["b".to_owned(), "x".to_owned()], "# why".to_owned());
        assert_eq!(table.render(0), "a  longer than all others\nb  x  # why\n");
    }

    #[test]
    fn a_note_that_is_too_long_for_a_terminal_gets_its_own_line() {
        let note = "# forty characters would not be enough".to_owned();
        for (style, lines) in [(PIPE, 1), (Style { tty: true, ..PIPE }, 2), (Style { tty: true, width: 80, ..PIPE }, 1)]
        {
            let mut table = Table::new(style, &[]);
            table.row_with(["weight.default".to_owned()], note.clone());
            assert_eq!(table.render(2).lines().count(), lines, "{style:?}");
        }
    }

    #[test]
    fn only_a_terminal_gets_broken_lines() {
        let words = "word ".repeat(30);
        assert_eq!(prose(PIPE, 2, words.trim_end()).lines().count(), 1);
        let narrow = prose(Style { tty: true, ..PIPE }, 2, words.trim_end());
        assert!(narrow.lines().count() > 3 && narrow.lines().all(|l| l.len() <= 40 && l.starts_with("  word")));
    }
}
