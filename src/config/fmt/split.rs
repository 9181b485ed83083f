//! Cuts objects of very many items into objects of fewer, for the parser alone: it compares each key of an object with
//! all before it, which would take a minute for a megabyte of items. What is formatted and written is never cut.

use std::borrow::Cow;

use super::token::{Kind, Token};

/// Items that stay together.
const ITEMS: usize = 256;

/// What is open.
struct Level {
    /// Behind what opens.
    start: usize,
    object: bool,
    items: usize,
    cuts: Vec<usize>,
}

/// A text that is accepted if and only if this one is (equal keys of a cut object apart), and that differs where this one
/// does.
pub(super) fn split<'a>(text: &'a str, tokens: &[Token]) -> Cow<'a, str> {
    let mut levels: Vec<Level> = Vec::new();
    let mut inserts: Vec<(usize, String)> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind.opens() {
            1.. => {
                let before = i.checked_sub(1).and_then(|i| tokens.get(i)).map(|token| token.kind);
                // A block's brace stands behind its kind or its labels.
                let body = matches!(before, None | Some(Kind::Name | Kind::CloseQuote | Kind::InlineComment));
                let repeats = tokens.get(i + 1).is_some_and(|token| token.text(text) == "for");
                let object = token.kind == Kind::OpenBrace && !body && !repeats;
                levels.push(Level { start: token.end, object, items: 0, cuts: Vec::new() });
            }
            ..=-1 => {
                let Some(level) = levels.pop() else { continue };
                if !level.cuts.is_empty() {
                    inserts.push((level.start, "_={".to_owned()));
                    inserts.extend(level.cuts.into_iter().enumerate().map(|(n, at)| (at, format!("}},_{n}={{"))));
                    inserts.push((token.start, "}".to_owned()));
                }
            }
            0 => {
                let Some(level) = levels.last_mut().filter(|level| level.object) else { continue };
                if matches!(token.kind, Kind::Comma | Kind::Newline | Kind::Comment) {
                    level.items += 1;
                    if level.items.is_multiple_of(ITEMS) {
                        level.cuts.push(token.end);
                    }
                }
            }
        }
    }
    if inserts.is_empty() {
        return Cow::Borrowed(text);
    }
    inserts.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(text.len() + inserts.len() * 8);
    let mut from = 0;
    for (at, part) in inserts {
        out.push_str(text.get(from..at).unwrap_or(""));
        out.push_str(&part);
        from = at;
    }
    out.push_str(text.get(from..).unwrap_or(""));
    Cow::Owned(out)
}
