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
    /// A text in quotes.
    Quotes { open: usize },
    /// A heredoc with its delimiter.
    Heredoc { open: usize, delimiter: &'a str },
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
    let bytes = text.as_bytes();
    let mut stack: Vec<Inside<'_>> = Vec::new();
    let mut margin = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let two = bytes.get(at..at + 2).unwrap_or_default();
        let template = matches!(two, b"${" | b"%{");
        match stack.last() {
            Some(Inside::Quotes { open }) => match byte {
                b'"' => {
                    stack.pop();
                    at += 1;
                }
                b'\\' => at += 2,
                b'\n' => {
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
                    stack.push(Inside::Bracket { open: at, width: 2, closer: b'}' });
                    at += 2;
                }
                _ => at += 1,
            },
            Some(Inside::Heredoc { delimiter, .. }) => {
                if at == 0 || bytes.get(at - 1) == Some(&b'\n') {
                    let rest = text.get(at..).unwrap_or("");
                    let line = rest.lines().next().unwrap_or("");
                    let trimmed = line.trim_start();
                    if let Some(after) = trimmed.strip_prefix(delimiter)
                        && !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'))
                    {
                        at += line.len() - after.len();
                        stack.pop();
                        continue;
                    }
                }
                if matches!(bytes.get(at..at + 3), Some(b"$${" | b"%%{")) {
                    at += 3;
                } else if template {
                    stack.push(Inside::Bracket { open: at, width: 2, closer: b'}' });
                    at += 2;
                } else {
                    at += 1;
                }
            }
            top => match byte {
                b'\n' => {
                    at += 1;
                    if top.is_none() {
                        lines.push(at);
                        margin = None;
                    } else if margin.is_none() && bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
                        margin = Some(at);
                    }
                }
                b'"' => {
                    stack.push(Inside::Quotes { open: at });
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
                        stack.push(Inside::Heredoc { open: at, delimiter });
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
    match stack.pop() {
        None => Ok(()),
        Some(Inside::Quotes { open }) => Err(Unclosed {
            message: "This quote is not closed.".to_owned(),
            help: "Add the closing quote.",
            open: (open, 1),
            noticed: None,
            resume: None,
        }),
        Some(Inside::Heredoc { open, delimiter }) => Err(Unclosed {
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
    let line = rest.get(size..)?.find('\n')?;
    Some((delimiter, text.len() - rest.len() + size + line + 1))
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
        ] {
            assert_eq!(scan(text).expect_err(text).open.0, open, "{text}");
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
            "",
        ] {
            assert!(scan(text).is_ok(), "{text}");
        }
        assert_eq!(scan("a {\n}\nb = 1\n").expect("fine"), [0, 6, 12]);
    }
}
