//! Formats configurations: Terraform's canonical style, by moving nothing but blanks between tokens.
//!
//! A text is parsed, cut into tokens, and put together again with other blanks. Then it is parsed and cut once more: when
//! that does not give the same tokens, comments among them, and the same blocks, attributes and values, the text is left
//! alone and the place is told. What is in quotes, in a heredoc or in a comment is never touched, lines stay lines, and
//! each keeps its end (LF or CR LF). A byte order mark goes, and blanks behind the last line.
//!
//! Where this differs from `terraform fmt`, which also rewrites (`testdata/fmt` has a file for each):
//!
//! | Terraform | here | why |
//! | --- | --- | --- |
//! | `"${x}"` becomes `x` | stays | only blanks are moved, so that no value can change |
//! | quotes are put round a block's bare labels | stay bare | the same |
//! | comments between a block's labels are lost | stay | no comment is ever lost |
//! | quoted types in `variable` blocks lose their quotes | stay, and `validate` refuses them | the same |
//! | blanks in `${…}` within a heredoc are moved | stay | a heredoc is never touched inside |
//! | blanks behind the last line stay | go | they go everywhere else |
//! | a chain of lines is aligned at any cost | up to 32 blanks for each column | a long line must not inflate the others |

mod layout;
mod split;
#[cfg(test)]
mod tests;
mod token;

use std::borrow::Cow;

use camino::Utf8Path;
use hcl::edit::expr::{Array, FuncArgs, Object};
use hcl::edit::structure::Body;
use hcl::edit::template::{ForDirective, IfDirective};
use hcl::edit::visit_mut::{self, VisitMut};
use hcl::edit::{Span as _, parser};

use super::read::{self, Texts};
use super::scope::{FILE_LIMIT, Report};
use super::{secrets, syntax};
use crate::diag::{Diagnostic, Diagnostics, SourceMap, Span};
use split::split;

/// Largest text that is formatted, in bytes.
pub const LIMIT: u64 = FILE_LIMIT;

/// Formats texts, one after the other, and collects what is wrong in any.
#[derive(Default)]
pub struct Formatter {
    texts: Texts,
    report: Report,
}

impl Formatter {
    /// Reads a file. `None`: it cannot be read, or has more than 64 MiB; that is told by [`Formatter::finish`].
    pub fn read(&mut self, path: &Utf8Path) -> Option<Vec<u8>> {
        read::bytes(path, path.as_str(), read::Kind::File, &mut self.texts, &mut self.report)
    }

    /// Gives a text's canonical form. `None`: it is no configuration, or it could not be formatted safely; that is
    /// told by [`Formatter::finish`].
    pub fn format(&mut self, name: &str, bytes: Vec<u8>) -> Option<String> {
        let text = read::decode(name, bytes, &mut self.texts, &mut self.report)?;
        let tokens = token::tokens(&text);
        let Ok(body) = parser::parse_body(&split(&text, &tokens)) else {
            self.refuse(name, text);
            return None;
        };
        let formatted = layout::print(&text, &tokens);
        match damage(&text, &tokens, body, &formatted) {
            None => Some(formatted),
            Some((start, end)) => {
                self.unsafe_at(name, text, start, end);
                None
            }
        }
    }

    /// Tells all syntax errors of a text.
    fn refuse(&mut self, name: &str, text: String) {
        let source = self.texts.add(name.to_owned(), text.clone());
        let mut found = Diagnostics::default();
        syntax::parse(source, &text, &mut found);
        if !found.has_errors() {
            found.push(Diagnostic::error("config/syntax", "Syntax error").detail(format!("{name:?} cannot be read.")));
        }
        found.items.into_iter().for_each(|diagnostic| self.report.push(diagnostic));
    }

    fn unsafe_at(&mut self, name: &str, text: String, start: usize, end: usize) {
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let source = self.texts.add(name.to_owned(), text);
        self.report.push(
            Diagnostic::error("fmt/unsafe", "Not formatted")
                .detail("Other blanks here would change what is read, so the file is left as it is.")
                .at(Span { source, start: number(start), end: number(end) })
                .help("Write this in another way; an empty heredoc, for one, is written \"\"."),
        );
    }

    /// All that was wrong, with the texts to show it in. What looks like a secret in them is masked.
    pub fn finish(mut self) -> (Diagnostics, SourceMap) {
        self.report.diagnostics.items.iter_mut().for_each(secrets::scrub);
        (self.report.diagnostics, self.texts.finish())
    }
}

/// A text as it may be shown: what looks like a secret is masked.
pub fn masked(text: String) -> String {
    secrets::mask_secrets(text)
}

/// Where the formatted text says anything else than the text, in bytes of the text.
fn damage(text: &str, tokens: &[token::Token], mut body: Body, formatted: &str) -> Option<(usize, usize)> {
    let found = token::tokens(formatted);
    let same = |(a, b): (&token::Token, &token::Token)| a.kind == b.kind && a.text(text) == b.text(formatted);
    let length = tokens.iter().zip(&found).take_while(|pair| same(*pair)).count();
    if length < tokens.len() || length < found.len() {
        return Some(tokens.get(length).map_or((text.len(), text.len()), |token| (token.start, token.end)));
    }
    let Ok(mut other) = parser::parse_body(&split(formatted, &found)) else { return Some((0, 0)) };
    if body == other {
        return None;
    }
    Bare.visit_body_mut(&mut body);
    Bare.visit_body_mut(&mut other);
    if body == other {
        return None;
    }
    let differs = body.iter().zip(other.iter()).find(|(a, b)| a != b).and_then(|(a, _)| a.span());
    // Only a text that was not cut has its places where they were read.
    Some(differs.filter(|_| matches!(split(text, tokens), Cow::Borrowed(_))).map_or((0, 0), |s| (s.start, s.end)))
}

/// Takes away the blanks that the parser's tree compares: before what closes, and around the words of `%{ if }` and
/// `%{ for }`.
struct Bare;

impl VisitMut for Bare {
    fn visit_array_mut(&mut self, node: &mut Array) {
        node.set_trailing("");
        visit_mut::visit_array_mut(self, node);
    }

    fn visit_object_mut(&mut self, node: &mut Object) {
        node.set_trailing("");
        visit_mut::visit_object_mut(self, node);
    }

    fn visit_func_args_mut(&mut self, node: &mut FuncArgs) {
        node.set_trailing("");
        visit_mut::visit_func_args_mut(self, node);
    }

    fn visit_if_directive_mut(&mut self, node: &mut IfDirective) {
        node.if_expr.set_preamble("");
        if let Some(other) = &mut node.else_expr {
            other.set_preamble("");
            other.set_trailing("");
        }
        node.endif_expr.set_preamble("");
        node.endif_expr.set_trailing("");
        visit_mut::visit_if_directive_mut(self, node);
    }

    fn visit_for_directive_mut(&mut self, node: &mut ForDirective) {
        node.for_expr.set_preamble("");
        node.endfor_expr.set_preamble("");
        node.endfor_expr.set_trailing("");
        visit_mut::visit_for_directive_mut(self, node);
    }
}
