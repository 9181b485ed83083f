//! Folding: evaluates the parts of an expression that do not depend on one free root, so that what is left can be
//! asked again and again, far from the configuration.

use super::eval::{Fault, Names, evaluate};
use super::tree::{Binary, Call, For, Kind, Node, Step, StepKind};
use super::{Field, Value};
use crate::diag::{Diagnostic, Span, nearest};

/// The root whose attributes are fields of a row.
pub(super) const REPOSITORY: &str = "repository";

/// Folds everything but what depends on the root `free`.
pub(super) fn fold(node: &Node, names: &dyn Names, free: &str) -> Result<Node, Fault> {
    Folder { names, free }.node(node, &mut Vec::new())
}

struct Folder<'a> {
    names: &'a dyn Names,
    free: &'a str,
}

impl Folder<'_> {
    fn node<'n>(&self, node: &'n Node, bound: &mut Vec<&'n str>) -> Result<Node, Fault> {
        let mut open = false;
        node.free_names(&mut |name, _, _| open |= name == self.free || bound.contains(&name));
        if !open {
            return Ok(Node::new(Kind::Literal(evaluate(node, self.names)?), node.span));
        }
        let kind = match &node.kind {
            Kind::Literal(_) | Kind::Field(_) | Kind::Fail(_) => node.kind.clone(),
            Kind::Name(name) if name == REPOSITORY && self.free == REPOSITORY && !bound.contains(&REPOSITORY) => {
                return Err(Diagnostic::error("expr/field", "A repository's field is missing")
                    .detail(format!(
                        "`repository` stands for the repository that is asked about; its fields are {}.",
                        fields()
                    ))
                    .at(node.span)
                    .help("Write one of them: `repository.size`.")
                    .into());
            }
            Kind::Name(_) => node.kind.clone(),
            Kind::Template(parts) => Kind::Template(self.nodes(parts, bound)?),
            Kind::Join(inner) => Kind::Join(Box::new(self.node(inner, bound)?)),
            Kind::List(items) => Kind::List(self.nodes(items, bound)?),
            Kind::Object(entries) => Kind::Object(
                entries
                    .iter()
                    .map(|(k, v)| Ok((self.node(k, bound)?, self.node(v, bound)?)))
                    .collect::<Result<_, Fault>>()?,
            ),
            Kind::Path(base, steps) => self.path(base, steps, bound)?,
            Kind::Unary(operator, inner) => Kind::Unary(*operator, Box::new(self.node(inner, bound)?)),
            Kind::Binary(operator, left, right) => {
                let left = self.node(left, bound)?;
                let deciding = match operator {
                    Binary::And => Some(false),
                    Binary::Or => Some(true),
                    _ => None,
                };
                match (&left.kind, deciding) {
                    (Kind::Literal(Value::Bool(truth)), Some(deciding)) if *truth == deciding => left.kind,
                    _ => Kind::Binary(*operator, Box::new(left), Box::new(self.node(right, bound)?)),
                }
            }
            Kind::Conditional(condition, yes, no) => {
                let condition = self.node(condition, bound)?;
                match &condition.kind {
                    Kind::Literal(Value::Bool(true)) => return self.node(yes, bound),
                    Kind::Literal(Value::Bool(false)) => return self.node(no, bound),
                    _ => Kind::Conditional(
                        Box::new(condition),
                        Box::new(self.node(yes, bound)?),
                        Box::new(self.node(no, bound)?),
                    ),
                }
            }
            Kind::For(each) => {
                let collection = self.node(&each.collection, bound)?;
                let depth = bound.len();
                bound.extend(each.key.as_deref());
                bound.push(&each.value);
                let parts = (|| {
                    let result_key = each.result_key.as_ref().map(|n| self.node(n, bound)).transpose()?;
                    let result = self.node(&each.result, bound)?;
                    let condition = each.condition.as_ref().map(|n| self.node(n, bound)).transpose()?;
                    Ok::<_, Fault>((result_key, result, condition))
                })();
                bound.truncate(depth);
                let (result_key, result, condition) = parts?;
                Kind::For(Box::new(For {
                    key: each.key.clone(),
                    value: each.value.clone(),
                    collection,
                    result_key,
                    result,
                    grouping: each.grouping,
                    condition,
                }))
            }
            Kind::Call(call) => {
                // What `try` and `can` are there to catch must not fail here.
                let catches = matches!(call.name.as_str(), "try" | "can");
                let mut arguments = Vec::with_capacity(call.arguments.len());
                for argument in &call.arguments {
                    arguments.push(match self.node(argument, bound) {
                        Err(fault) if catches && fault.code != "expr/field" => {
                            Node::new(Kind::Fail(fault), argument.span)
                        }
                        other => other?,
                    });
                }
                Kind::Call(Call { arguments, ..call.clone() })
            }
        };
        Ok(Node::new(kind, node.span))
    }

    fn nodes<'n>(&self, nodes: &'n [Node], bound: &mut Vec<&'n str>) -> Result<Vec<Node>, Fault> {
        nodes.iter().map(|n| self.node(n, bound)).collect()
    }

    fn path<'n>(&self, base: &'n Node, steps: &'n [Step], bound: &mut Vec<&'n str>) -> Result<Kind, Fault> {
        if let Kind::Name(name) = &base.kind
            && name == REPOSITORY
            && self.free == REPOSITORY
            && !bound.contains(&REPOSITORY)
            && let Some((Step { kind: StepKind::Attribute(attribute), span }, rest)) = steps.split_first()
        {
            let whole = Span { end: span.end, ..base.span };
            let field = Field::parse(attribute).ok_or_else(|| unknown_field(attribute, whole))?;
            if rest.is_empty() {
                return Ok(Kind::Field(field));
            }
            return Ok(Kind::Path(Box::new(Node::new(Kind::Field(field), whole)), self.steps(rest, bound)?));
        }
        Ok(Kind::Path(Box::new(self.node(base, bound)?), self.steps(steps, bound)?))
    }

    fn steps<'n>(&self, steps: &'n [Step], bound: &mut Vec<&'n str>) -> Result<Vec<Step>, Fault> {
        let fold = |step: &'n Step, bound: &mut Vec<&'n str>| {
            let kind = match &step.kind {
                StepKind::Index(index) => StepKind::Index(self.node(index, bound)?),
                other => other.clone(),
            };
            Ok(Step { kind, span: step.span })
        };
        steps.iter().map(|s| fold(s, bound)).collect()
    }
}

fn fields() -> String {
    Field::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn unknown_field(name: &str, span: Span) -> Fault {
    let mut diagnostic = Diagnostic::error("expr/field", "Unknown field of a repository")
        .detail(format!("A repository has no {name:?}; it has {}.", fields()))
        .at(span);
    if let Some(near) = nearest(name, Field::ALL.iter().map(|(name, _)| *name)) {
        diagnostic.help = Some(format!("Did you mean `repository.{near}`?"));
    }
    diagnostic.into()
}
