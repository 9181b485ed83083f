//! Diagnostics for people, with the lines at fault and a caret, and in the shape of `terraform validate -json`.

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::text::{self, Paint};
use super::{Style, text::is_unsafe};
use crate::diag::{Diagnostic, Diagnostics, Severity, SourceId, SourceMap, Span};

/// Lines shown before and after the line at fault.
const CONTEXT: usize = 1;
/// Wide enough for any line when nobody told the width: a pipe gets whole lines.
const UNBOUNDED: usize = 10_000;

/// Diagnostics as text with snippets, and their number at the end. Empty when there is none.
///
/// The decoration is ASCII, with or without colour. `file:line:column` of every place stands behind `-->` or `:::`.
pub fn diagnostics(found: &Diagnostics, sources: &SourceMap, style: Style) -> String {
    let Diagnostics { items } = found;
    if items.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for item in items {
        out.push_str(render(item, sources, style).trim_end());
        out.push_str("\n\n");
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
    for (name, value) in values {
        let line = format!("{} = {}", text::escape(name), text::escape(value));
        elements.push(Level::NOTE.with_name("value").message(line).into());
    }
    for line in help.iter().flat_map(|h| h.lines()).filter(|l| !l.trim().is_empty()) {
        elements.push(Level::HELP.message(text::escape(line).into_owned()).into());
    }
    let title = level.primary_title(text::escape(summary).into_owned()).id(*code);
    let group: Group<'_> = title.elements(elements);
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    let width = if style.tty && style.width > 0 { style.width } else { UNBOUNDED };
    renderer.term_width(width).render(&[group])
}

struct Mark {
    span: Span,
    label: Option<String>,
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
    let mut places: Vec<(usize, usize, usize, &Mark)> = Vec::new();
    for mark in marks {
        let (Some(start), Some(end)) =
            (sources.position(id, mark.span.start), sources.position(id, mark.span.end.max(mark.span.start)))
        else {
            continue;
        };
        let line = start.line - 1;
        // A block that spans lines is marked on its first line only: the smallest thing that says where.
        let length = lines.get(line).map_or(0, |l| l.trim_end_matches('\r').chars().count());
        let last = if end.line == start.line { end.column - 1 } else { length };
        places.push((line, start.column - 1, last.max(start.column - 1), mark));
    }
    let mut groups: Vec<(usize, usize, Vec<(usize, usize, usize, &Mark)>)> = Vec::new();
    for place in places {
        let from = place.0.saturating_sub(CONTEXT);
        let to = (place.0 + CONTEXT).min(lines.len().saturating_sub(1));
        match groups.iter_mut().find(|(a, b, _)| from <= *b + 1 && to + 1 >= *a) {
            Some((a, b, members)) => {
                *a = (*a).min(from);
                *b = (*b).max(to);
                members.push(place);
            }
            None => groups.push((from, to, vec![place])),
        }
    }
    let mut made = Vec::new();
    for (from, to, members) in groups {
        let mut shown = String::new();
        let mut starts = Vec::new();
        for line in lines.iter().take(to + 1).skip(from) {
            starts.push(shown.len());
            shown.extend(line.trim_end_matches('\r').chars().map(visible));
            shown.push('\n');
        }
        // The last line's own end would be shown as one line more.
        shown.pop();
        let offset = |line: usize, column: usize| {
            let start = starts.get(line - from).copied().unwrap_or(0);
            let rest = shown.get(start..).unwrap_or("");
            let rest = rest.split('\n').next().unwrap_or("");
            start + rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i)
        };
        let mut annotations = Vec::new();
        for (line, first, last, mark) in members {
            let kind = if primary == Some(mark.span) && mark.label.is_none() {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            annotations.push(kind.span(offset(line, first)..offset(line, last)).label(mark.label.clone()));
        }
        made.push(
            Snippet::source(shown)
                .line_start(from + 1)
                .path(text::escape(&source.name).into_owned())
                .fold(false)
                .annotations(annotations),
        );
    }
    made
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
    statement: String,
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
    let values: Vec<Value<'a>> =
        values.iter().map(|(name, value)| Value { traversal: name, statement: format!("is {value}") }).collect();
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
