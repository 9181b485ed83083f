//! Diagnostics: what is wrong, where, and what to do next. Values only; `ui` prints them.
//!
//! A diagnostic has a short summary without user data (constant per code), a detail that says what was
//! found and what was expected, the smallest span at fault, and what to do.

use std::fmt;

/// One source text that spans point into: a configuration file, or a value typed on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name as the user knows it: a path relative to the configuration's folder, or `--var name`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Identifies a [`Source`] within a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// All source texts of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a text and returns its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Source { name: name.into(), text: text.into() });
        id
    }

    /// Returns the text behind an id, if it is one of this map's.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize)
    }

    /// Returns line and column, both from 1, of a byte offset; columns count characters.
    pub fn position(&self, id: SourceId, offset: u32) -> Option<Position> {
        let source = self.get(id)?;
        let mut end = (offset as usize).min(source.text.len());
        while !source.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source.text[..end];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before[start..].chars().count() + 1;
        Some(Position { line, column, byte: end })
    }

    /// Returns `file:line:column` of a span's start.
    pub fn locate(&self, span: Span) -> Option<String> {
        let at = self.position(span.source, span.start)?;
        Some(format!("{}:{}:{}", self.get(span.source)?.name, at.line, at.column))
    }
}

/// Returns `:line:column` of a byte offset, as [`SourceMap::locate`] writes it after a name, of a text that no map holds.
pub fn line_and_column(text: &str, offset: u32) -> String {
    let mut map = SourceMap::default();
    let id = map.add("", text);
    map.locate(Span { source: id, start: offset, end: offset }).unwrap_or_default()
}

/// Returns the line that a byte offset of a text stands in, without blanks around it, cut to what a line can show.
pub fn line_at(text: &str, offset: u32) -> &str {
    /// Shown of a line, in characters.
    const WIDTH: usize = 200;
    let mut at = (offset as usize).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let (before, after) = text.split_at(at);
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let end = at + after.find('\n').unwrap_or(after.len());
    let line = text.get(start..end).unwrap_or("").trim();
    line.get(..line.char_indices().nth(WIDTH).map_or(line.len(), |(i, _)| i)).unwrap_or(line)
}

/// True for what must not reach a terminal as it is: control characters, bidirectional and invisible format
/// characters, line and paragraph separators.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub byte: usize,
}

/// A stretch of one source, in bytes; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Which source.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// What is told of a variable whose value must not be shown.
pub const SENSITIVE: &str = "has a sensitive value";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing goes on.
    Error,
    /// Legal, but likely not meant.
    Warning,
}

/// One message to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable identifier, like `config/unknown-attribute`.
    pub code: &'static str,
    /// A short sentence without user data.
    pub summary: String,
    /// What was found, what was expected, why it matters. May have several lines.
    pub detail: String,
    /// The smallest thing at fault.
    pub span: Option<Span>,
    /// Other places that matter, each with a label.
    pub related: Vec<(Span, String)>,
    /// What the variables in the expression at fault are, each with its name: `var.zones` and `is list of string with 3
    /// elements`. Of a sensitive one only that it is.
    pub values: Vec<(String, String)>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Makes an error.
    pub fn error(code: &'static str, summary: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            summary: summary.into(),
            detail: String::new(),
            span: None,
            related: Vec::new(),
            values: Vec::new(),
            help: None,
        }
    }

    /// Makes a warning.
    pub fn warning(code: &'static str, summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, summary) }
    }

    /// Sets the detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Adds the value of a variable that the expression at fault names.
    #[must_use]
    pub fn value(mut self, name: impl Into<String>, printed: impl fmt::Display) -> Self {
        self.values.push((name.into(), format!("is {printed}")));
        self
    }

    /// Takes out everything that may show a value: for a diagnostic about an expression that a sensitive value takes
    /// part in.
    #[must_use]
    pub fn hushed(mut self) -> Self {
        "Details are not shown, because a sensitive value takes part.".clone_into(&mut self.detail);
        // A help may name keys, and variables of a `for` have values that are not marked.
        self.help = None;
        self.values.retain(|(_, statement)| statement == SENSITIVE);
        self
    }

    /// Sets what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// All that was found; errors do not stop the search for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// In the order found.
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: Self) {
        self.items.extend(other.items);
    }

    /// True when at least one is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(Diagnostic::is_error)
    }

    /// True when there is none at all.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(item: Diagnostic) -> Self {
        Self { items: vec![item] }
    }
}

/// Returns the candidate nearest to what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of a word may be wrong, a letter of a short one, three of a long one. One letter alone is no likeness.
    let limit = match written.chars().count() {
        0 | 1 => return None,
        length => (length / 3).clamp(1, 3),
    };
    candidates.into_iter().map(|c| (distance(written, c), c)).filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Counts the edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 {
                j
            } else if j == 0 {
                i
            } else {
                let cost = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (table[(i - 1) * width + j] + 1)
                    .min(table[i * width + j - 1] + 1)
                    .min(table[(i - 1) * width + j - 1] + cost);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let mut map = SourceMap::default();
        let id = map.add("a.hcl", "é = 1\nx = 2\n");
        assert_eq!(map.locate(Span { source: id, start: 5, end: 6 }).as_deref(), Some("a.hcl:1:5"));
        assert_eq!(map.locate(Span { source: id, start: 7, end: 8 }).as_deref(), Some("a.hcl:2:1"));
        assert_eq!(map.locate(Span { source: id, start: 1, end: 2 }).as_deref(), Some("a.hcl:1:1"));
    }

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        assert_eq!(nearest("wieght", ["weight", "drain"]), Some("weight"));
        assert_eq!(nearest("zzzz", ["weight", "drain"]), None);
        assert_eq!(nearest("file", ["fill", "pile", "find"]), Some("fill"));
        for far in ["x", "foo", "mean", "path"] {
            assert_eq!(nearest(far, ["y", "or", "max", "make", "to"]), None, "{far}");
        }
    }
}
