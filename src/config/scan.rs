//! A light scanner over the raw text: finds quotes, heredocs, comments and brackets that are never closed and says
//! where they open, and cuts a text into its top-level parts, so that one syntax error does not hide the others.
//! It knows nothing of meaning. Iterative: no input can overflow its stack.

/// Something that is never closed, or closed by the wrong bracket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// What is wrong, in words.
    pub(super) message: String,
    /// What to do.
    pub(super) help: &'static str,
    /// Byte offset and length of what opens.
    pub(super) open: (usize, usize),
    /// Where it was noticed.
    pub(super) noticed: Option<usize>,
    /// Where a part begins that may be read on its own, after what is never closed.
    pub(super) resume: Option<usize>,
}

/// What the scanner is inside of.
enum Inside<'a> {
    /// An opening bracket, also `${` and `%{` (their closer is `}`).
    Bracket { open: usize, width: usize, closer: u8 },
    /// A text in quotes, with the directives that are open in it.
    Quotes { open: usize, directives: Vec<Directive> },
    /// A heredoc with its delimiter.
    Heredoc { open: usize, delimiter: &'a str, directives: Vec<Directive> },
    /// A file that is a template.
    Template { directives: Vec<Directive> },
}

/// A `%{ if }` or `%{ for }` that is open.
#[derive(Debug, Clone, Copy)]
struct Directive {
    open: usize,
    /// To the end of its keyword.
    width: usize,
    keyword: &'static str,
}

impl Directive {
    fn unclosed(self, noticed: Option<usize>) -> Unclosed {
        let Self { open, width, keyword } = self;
        Unclosed {
            message: format!("This `%{{ {keyword} }}` has no `%{{ end{keyword} }}` before the end of its text."),
            help: "Add it; within a text, each %{ if } ends with an %{ endif }, each %{ for } with an %{ endfor }.",
            open: (open, width),
            noticed,
            resume: None,
        }
    }
}

/// Takes note of a directive that begins at a place.
fn directive(text: &str, at: usize, open: &mut Vec<Directive>) -> Result<(), Unclosed> {
    let rest = text.get(at + 2..).unwrap_or("");
    let inner = rest.strip_prefix('~').unwrap_or(rest).trim_start();
    let size = inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len());
    let width = text.len() - at - inner.len() + size;
    let mut begin = |keyword| {
        open.push(Directive { open: at, width, keyword });
        Ok(())
    };
    let ends = match inner.get(..size) {
        Some("if") => return begin("if"),
        Some("for") => return begin("for"),
        Some("endif") => "if",
        Some("endfor") => "for",
        _ => return Ok(()),
    };
    match open.pop() {
        Some(Directive { keyword, .. }) if keyword == ends => Ok(()),
        Some(other) => Err(Unclosed {
            message: format!(
                "This `%{{ {} }}` must be closed by `%{{ end{} }}`, but `%{{ end{ends} }}` comes first.",
                other.keyword, other.keyword
            ),
            noticed: Some(at),
            ..other.unclosed(None)
        }),
        None => Err(Unclosed {
            message: format!("There is no open `%{{ {ends} }}` in this text that this `%{{ end{ends} }}` could close."),
            help: "Remove it, or add the directive that it closes.",
            open: (at, width),
            noticed: None,
            resume: None,
        }),
    }
}

/// Brackets that are looked through for the text that they stand in; the parser allows no more.
const NESTED: usize = 70;

/// The `${` or `%{` that is open within a heredoc, and the heredoc's delimiter.
fn within_heredoc<'a>(stack: &[Inside<'a>]) -> Option<(usize, &'a str)> {
    let mut first = None;
    for inside in stack.iter().rev().take(NESTED) {
        match inside {
            Inside::Bracket { open, .. } => first = Some(*open),
            Inside::Heredoc { delimiter, .. } => return Some((first?, delimiter)),
            Inside::Quotes { .. } | Inside::Template { .. } => return None,
        }
    }
    None
}

/// The `${` that a quote stands in, when that stands in a text in quotes itself: what closes the text is then likely
/// meant by this quote, and what is missing is the bracket.
fn within_quotes(stack: &[Inside<'_>]) -> Option<usize> {
    let mut before = stack.iter().rev().skip(1).take(NESTED);
    let mut first = None;
    for inside in &mut before {
        match inside {
            Inside::Bracket { open, width, .. } => {
                first = Some(*open).filter(|_| *width == 2);
            }
            Inside::Quotes { .. } => return first,
            Inside::Heredoc { .. } | Inside::Template { .. } => return None,
        }
    }
    None
}

fn not_ended(open: usize, noticed: usize) -> Unclosed {
    Unclosed {
        message: "This is not closed by `}` before the end of its text.".to_owned(),
        help: "Each ${ and %{ in a text ends with }; for the characters themselves, write $${ or %%{.",
        open: (open, 2),
        noticed: Some(noticed),
        resume: None,
    }
}

/// Where the next line begins after a place that starts with a letter: outside of blocks, if it is indented as usual.
fn next_margin(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == b'\n')? + 1;
        if bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
            return Some(at);
        }
    }
}

/// Scans a template file.
///
/// # Errors
/// The first thing that is not closed.
pub(super) fn scan_template(text: &str) -> Result<(), Unclosed> {
    inside(text, vec![Inside::Template { directives: Vec::new() }], &mut Vec::new())
}

/// Scans a text. Gives the offsets of the lines that begin outside of everything.
///
/// # Errors
/// The first thing that is not closed.
pub(super) fn scan(text: &str) -> Result<Vec<usize>, Unclosed> {
    let mut lines = vec![0];
    lines_of(text, &mut lines).map(|()| lines)
}

/// Scans a text and adds the lines that begin outside of everything, up to what is not closed.
pub(super) fn lines_of(text: &str, lines: &mut Vec<usize>) -> Result<(), Unclosed> {
    inside(text, Vec::new(), lines)
}

fn inside<'a>(text: &'a str, mut stack: Vec<Inside<'a>>, lines: &mut Vec<usize>) -> Result<(), Unclosed> {
    let bytes = text.as_bytes();
    let mut margin = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let two = bytes.get(at..at + 2).unwrap_or_default();
        let template = matches!(two, b"${" | b"%{");
        let above = if byte == b'\n' { within_quotes(&stack) } else { None };
        match stack.last_mut() {
            Some(Inside::Quotes { open, directives }) => match byte {
                b'"' => {
                    if let Some(directive) = directives.pop() {
                        return Err(Unclosed { resume: next_margin(bytes, at), ..directive.unclosed(Some(at)) });
                    }
                    stack.pop();
                    at += 1;
                }
                b'\\' => at += 2,
                b'\n' => {
                    if let Some(open) = above {
                        return Err(Unclosed { resume: next_margin(bytes, at), ..not_ended(open, at) });
                    }
                    return Err(Unclosed {
                        message: "This quote is not closed before the end of its line.".to_owned(),
                        help: "Add the closing quote; a newline within a text is written \\n, longer texts as <<EOT … EOT.",
                        open: (*open, 1),
                        noticed: Some(at),
                        resume: None,
                    });
                }
                _ if matches!(bytes.get(at..at + 3), Some(b"$${" | b"%%{")) => at += 3,
                _ if template => {
                    if byte == b'%' {
                        directive(text, at, directives)
                            .map_err(|fault| Unclosed { resume: next_margin(bytes, at), ..fault })?;
                    }
                    stack.push(Inside::Bracket { open: at, width: 2, closer: b'}' });
                    at += 2;
                }
                _ => at += 1,
            },
            Some(Inside::Template { directives }) => {
                if matches!(bytes.get(at..at + 3), Some(b"$${" | b"%%{")) {
                    at += 3;
                } else if template {
                    if byte == b'%' {
                        directive(text, at, directives)?;
                    }
                    stack.push(Inside::Bracket { open: at, width: 2, closer: b'}' });
                    at += 2;
                } else {
                    at += 1;
                }
            }
            Some(Inside::Heredoc { delimiter, directives, .. }) => {
                if at == 0 || bytes.get(at - 1) == Some(&b'\n') {
                    let rest = text.get(at..).unwrap_or("");
                    let line = rest.lines().next().unwrap_or("");
                    let trimmed = line.trim_start();
                    if let Some(after) = trimmed.strip_prefix(*delimiter)
                        && !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'))
                    {
                        if let Some(directive) = directives.pop() {
                            return Err(Unclosed { resume: next_margin(bytes, at), ..directive.unclosed(Some(at)) });
                        }
                        at += line.len() - after.len();
                        stack.pop();
                        continue;
                    }
                }
                if matches!(bytes.get(at..at + 3), Some(b"$${" | b"%%{")) {
                    at += 3;
                } else if template {
                    if byte == b'%' {
                        directive(text, at, directives)?;
                    }
                    stack.push(Inside::Bracket { open: at, width: 2, closer: b'}' });
                    at += 2;
                } else {
                    at += 1;
                }
            }
            top => match byte {
                b'\n' => {
                    at += 1;
                    let line = text.get(at..).and_then(|rest| rest.lines().next()).unwrap_or("").trim();
                    if top.is_some()
                        && let Some((open, delimiter)) = within_heredoc(&stack)
                        && line == delimiter
                    {
                        return Err(Unclosed { resume: next_margin(bytes, at), ..not_ended(open, at) });
                    }
                    let top = stack.last();
                    if top.is_none() {
                        lines.push(at);
                        margin = None;
                    } else if margin.is_none() && bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
                        margin = Some(at);
                    }
                }
                b'"' => {
                    stack.push(Inside::Quotes { open: at, directives: Vec::new() });
                    at += 1;
                }
                b'#' => at = line_end(bytes, at),
                b'/' if two == b"//" => at = line_end(bytes, at),
                b'/' if two == b"/*" => match text.get(at + 2..).and_then(|rest| rest.find("*/")) {
                    Some(end) => at += end + 4,
                    None => {
                        return Err(Unclosed {
                            message: "This comment is not closed.".to_owned(),
                            help: "Add */ at its end.",
                            open: (at, 2),
                            noticed: None,
                            resume: None,
                        });
                    }
                },
                b'<' if two == b"<<" => match heredoc(text, at) {
                    Some((delimiter, body)) => {
                        stack.push(Inside::Heredoc { open: at, delimiter, directives: Vec::new() });
                        at = body;
                    }
                    None => at += 2,
                },
                b'(' | b'[' | b'{' => {
                    let closer = match byte {
                        b'(' => b')',
                        b'[' => b']',
                        _ => b'}',
                    };
                    stack.push(Inside::Bracket { open: at, width: 1, closer });
                    at += 1;
                }
                b')' | b']' | b'}' => {
                    match top {
                        Some(Inside::Bracket { closer, .. }) if *closer == byte => {}
                        Some(Inside::Bracket { open, width, closer }) => {
                            return Err(Unclosed {
                                message: format!(
                                    "This bracket must be closed by `{}`, but `{}` comes first.",
                                    char::from(*closer),
                                    char::from(byte)
                                ),
                                help: "Close the brackets in the reverse order of their opening.",
                                open: (*open, *width),
                                noticed: Some(at),
                                resume: None,
                            });
                        }
                        _ => {
                            return Err(Unclosed {
                                message: format!(
                                    "There is no open bracket that this `{}` could close.",
                                    char::from(byte)
                                ),
                                help: "Remove it, or add the bracket that opens.",
                                open: (at, 1),
                                noticed: None,
                                resume: None,
                            });
                        }
                    }
                    stack.pop();
                    at += 1;
                }
                _ => at += 1,
            },
        }
    }
    if let (Some(Inside::Quotes { .. }), Some(open)) = (stack.last(), within_quotes(&stack)) {
        return Err(not_ended(open, text.len()));
    }
    match stack.pop() {
        None => Ok(()),
        Some(Inside::Template { mut directives }) => match directives.pop() {
            None => Ok(()),
            Some(directive) => Err(directive.unclosed(None)),
        },
        Some(Inside::Quotes { open, .. }) => Err(Unclosed {
            message: "This quote is not closed.".to_owned(),
            help: "Add the closing quote.",
            open: (open, 1),
            noticed: None,
            resume: None,
        }),
        Some(Inside::Heredoc { open, delimiter, .. }) => Err(Unclosed {
            message: format!("This text runs to the end of the file: no line holds its end, {delimiter}."),
            help: "End it with a line that holds the word after << and nothing else.",
            open: (open, 2),
            noticed: None,
            resume: None,
        }),
        Some(Inside::Bracket { open, width, closer }) => Err(Unclosed {
            message: format!("This bracket is never closed by `{}`.", char::from(closer)),
            help: "Add the closing bracket; the first line whose indentation looks wrong is often where it is missing.",
            open: (open, width),
            // A line that begins at the margin while something is open.
            noticed: margin,
            resume: margin,
        }),
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')).map_or(bytes.len(), |n| at + n)
}

/// The delimiter of a heredoc that opens here, and where its text begins.
fn heredoc(text: &str, at: usize) -> Option<(&str, usize)> {
    let rest = text.get(at + 2..)?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let size = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
    let delimiter = rest.get(..size).filter(|d| d.starts_with(|c: char| c.is_alphabetic() || c == '_'))?;
    // Without another line, the text has no end.
    let line = rest.get(size..)?.find('\n').map_or(rest.len() - size, |line| line + 1);
    Some((delimiter, text.len() - rest.len() + size + line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_closed_is_found_where_it_opens() {
        for (text, open) in [
            ("a = \"x\nb = 1\n", 4),
            ("a = \"${b(\"c\"}\"\n", 8),
            ("a {\n  b = [1\n}\n", 10),
            ("a {\n", 2),
            ("x = <<EOT\nhello\n", 4),
            ("/* x", 0),
            ("a = 1\n}\n", 6),
            ("a = <<EOT", 4),
            ("\"${x\"", 1),
            ("a = \"%{ if true }x\"\n", 5),
            ("a = \"%{~ for x in y }%{ if x }%{ endif }\"\n", 5),
            ("a = <<EOT\n%{ for x in y }\nEOT\n", 10),
            ("a = \"%{ for x in y }%{ endif }\"\n", 5),
            ("a = \"x%{ endif }\"\n", 6),
            ("a = \"x${var.y\"\nb = 1\n", 6),
            ("a = [\"${f(\"]\nb = 1\n", 6),
            ("b {\n  a = <<EOT\nx ${var.y\n  EOT\n}\n", 18),
        ] {
            assert_eq!(scan(text).expect_err(text).open.0, open, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_in_a_template_file_is_found_where_it_opens() {
        for (text, open) in [("a\n%{ if b }\n", 2), ("a ${b\n", 2), ("%{ endfor }", 0), ("${a(\"x)}\n", 4)] {
            assert_eq!(scan_template(text).expect_err(text).open.0, open, "{text}");
        }
        for text in ["", "a \" ( ]\n", "$${ %%{ \\ ${\"a\"}%{ if a }}%{ endif }"] {
            assert!(scan_template(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn closed_things_are_no_problem() {
        for text in [
            "a = \"$${ \\\" %%{ \"\n",
            "a = \"${\"${b}\"}\"\n",
            "a = <<-EOT\n  ( [ \" ${b}\n  EOT\nb = 1\n",
            "# \" (\n// [\n/* { */\n",
            "a = 1 < 2\n",
            "a = \"%{ if a }%{ for b in \"%{ if c }%{ endif }\" }%{ endfor }%{ else }%{ endif }\"\n",
            "a = <<EOT\n${[\n1,\n2]}\nEOT\n",
            "",
        ] {
            assert!(scan(text).is_ok(), "{text}");
        }
        assert_eq!(scan("a {\n}\nb = 1\n").expect("fine"), [0, 6, 12]);
    }
}
