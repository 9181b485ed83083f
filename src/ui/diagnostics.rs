//! Diagnostics for people, with the lines at fault and a caret, and in the shape of `terraform validate -json`.

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::Style;
use super::text::{self, Paint};
use crate::diag::{Diagnostic, Diagnostics, Severity, SourceId, SourceMap, Span, is_unsafe};

/// Lines shown before and after the line at fault.
const CONTEXT: usize = 1;
/// Diagnostics that are printed; who has more has one cause of many, or corrects some and asks again. JSON has all.
const MOST: usize = 100;
/// Wide enough for what people write when nobody told the width: a pipe gets whole lines, but not those of a program.
const UNBOUNDED: usize = 500;

/// Diagnostics as text with snippets, and their number at the end. Empty when there is none.
///
/// The decoration is ASCII, with or without colour. `file:line:column` of every place stands behind `-->` or `:::`.
pub fn diagnostics(found: &Diagnostics, sources: &SourceMap, style: Style) -> String {
    let Diagnostics { items } = found;
    if items.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for item in shown(items) {
        out.push_str(render(item, sources, style).trim_end());
        out.push_str("\n\n");
    }
    if items.len() > MOST {
        out.push_str(&rest(items.len() - MOST));
    }
    let (errors, warnings) = counts(found);
    let mut parts = Vec::new();
    let paint = Paint::new(style);
    if errors > 0 {
        parts.push(paint.danger(&text::count(errors, "error", "errors")));
    }
    if warnings > 0 {
        parts.push(paint.warning(&text::count(warnings, "warning", "warnings")));
    }
    out.push_str(&parts.join(", "));
    out.push('\n');
    out
}

/// What ended a command that is no fault of a text: each message with its way out, in the same style. The first line of a
/// message is its summary.
pub fn failure(messages: &[(String, Option<String>)], style: Style) -> String {
    let mut found = Diagnostics::default();
    for (message, help) in messages {
        let (summary, detail) = message.trim().split_once('\n').unwrap_or((message.trim(), ""));
        found.push(Diagnostic { detail: detail.to_owned(), help: help.clone(), ..Diagnostic::error("", summary) });
    }
    diagnostics(&found, &SourceMap::default(), style)
}

/// Those that are printed, in their order: of more than are, errors before warnings.
fn shown(items: &[Diagnostic]) -> Vec<&Diagnostic> {
    if items.len() <= MOST {
        return items.iter().collect();
    }
    let errors = items.iter().filter(|item| item.is_error());
    errors.chain(items.iter().filter(|item| !item.is_error())).take(MOST).collect()
}

fn rest(more: usize) -> String {
    format!("and {more} more: correct these first\n\n")
}

fn counts(found: &Diagnostics) -> (u64, u64) {
    let errors = found.items.iter().filter(|d| d.is_error()).count();
    (errors as u64, (found.items.len() - errors) as u64)
}

fn render(item: &Diagnostic, sources: &SourceMap, style: Style) -> String {
    let Diagnostic { severity, code, summary, detail, span, related, values, help } = item;
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut elements: Vec<Element<'_>> = Vec::new();
    let mut pending: Vec<(SourceId, Vec<Mark>)> = Vec::new();
    let marks = span.iter().map(|s| (*s, None)).chain(related.iter().map(|(s, label)| (*s, Some(label))));
    for (at, label) in marks {
        let mark = Mark { span: at, label: label.map(|l| text::escape(l).into_owned()) };
        match pending.iter_mut().find(|(id, _)| *id == at.source) {
            Some((_, marks)) => marks.push(mark),
            None => pending.push((at.source, vec![mark])),
        }
    }
    for (id, marks) in &pending {
        elements.extend(snippets(sources, *id, marks, *span).into_iter().map(Element::from));
    }
    for line in detail.lines().filter(|l| !l.trim().is_empty()) {
        elements.push(Level::NOTE.no_name().message(text::escape(line).into_owned()).into());
    }
    for (name, statement) in values {
        let line = format!("{} {}", text::escape(name), text::escape(statement));
        elements.push(Level::NOTE.with_name("where").message(line).into());
    }
    for line in help.iter().flat_map(|h| h.lines()).filter(|l| !l.trim().is_empty()) {
        elements.push(Level::HELP.message(text::escape(line).into_owned()).into());
    }
    let title = level.primary_title(text::escape(summary).into_owned());
    let title = if code.is_empty() { title } else { title.id(*code) };
    let group: Group<'_> = title.elements(elements);
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    let width = if style.tty && style.width > 0 { style.width } else { UNBOUNDED };
    renderer.term_width(width).render(&[group])
}

/// A span to mark, with its label.
struct Mark {
    span: Span,
    label: Option<String>,
}

/// Where a mark is drawn: line from 0, columns from 0, the last one exclusive.
struct Place<'m> {
    line: usize,
    first: usize,
    last: usize,
    mark: &'m Mark,
}

/// Consecutive lines that are shown together, both from 0 and inclusive.
struct Window<'m> {
    from: usize,
    to: usize,
    places: Vec<Place<'m>>,
}

/// The stretches of one source around its marks: a snippet for each, marks on nearby lines together.
fn snippets<'a>(
    sources: &SourceMap,
    id: SourceId,
    marks: &[Mark],
    primary: Option<Span>,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let Some(source) = sources.get(id) else { return Vec::new() };
    let lines: Vec<&str> = source.text.split('\n').collect();
    let mut windows: Vec<Window<'_>> = Vec::new();
    for mark in marks {
        let Some(place) = place(sources, mark, &lines) else { continue };
        let from = place.line.saturating_sub(CONTEXT);
        let to = (place.line + CONTEXT).min(lines.len().saturating_sub(1));
        match windows.iter_mut().find(|w| from <= w.to + 1 && to + 1 >= w.from) {
            Some(window) => {
                window.from = window.from.min(from);
                window.to = window.to.max(to);
                window.places.push(place);
            }
            None => windows.push(Window { from, to, places: vec![place] }),
        }
    }
    windows
        .into_iter()
        .map(|Window { from, to, places }| {
            let mut shown = String::new();
            let mut starts = Vec::new();
            for line in lines.iter().take(to + 1).skip(from) {
                if !starts.is_empty() {
                    shown.push('\n');
                }
                starts.push(shown.len());
                // A carriage return at the end of a line stays one column, but is nothing to see.
                let text = line.trim_end_matches('\r');
                shown.extend(text.chars().map(visible));
                shown.extend(line.chars().skip(text.chars().count()).map(|_| ' '));
            }
            // An empty last line would not count as a line, and a mark at the end of the file would slip up.
            if shown.is_empty() || shown.ends_with('\n') {
                shown.push(' ');
            }
            let offset = |line: usize, column: usize| {
                let start = starts.get(line - from).copied().unwrap_or(0);
                let rest = shown.get(start..).and_then(|r| r.split('\n').next()).unwrap_or("");
                start + rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i)
            };
            let annotations: Vec<_> = places
                .iter()
                .map(|Place { line, first, last, mark }| {
                    let is_primary = mark.label.is_none() && primary == Some(mark.span);
                    let kind = if is_primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                    kind.span(offset(*line, *first)..offset(*line, *last)).label(mark.label.clone())
                })
                .collect();
            let path = text::escape(&source.name).into_owned();
            Snippet::source(shown).line_start(from + 1).path(path).fold(false).annotations(annotations)
        })
        .collect()
}

/// Finds where a mark is drawn. A block that spans lines is marked on its first line only: the smallest thing that
/// says where.
fn place<'m>(sources: &SourceMap, mark: &'m Mark, lines: &[&str]) -> Option<Place<'m>> {
    let Mark { span, label: _ } = mark;
    let start = sources.position(span.source, span.start)?;
    let end = sources.position(span.source, span.end.max(span.start))?;
    let (line, first) = (start.line - 1, start.column - 1);
    let length = lines.get(line).map_or(0, |l| l.trim_end_matches('\r').chars().count());
    let last = if end.line == start.line { end.column - 1 } else { length };
    Some(Place { line, first, last: last.max(first), mark })
}

/// One character for one, so that columns hold: control characters as their pictures, other tricks as a box.
fn visible(c: char) -> char {
    match c {
        '\t' => '\t',
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    }
}

#[derive(Serialize)]
struct Report<'a> {
    format_version: &'static str,
    valid: bool,
    error_count: u64,
    warning_count: u64,
    diagnostics: Vec<Json<'a>>,
}

#[derive(Serialize)]
struct Json<'a> {
    severity: &'static str,
    summary: &'a str,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<Range<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<JsonSnippet<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<Related<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<Value<'a>>,
}

#[derive(Serialize)]
struct Related<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<Range<'a>>,
}

#[derive(Serialize)]
struct Range<'a> {
    filename: &'a str,
    start: At,
    end: At,
}

#[derive(Serialize)]
struct At {
    line: usize,
    column: usize,
    byte: usize,
}

#[derive(Serialize)]
struct JsonSnippet<'a> {
    context: Option<&'a str>,
    code: &'a str,
    start_line: usize,
    highlight_start_offset: usize,
    highlight_end_offset: usize,
    values: Vec<Value<'a>>,
}

#[derive(Serialize, Clone)]
struct Value<'a> {
    traversal: &'a str,
    statement: &'a str,
}

/// Diagnostics in the shape of `terraform validate -json`, with our `code`, `help`, `related` and (also where there is
/// no snippet) `values` beside.
pub fn diagnostics_json(found: &Diagnostics, sources: &SourceMap) -> String {
    let (error_count, warning_count) = counts(found);
    let diagnostics = found.items.iter().map(|item| json(item, sources)).collect();
    let report = Report { format_version: "1.0", valid: error_count == 0, error_count, warning_count, diagnostics };
    super::pretty(&report)
}

fn json<'a>(item: &'a Diagnostic, sources: &'a SourceMap) -> Json<'a> {
    let Diagnostic { severity, code, summary, detail, span, related, values, help } = item;
    let values: Vec<Value<'a>> = values.iter().map(|(name, statement)| Value { traversal: name, statement }).collect();
    Json {
        severity: match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        summary,
        detail,
        code,
        help: help.as_deref(),
        range: span.and_then(|s| range(s, sources)),
        snippet: span.and_then(|s| snippet(s, sources, &values)),
        related: related.iter().map(|(s, label)| Related { message: label, range: range(*s, sources) }).collect(),
        values,
    }
}

fn range(span: Span, sources: &SourceMap) -> Option<Range<'_>> {
    let at = |offset| {
        let p = sources.position(span.source, offset)?;
        Some(At { line: p.line, column: p.column, byte: p.byte })
    };
    let filename = &sources.get(span.source)?.name;
    Some(Range { filename, start: at(span.start)?, end: at(span.end.max(span.start))? })
}

/// The line at fault with the offsets of the highlight in it, in bytes. Terraform's `context` names the block around;
/// it is the nearest line above at the left edge, if that opens a block.
fn snippet<'a>(span: Span, sources: &'a SourceMap, values: &[Value<'a>]) -> Option<JsonSnippet<'a>> {
    let source = &sources.get(span.source)?.text;
    let start = sources.position(span.source, span.start)?;
    let end = sources.position(span.source, span.end.max(span.start))?;
    let before = source.get(..start.byte)?;
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let code = source.get(line_start..)?.split('\n').next()?.trim_end_matches('\r');
    let highlight_start_offset = (start.byte - line_start).min(code.len());
    let highlight_end_offset = (end.byte - line_start).clamp(highlight_start_offset, code.len());
    let opens = |line: &str| line.trim_end().ends_with('{') && line.starts_with(char::is_alphabetic);
    let above =
        source.get(..line_start)?.lines().rev().find(|l| l.starts_with(|c: char| !c.is_whitespace() && c != '#'));
    let context = above.filter(|l| opens(l) && !opens(code)).map(|l| l.trim_end().trim_end_matches('{').trim_end());
    Some(JsonSnippet {
        context,
        code,
        start_line: start.line,
        highlight_start_offset,
        highlight_end_offset,
        values: values.to_vec(),
    })
}
