//! Decides how many blanks stand before each token: Terraform's canonical style, which `terraform fmt` gives for the
//! same tokens. Looks at nothing but the tokens, so that a text in canonical style stays as it is.

use unicode_segmentation::UnicodeSegmentation as _;

use super::token::{Kind, Token};

/// Blanks of one level of indentation.
const INDENT: usize = 2;

/// Most blanks that aligning may add, for each column that is there, and in any case. Beyond, a blank each must do: one
/// line of a megabyte must not make a megabyte of each of its neighbours. Terraform has no such bound; what people write
/// stays far below.
const PADDING: usize = 32;
const PADDING_FREE: usize = 1 << 16;

/// A line as indices of tokens: what is before the `=`, from the `=` on, and the comment at its end.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: usize,
    /// Where the `=` of an assignment stands that is whole on this line; else where the comment begins.
    assign: usize,
    /// Where a comment begins that has something before it; else the end.
    comment: usize,
    end: usize,
}

impl Line {
    fn assigns(&self) -> bool {
        self.assign < self.comment
    }

    fn has_comment(&self) -> bool {
        self.comment < self.end
    }
}

/// Puts a text together again, with the canonical blanks.
pub(super) fn print(text: &str, tokens: &[Token]) -> String {
    let lines = lines(tokens);
    let mut blanks = vec![0; tokens.len()];
    space(tokens, &lines, &mut blanks);
    indent(tokens, &lines, &mut blanks);
    let widths: Vec<usize> = tokens.iter().map(|token| width(token.text(text))).collect();
    align(&lines, &mut blanks, &widths, Line::assigns, |line| line.assign);
    align(&lines, &mut blanks, &widths, Line::has_comment, |line| line.comment);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (token, blanks) in tokens.iter().zip(blanks) {
        out.extend(std::iter::repeat_n(' ', blanks));
        out.push_str(token.text(text));
    }
    out
}

/// What a reader takes for one character is one column.
fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.graphemes(true).count() }
}

fn lines(tokens: &[Token]) -> Vec<Line> {
    let ends = |token: &Token| matches!(token.kind, Kind::Newline | Kind::Comment);
    let mut lines = Vec::new();
    let mut start = 0;
    for part in tokens.split_inclusive(ends) {
        let end = start + part.len();
        let comments = part.len() > 1 && part.last().is_some_and(|token| token.kind == Kind::Comment);
        let comment = end - usize::from(comments);
        let body = part.get(..comment - start).unwrap_or_default();
        // An assignment that ends on another line is not aligned with its neighbours.
        let sign = body.iter().skip(1).position(|token| token.kind == Kind::Assign).map(|i| i + 1);
        let whole = |i: &usize| balance(body.get(*i..).unwrap_or_default()) == 0;
        let assign = sign.filter(whole).map_or(comment, |i| start + i);
        lines.push(Line { start, assign, comment, end });
        start = end;
    }
    lines
}

/// What opens less what closes.
fn balance(tokens: &[Token]) -> i64 {
    tokens.iter().map(|token| token.kind.opens()).sum()
}

/// Indents each line by the lines above that opened something and are still open: however many brackets a line opens,
/// what follows it is one level deeper.
fn indent(tokens: &[Token], lines: &[Line], blanks: &mut [usize]) {
    // What each level's line opened.
    let mut levels: Vec<i64> = Vec::new();
    for line in lines {
        let part = tokens.get(line.start..line.comment).unwrap_or_default();
        let empty = tokens.get(line.start).is_none_or(|token| token.kind == Kind::Newline);
        let change = balance(part);
        let mut closing = -change;
        while closing > 0
            && let Some(level) = levels.last_mut()
        {
            if *level > closing {
                *level -= closing;
                break;
            }
            closing -= *level;
            levels.pop();
        }
        if let Some(blanks) = blanks.get_mut(line.start) {
            *blanks = if empty { 0 } else { INDENT * levels.len() };
        }
        if change > 0 {
            levels.push(change);
        }
    }
}

/// Puts a blank or none between the tokens of each line.
fn space(tokens: &[Token], lines: &[Line], blanks: &mut [usize]) {
    let mut cell = |from: usize, to: usize| {
        let mut before = None;
        let cell = tokens.get(from..to).unwrap_or_default();
        for (i, pair) in cell.windows(2).enumerate() {
            let [token, after] = pair else { continue };
            if let Some(blanks) = blanks.get_mut(from + i + 1) {
                *blanks = usize::from(apart(before, token.kind, after.kind));
            }
            before = Some(token.kind);
        }
    };
    for line in lines {
        cell(line.start, line.assign);
        cell(line.assign, line.comment);
    }
}

/// True when a blank stands between a token and the next one; `before` is the token before both.
fn apart(before: Option<Kind>, token: Kind, after: Kind) -> bool {
    use Kind::{
        Assign, CloseBrace, CloseQuote, CloseTemplate, Colon, Comma, Dot, DoubleColon, Ellipsis, In, Minus, Name,
        Newline, Not, Number, OpenBrace, OpenBracket, OpenParen, OpenQuote, OpenTemplate, Operator, Text,
    };
    let name = |kind| matches!(kind, Name | In);
    match (token, after) {
        (_, Newline) => false,
        (token, OpenParen | DoubleColon) if name(token) => false,
        (DoubleColon, after) if name(after) => false,
        (Dot, _) | (_, Dot | Comma | Ellipsis) => false,
        (Comma, _) => true,
        (Text | OpenQuote, _) | (_, Text | CloseQuote) => false,
        // A list after `in`, not an index.
        (In, _) if before.is_some_and(name) => true,
        (token, OpenBracket) if name(token) || token == Number || token.opens() < 0 => false,
        (Not, _) => false,
        // A sign, or a subtraction.
        (Minus, _) => !matches!(
            before,
            None | Some(OpenParen | OpenBrace | OpenBracket | Assign | Colon | Comma | Operator | Minus | Not)
        ),
        (OpenBrace, CloseBrace) => false,
        (OpenBrace, _) | (_, CloseBrace) => true,
        (OpenTemplate, OpenBrace) | (CloseBrace, CloseTemplate) => true,
        (CloseTemplate, OpenTemplate) => false,
        (token, _) if token.opens() > 0 => false,
        (_, after) if after.opens() < 0 => false,
        _ => true,
    }
}

/// Puts a cell at the same column on consecutive lines that have it.
fn align(
    lines: &[Line],
    blanks: &mut [usize],
    widths: &[usize],
    has: impl Fn(&Line) -> bool,
    cell: impl Fn(&Line) -> usize,
) {
    for chain in lines.chunk_by(|a, b| has(a) && has(b)).filter(|chain| chain.first().is_some_and(&has)) {
        let before = |line: &Line| -> usize {
            let part = line.start..cell(line);
            let sum = |all: &[usize]| all.get(part.clone()).unwrap_or_default().iter().sum::<usize>();
            sum(blanks) + sum(widths)
        };
        let columns: Vec<usize> = chain.iter().map(before).collect();
        let most = columns.iter().max().copied().unwrap_or(0);
        let sum: usize = columns.iter().sum();
        let aligned = most * columns.len() - sum <= PADDING * sum + PADDING_FREE;
        for (line, columns) in chain.iter().zip(columns) {
            if let Some(blanks) = blanks.get_mut(cell(line)) {
                *blanks = if aligned { most - columns + 1 } else { 1 };
            }
        }
    }
}
