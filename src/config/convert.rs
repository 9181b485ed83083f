//! From the parser's expressions to ours.

use hcl::edit::Span as _;
use hcl::edit::expr::{BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator};
use hcl::edit::template::{Directive, Element, Template};
use std::ops::Range;

use crate::diag::{Diagnostic, Diagnostics, SourceId, Span};
use crate::expr::tree::{Binary, Call, For, Kind, Node, Step, StepKind, Unary};
use crate::expr::{Number, Value};

/// Converts what was parsed from a part of one source.
pub(super) struct Converter<'a> {
    pub(super) source: SourceId,
    /// The whole source.
    pub(super) text: &'a str,
    /// Where the parsed part begins.
    pub(super) base: usize,
}

impl Converter<'_> {
    /// A place in the source.
    pub(super) fn span(&self, range: Option<Range<usize>>) -> Span {
        let range = range.unwrap_or(0..0);
        let at = |n: usize| u32::try_from(n + self.base).unwrap_or(u32::MAX);
        Span { source: self.source, start: at(range.start), end: at(range.end) }
    }

    fn written(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Converts an expression. The parser bounds its depth.
    pub(super) fn expression(&self, expression: &Expression, out: &mut Diagnostics) -> Node {
        let span = self.span(expression.span());
        let kind = match expression {
            Expression::Null(_) => Kind::Literal(Value::Null),
            Expression::Bool(truth) => Kind::Literal(Value::Bool(**truth)),
            Expression::Number(_) => {
                let written: String = self.written(span).chars().filter(|c| !c.is_whitespace()).collect();
                match Number::parse(&written) {
                    Some(number) => Kind::Literal(number.into()),
                    None => {
                        out.push(out_of_range(span));
                        Kind::Literal(Value::Unknown)
                    }
                }
            }
            Expression::String(text) => Kind::Literal(Value::from((**text).as_str())),
            Expression::StringTemplate(template) => {
                let elements: Vec<&Element> = template.iter().collect();
                return self.template(&elements, span, out, Place::Quotes);
            }
            Expression::HeredocTemplate(heredoc) => {
                let elements: Vec<&Element> = heredoc.template.iter().collect();
                let indented = self.written(span).starts_with("<<-");
                if indented && elements.iter().any(|e| matches!(e, Element::Directive(_))) {
                    out.push(
                        Diagnostic::error("config/heredoc", "Directive in an indented text")
                            .detail("A text that begins with <<- cannot hold %{ if } or %{ for }: what indentation means inside them is not defined.")
                            .at(Span { end: span.start.saturating_add(3), ..span })
                            .help("Begin it with << instead of <<-."),
                    );
                }
                return self.template(&elements, span, out, Place::Text);
            }
            Expression::Array(items) => Kind::List(items.iter().map(|i| self.expression(i, out)).collect()),
            Expression::Object(entries) => Kind::Object(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let key = match key {
                            ObjectKey::Ident(name) => {
                                Node::new(Kind::Literal(Value::from(name.as_str())), self.span(name.span()))
                            }
                            ObjectKey::Expression(key) => self.expression(key, out),
                        };
                        (key, self.expression(value.expr(), out))
                    })
                    .collect(),
            ),
            Expression::Variable(name) => Kind::Name(name.as_str().to_owned()),
            Expression::Traversal(traversal) => {
                let base = self.expression(&traversal.expr, out);
                let steps = traversal.operators.iter().map(|o| self.step(o, span, out)).collect();
                Kind::Path(Box::new(base), steps)
            }
            Expression::FuncCall(call) => {
                let mut name = String::new();
                for part in &call.name.namespace {
                    name.push_str(part.as_str());
                    name.push_str("::");
                }
                name.push_str(call.name.name.as_str());
                Kind::Call(Call {
                    name,
                    name_span: self.span(call.name.name.span()),
                    arguments: call.args.iter().map(|a| self.expression(a, out)).collect(),
                    expand: call.args.expand_final(),
                })
            }
            Expression::Parenthesis(inner) => return self.expression(inner.inner(), out),
            Expression::Conditional(c) => Kind::Conditional(
                Box::new(self.expression(&c.cond_expr, out)),
                Box::new(self.expression(&c.true_expr, out)),
                Box::new(self.expression(&c.false_expr, out)),
            ),
            Expression::UnaryOp(o) => {
                let operator = match *o.operator.value() {
                    UnaryOperator::Neg => Unary::Negate,
                    UnaryOperator::Not => Unary::Not,
                };
                Kind::Unary(operator, Box::new(self.expression(&o.expr, out)))
            }
            Expression::BinaryOp(o) => {
                let left = self.expression(&o.lhs_expr, out);
                let right = self.expression(&o.rhs_expr, out);
                // The parser gives inner operations of a chain no place of their own.
                let whole = Span { start: left.span.start, end: right.span.end, ..span };
                return Node::new(Kind::Binary(binary(*o.operator.value()), Box::new(left), Box::new(right)), whole);
            }
            Expression::ForExpr(each) => Kind::For(Box::new(For {
                key: each.intro.key_var.as_ref().map(|k| k.as_str().to_owned()),
                value: each.intro.value_var.as_str().to_owned(),
                collection: self.expression(&each.intro.collection_expr, out),
                result_key: each.key_expr.as_ref().map(|k| self.expression(k, out)),
                result: self.expression(&each.value_expr, out),
                grouping: each.grouping,
                condition: each.cond.as_ref().map(|c| self.expression(&c.expr, out)),
            })),
        };
        Node::new(kind, span)
    }

    fn step(&self, operator: &hcl::edit::Decorated<TraversalOperator>, whole: Span, out: &mut Diagnostics) -> Step {
        let span = operator.span().map_or(whole, |range| self.span(Some(range)));
        let kind = match operator.value() {
            TraversalOperator::AttrSplat(_) => StepKind::AttributeSplat,
            TraversalOperator::FullSplat(_) => StepKind::FullSplat,
            TraversalOperator::GetAttr(name) => StepKind::Attribute(name.as_str().to_owned()),
            TraversalOperator::Index(index) => StepKind::Index(self.expression(index, out)),
            TraversalOperator::LegacyIndex(index) => {
                StepKind::Index(Node::new(Kind::Literal(Value::from(*index.value())), span))
            }
        };
        Step { kind, span }
    }

    /// Converts a template file.
    pub(super) fn template_file(&self, template: &Template, out: &mut Diagnostics) -> Node {
        let elements: Vec<&Element> = template.iter().collect();
        self.template(&elements, self.span(Some(0..self.text.len())), out, Place::Text)
    }

    /// Converts a template. A lone interpolation in quotes is the value itself, whatever its type.
    fn template(&self, elements: &[&Element], span: Span, out: &mut Diagnostics, place: Place) -> Node {
        if place == Place::Quotes
            && let [Element::Interpolation(only)] = elements
        {
            return self.expression(&only.expr, out);
        }
        let mut parts = Vec::with_capacity(elements.len());
        for (i, element) in elements.iter().enumerate() {
            let here = element.span().map_or(span, |range| self.span(Some(range)));
            match element {
                Element::Literal(text) => {
                    let text = match place {
                        Place::Within => self.unescaped(text.value(), here, out),
                        _ => text.value().clone(),
                    };
                    let mut text = text.as_str();
                    // `~` takes all white space on its side, newlines too.
                    if i > 0 && elements.get(i - 1).is_some_and(|e| strips(e).1) {
                        text = text.trim_start();
                    }
                    if elements.get(i + 1).is_some_and(|e| strips(e).0) {
                        text = text.trim_end();
                    }
                    parts.push(Node::new(Kind::Literal(Value::from(text)), here));
                }
                Element::Interpolation(inner) => parts.push(self.expression(&inner.expr, out)),
                Element::Directive(directive) => parts.push(self.directive(directive, here, out, place.within())),
            }
        }
        Node::new(Kind::Template(parts), span)
    }

    /// Reads the escapes of a text in quotes.
    fn unescaped(&self, text: &str, span: Span, out: &mut Diagnostics) -> String {
        let mut read = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            read.push_str(before);
            let (size, meant) = match after.chars().next() {
                Some('n') => (1, Some('\n')),
                Some('r') => (1, Some('\r')),
                Some('t') => (1, Some('\t')),
                Some(c @ ('"' | '\\')) => (1, Some(c)),
                Some(c @ ('u' | 'U')) => {
                    let size = if c == 'u' { 5 } else { 9 };
                    let code = after.get(1..size).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    (size, code.and_then(char::from_u32))
                }
                _ => (0, None),
            };
            match meant {
                Some(c) => read.push(c),
                None => {
                    let sign: String = "\\".chars().chain(after.chars().take(1)).collect();
                    out.push(super::syntax::unknown_escape(&sign, span));
                }
            }
            rest = after.get(size..).unwrap_or("");
        }
        read.push_str(rest);
        read
    }

    fn directive(&self, directive: &Directive, span: Span, out: &mut Diagnostics, place: Place) -> Node {
        match directive {
            Directive::If(d) => {
                let ends = d.else_expr.as_ref().map_or(d.endif_expr.strip, |e| e.strip);
                let strip = (d.if_expr.strip.strip_end(), ends.strip_start());
                let yes = self.inner(&d.if_expr.template, strip, span, out, place);
                let no = match &d.else_expr {
                    Some(e) => {
                        let strip = (e.strip.strip_end(), d.endif_expr.strip.strip_start());
                        self.inner(&e.template, strip, span, out, place)
                    }
                    None => Node::new(Kind::Literal(Value::from("")), span),
                };
                let condition = self.expression(&d.if_expr.cond_expr, out);
                Node::new(Kind::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), span)
            }
            Directive::For(d) => {
                let strip = (d.for_expr.strip.strip_end(), d.endfor_expr.strip.strip_start());
                let each = For {
                    key: d.for_expr.key_var.as_ref().map(|k| k.as_str().to_owned()),
                    value: d.for_expr.value_var.as_str().to_owned(),
                    collection: self.expression(&d.for_expr.collection_expr, out),
                    result_key: None,
                    result: self.inner(&d.for_expr.template, strip, span, out, place),
                    grouping: false,
                    condition: None,
                };
                Node::new(Kind::Join(Box::new(Node::new(Kind::For(Box::new(each)), span))), span)
            }
        }
    }

    /// Converts the template inside a directive, stripped at its ends where the directive says so.
    fn inner(
        &self,
        template: &Template,
        (start, end): (bool, bool),
        span: Span,
        out: &mut Diagnostics,
        place: Place,
    ) -> Node {
        let elements: Vec<&Element> = template.iter().collect();
        let mut node = self.template(&elements, span, out, place);
        if let Kind::Template(parts) = &mut node.kind {
            if start && let Some(Node { kind: Kind::Literal(Value::String(text)), .. }) = parts.first_mut() {
                *text = text.trim_start().to_owned();
            }
            if end && let Some(Node { kind: Kind::Literal(Value::String(text)), .. }) = parts.last_mut() {
                *text = text.trim_end().to_owned();
            }
        }
        node
    }
}

/// Where a template stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In quotes: the parser has read its escapes, and a lone interpolation is the value itself.
    Quotes,
    /// Within a directive in quotes: its escapes are still to be read.
    Within,
    /// In a heredoc or a file, which have no escapes.
    Text,
}

impl Place {
    /// Where the templates within a directive stand.
    fn within(self) -> Self {
        match self {
            Self::Quotes | Self::Within => Self::Within,
            Self::Text => Self::Text,
        }
    }
}

/// The diagnostic for a number that cannot be held exactly.
fn out_of_range(span: Span) -> Diagnostic {
    Diagnostic::error("config/number", "Number with too many digits")
        .detail("A number has at most 38 digits before its point and 37 behind it, and is never rounded to fit.")
        .at(span)
        .help("Write it with fewer digits, or as a text in quotes.")
}

/// Whether an element strips the text before and after it.
fn strips(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(inner) => (inner.strip.strip_start(), inner.strip.strip_end()),
        Element::Directive(directive) => match &**directive {
            Directive::If(d) => (d.if_expr.strip.strip_start(), d.endif_expr.strip.strip_end()),
            Directive::For(d) => (d.for_expr.strip.strip_start(), d.endfor_expr.strip.strip_end()),
        },
    }
}

fn binary(operator: BinaryOperator) -> Binary {
    match operator {
        BinaryOperator::Eq => Binary::Equal,
        BinaryOperator::NotEq => Binary::NotEqual,
        BinaryOperator::LessEq => Binary::LessEqual,
        BinaryOperator::GreaterEq => Binary::GreaterEqual,
        BinaryOperator::Less => Binary::Less,
        BinaryOperator::Greater => Binary::Greater,
        BinaryOperator::Plus => Binary::Add,
        BinaryOperator::Minus => Binary::Subtract,
        BinaryOperator::Mul => Binary::Multiply,
        BinaryOperator::Div => Binary::Divide,
        BinaryOperator::Mod => Binary::Remainder,
        BinaryOperator::And => Binary::And,
        BinaryOperator::Or => Binary::Or,
    }
}
