//! From text to blocks and attributes with spans. Syntax errors become diagnostics in words, and do not hide what is
//! wrong elsewhere in the file: after one, the file's top-level parts are parsed one by one.

use hcl::edit::structure::{Body as HclBody, Structure};
use hcl::edit::{Span as _, parser};

use super::convert::Converter;
use super::scan::{self, Unclosed};
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span};
use crate::expr::tree::Node;

/// Attributes and blocks, in the order they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) attributes: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

/// `name = value`.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) value: Node,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) labels: Vec<(String, Span)>,
    /// Kind and labels.
    pub(super) header: Span,
    pub(super) kind_span: Span,
    pub(super) body: Body,
}

impl Body {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }
}

/// Parts that are tried on their own after something that is never closed. Each costs a scan of the rest.
const RESUMES: usize = 20;

/// Parses one text; what is whole in it is returned also when the rest is not.
pub(super) fn parse(source: SourceId, text: &str, diagnostics: &mut Diagnostics) -> Body {
    let mut body = Body::default();
    let mut from = 0;
    for _ in 0..RESUMES {
        let mut lines = vec![0];
        let rest = text.get(from..).unwrap_or("");
        let Err(mut unclosed) = scan::lines_of(rest, &mut lines) else {
            parts(source, text, (from, text.len()), lines, &mut body, diagnostics);
            return body;
        };
        let whole = lines.pop().unwrap_or(0);
        parts(source, text, (from, from + whole), lines, &mut body, diagnostics);
        unclosed.open.0 += from;
        unclosed.noticed = unclosed.noticed.map(|at| at + from);
        diagnostics.push(not_closed(source, text, &unclosed));
        match unclosed.resume {
            Some(at) => from += at,
            None => break,
        }
    }
    body
}

/// Parses a stretch in which everything is closed: as a whole, or, when that fails, one part for each top-level line
/// that begins something, so that all errors are found at once. `lines` count from the stretch's beginning.
fn parts(
    source: SourceId,
    text: &str,
    (from, to): (usize, usize),
    lines: Vec<usize>,
    body: &mut Body,
    diagnostics: &mut Diagnostics,
) {
    let stretch = text.get(from..to).unwrap_or("");
    let error = match parser::parse_body(stretch) {
        Ok(parsed) => return take(&Converter { source, text, base: from }, &parsed, body, diagnostics),
        Err(error) => error,
    };
    let begins = |at: &usize| stretch.get(*at..).is_some_and(|rest| !rest.starts_with([' ', '\t', '}', ')', ']']));
    let mut starts = lines.into_iter().filter(begins);
    let mut start = starts.next();
    let mut told = false;
    while let Some(at) = start {
        start = starts.next();
        let part = stretch.get(at..start.unwrap_or(stretch.len())).unwrap_or("");
        match parser::parse_body(part) {
            Ok(parsed) => take(&Converter { source, text, base: from + at }, &parsed, body, diagnostics),
            Err(error) => {
                told = true;
                diagnostics.push(explain(source, text, from + at + locate(part, &error), error.message()));
            }
        }
    }
    if !told {
        // The parts are whole but the stretch is not: say what the parser said.
        diagnostics.push(explain(source, text, from + locate(stretch, &error), error.message()));
    }
}

/// What can stand where a value is expected.
const VALUES: &str = "A value is a text in quotes, a number, true, false, null, a [list], an { object }, a reference or a \
                      function call.";

/// Said of what the parser has no better word for.
const MISPLACED: &str = "does not belong here.";

/// Parses one expression, like the value of `--var`.
pub(super) fn parse_expression(source: SourceId, text: &str) -> Result<Node, Box<Diagnostic>> {
    if text.trim().is_empty() {
        let empty =
            Diagnostic::error("config/syntax", "Syntax error").detail("Expected an expression; here is nothing.");
        return Err(empty.at(span(source, 0, 0)).help(VALUES).into());
    }
    scan::scan(text).map_err(|unclosed| not_closed(source, text, &unclosed))?;
    let base = text.len() - text.trim_start().len();
    match parser::parse_expr(text.trim()) {
        Ok(expression) => {
            let mut diagnostics = Diagnostics::default();
            let node = Converter { source, text, base }.expression(&expression, &mut diagnostics);
            diagnostics.items.pop().map_or(Ok(node), |d| Err(d.into()))
        }
        Err(error) => {
            let mut fault = explain(source, text, base + error.location().offset(), error.message());
            if fault.detail.ends_with(MISPLACED) {
                fault.help = Some("An operator is missing before it, or an operand behind it.".to_owned());
            }
            Err(fault.into())
        }
    }
}

/// Parses a template file.
pub(super) fn parse_template(source: SourceId, text: &str) -> Result<Node, Box<Diagnostic>> {
    scan::scan_template(text).map_err(|unclosed| not_closed(source, text, &unclosed))?;
    match parser::parse_template(text) {
        Ok(template) => {
            let mut diagnostics = Diagnostics::default();
            let node = Converter { source, text, base: 0 }.template_file(&template, &mut diagnostics);
            diagnostics.items.pop().map_or(Ok(node), |d| Err(d.into()))
        }
        Err(error) => Err(explain(source, text, error.location().offset(), error.message()).into()),
    }
}

fn take(converter: &Converter<'_>, parsed: &HclBody, body: &mut Body, diagnostics: &mut Diagnostics) {
    for structure in parsed {
        match structure {
            Structure::Attribute(attribute) => body.attributes.push(Attribute {
                name: attribute.key.as_str().to_owned(),
                name_span: converter.span(attribute.key.span()),
                value: converter.expression(&attribute.value, diagnostics),
            }),
            Structure::Block(block) => {
                let kind_span = converter.span(block.ident.span());
                let labels: Vec<(String, Span)> =
                    block.labels.iter().map(|l| (l.as_str().to_owned(), converter.span(l.span()))).collect();
                let end = labels.last().map_or(kind_span.end, |(_, span)| span.end.max(kind_span.end));
                let mut inner = Body::default();
                take(converter, &block.body, &mut inner, diagnostics);
                body.blocks.push(Block {
                    kind: block.ident.as_str().to_owned(),
                    labels,
                    header: Span { end, ..kind_span },
                    kind_span,
                    body: inner,
                });
            }
        }
    }
}

fn span(source: SourceId, start: usize, length: usize) -> Span {
    let start = u32::try_from(start).unwrap_or(u32::MAX);
    Span { source, start, end: start.saturating_add(u32::try_from(length).unwrap_or(0)) }
}

fn not_closed(source: SourceId, text: &str, unclosed: &Unclosed) -> Diagnostic {
    let (open, length) = unclosed.open;
    let mut diagnostic = Diagnostic::error("config/unclosed", "Not closed")
        .detail(unclosed.message.clone())
        .at(span(source, open, length))
        .help(unclosed.help);
    if let Some(noticed) = unclosed.noticed
        && text.as_bytes().get(noticed) != Some(&b'\n')
    {
        diagnostic = diagnostic.also(span(source, noticed, 1), "noticed here");
    }
    diagnostic
}

/// Where the error is: the parser's own place, or what follows the last thing that it took whole.
fn locate(text: &str, error: &parser::Error) -> usize {
    error.location().offset().min(text.len())
}

/// Puts the parser's message into words.
fn explain(source: SourceId, text: &str, at: usize, message: &str) -> Diagnostic {
    let spaces = text.get(at..).map_or(0, |rest| rest.len() - rest.trim_start_matches([' ', '\t']).len());
    let at = at + spaces;
    let (found, length) = token(text, at);
    let line_start = text.get(..at).and_then(|b| b.rfind('\n')).map_or(0, |i| i + 1);
    let before = text.get(line_start..at).unwrap_or("").trim_end();
    let here = span(source, at, length);
    let make = |code, summary: &str, detail: String| Diagnostic::error(code, summary).detail(detail).at(here);
    if message.contains("redefined attribute") {
        let mut diagnostic =
            make("config/duplicate-attribute", "Duplicate attribute", format!("{found} is set twice in one block."));
        let name = text.get(at..at + length).unwrap_or("");
        if let Some(first) = first_definition(text, at, name) {
            diagnostic = diagnostic.also(span(source, first, length), "first set here");
        }
        return diagnostic.help("Remove one of them.");
    }
    if message.contains("redefined object key") {
        return make(
            "config/duplicate-key",
            "Duplicate key",
            format!("The key {} stands in this object already.", key(text, at).unwrap_or(found)),
        )
        .help("Remove one of them.");
    }
    if message.contains("nesting depth") || message.contains("operator") && message.contains("at most") {
        return make(
            "config/too-deep",
            "Nested too deeply",
            "Expressions and blocks may be nested 64 levels deep and chain 128 operators.".to_owned(),
        )
        .help("Put inner parts into `locals`.");
    }
    let syntax = |detail: String| make("config/syntax", "Syntax error", detail);
    if ["`'`", "`‘`", "`’`", "`“`", "`”`", "`„`"].contains(&found.as_str()) {
        return syntax(format!("Expected a value; found {found}.")).help("Texts stand in double quotes.");
    }
    if let Some(help) = number(text, at - spaces) {
        return syntax(format!("{} cannot stand behind this number.", capital(&found))).help(help);
    }
    if message.contains("invalid expression") {
        let detail = if before.ends_with('=') {
            format!("Expected a value after `=`; found {found}.")
        } else {
            format!("Expected an expression; found {found}.")
        };
        return syntax(detail).help(VALUES);
    }
    if message.contains("invalid structure") {
        let name = before.trim().to_owned();
        return syntax(format!(
            "After {name:?}, expected `=` for an attribute, or labels and `{{` for a block; found {found}."
        ));
    }
    if message.contains("invalid block body") && before.is_empty() && found.starts_with('`') {
        return syntax(format!("The value of {found} cannot be read: a template in it is not complete."))
            .help("Each ${ and %{ ends with }, each %{ if } needs an %{ endif }, each %{ for } an %{ endfor }.");
    }
    if let Some(help) = operator(before, text.get(at..).unwrap_or_default()) {
        return syntax(format!("Expected the end of the line or an operator; found {found}.")).help(help);
    }
    if message.contains("invalid block body") {
        return syntax(format!("Expected the end of the block, `}}`; found {found}.")).help(
            "A block on one line holds at most one attribute, and no comma; put each attribute on a line of its own.",
        );
    }
    if message.contains("newline") && message.contains("eof") {
        return syntax(format!("Expected the end of the line after this; found {found}."))
            .help("Each attribute and each block stands on a line of its own.");
    }
    if message.contains("escape sequence") || message.contains("hex code") {
        // The parser stands behind what it could not take.
        let back = text.get(line_start..at).and_then(|line| line.rfind('\\')).map_or(at, |i| line_start + i);
        let sign: String = text.get(back..).unwrap_or("").chars().take(2).collect();
        return unknown_escape(&sign, span(source, back, sign.len()));
    }
    if before.starts_with("<<") || before.contains(" <<") && message.contains("newline") {
        return syntax("Behind a heredoc's introducer, nothing may stand on its line, no blanks either.".to_owned())
            .help("Remove what stands behind it.");
    }
    let expected = message
        .strip_prefix("expected ")
        .or_else(|| message.split("; expected ").nth(1))
        .map(|m| m.split("; ").next().unwrap_or(m));
    match expected {
        Some(expected) if !expected.is_empty() => {
            syntax(format!("Expected {}; found {found}.", expected.replace('\n', "a newline")))
        }
        _ => syntax(format!("{} {MISPLACED}", capital(&found)))
            .help("A configuration consists of blocks, `kind \"label\" { … }`, and attributes, `name = value`."),
    }
}

/// What to do where another language's operator stands: what is before it on its line, and what follows.
fn operator(before: &str, rest: &str) -> Option<&'static str> {
    let word = |text: &str, from: &str| {
        let rest = text.strip_prefix(from);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    match () {
        () if word(rest, "and") || word(rest, "or") => Some("Write && for and, || for or."),
        () if before.ends_with(" not") || before.ends_with("(not") => Some("Write ! for not."),
        () if before.ends_with('*') && rest.starts_with('*') => Some("Write pow(2, 3)."),
        () if before.ends_with("==") && rest.starts_with('=') => Some("Write == or !=."),
        () => None,
    }
}

/// What to do about a number whose writing goes on at a place in a way that numbers do not have.
fn number(text: &str, at: usize) -> Option<&'static str> {
    let digit = |c: char| c.is_ascii_digit();
    let (before, next) = (text.get(..at)?, text.get(at..)?.chars().next()?);
    // A name may end in a digit, too.
    let written = before.rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).next()?;
    if !written.starts_with(digit) {
        return None;
    }
    match next {
        _ if written.ends_with('.') => Some("Write a digit behind the point, or leave the point out."),
        'e' | 'E' => Some("A number has at most 38 digits before its point and 37 behind it."),
        '_' | 'x' | 'o' | 'b' => Some("Numbers are decimal and without separators: 1024, 0.5, 1e6."),
        'k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T' => Some("A size is a text, \"20Gi\"; in a condition, 20 * GiB."),
        's' | 'h' | 'd' => Some("A duration is a text: \"15m\"."),
        _ => None,
    }
}

/// The diagnostic for a backslash before what has no meaning after one.
pub(super) fn unknown_escape(sign: &str, at: Span) -> Diagnostic {
    let detail = match sign {
        "\\u" => "`\\u` must be followed by four hexadecimal digits that write a character.".to_owned(),
        "\\U" => "`\\U` must be followed by eight hexadecimal digits that write a character.".to_owned(),
        _ => format!("Unknown escape in a text: {sign}"),
    };
    Diagnostic::error("config/syntax", "Syntax error")
        .detail(detail)
        .at(at)
        .help("Known are \\n, \\r, \\t, \\\", \\\\, \\uNNNN and \\UNNNNNNNN; a backslash itself is \\\\.")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// The word or sign at a place, for people, and its length.
fn token(text: &str, at: usize) -> (String, usize) {
    let rest = text.get(at..).unwrap_or("");
    let Some(first) = rest.chars().next() else { return ("the end of the file".to_owned(), 0) };
    match first {
        '\n' | '\r' => ("the end of the line".to_owned(), 0),
        '#' => ("a comment".to_owned(), 1),
        '"' => ("a text in quotes".to_owned(), 1),
        c if c.is_alphanumeric() || c == '_' => {
            let size = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
            let word: String = rest.get(..size).unwrap_or("").chars().take(60).collect();
            (format!("`{word}`"), size)
        }
        c if c.is_control() => (format!("the control character U+{:04X}", c as u32), c.len_utf8()),
        c => (format!("`{c}`"), c.len_utf8()),
    }
}

/// A text in quotes on one line, as it is written.
fn key(text: &str, at: usize) -> Option<String> {
    let rest = text.get(at..)?.strip_prefix('"')?;
    let end = rest.find(['"', '\n']).filter(|end| rest.as_bytes().get(*end) == Some(&b'"'))?;
    Some(format!("`\"{}\"`", rest.get(..end)?))
}

/// Finds the earlier line of the same block that sets an attribute: the nearest one before with the same depth.
fn first_definition(text: &str, at: usize, name: &str) -> Option<usize> {
    let before = text.get(..at)?;
    let mut depth = 0i64;
    let mut found = None;
    for (start, line) in before.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    }) {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix(name)
            && rest.trim_start().starts_with('=')
        {
            found = Some((start + line.len() - trimmed.len(), depth));
        }
        depth += line.matches('{').count() as i64 - line.matches('}').count() as i64;
    }
    found.filter(|(_, d)| *d == depth).map(|(at, _)| at)
}
