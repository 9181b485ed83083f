//! The one table of the language's blocks and attributes: name, type, default, unit, range, meaning, example. The
//! decoder checks by it and the reference is printed from it, so that they cannot drift apart.

mod fleet;
mod names;
mod pods;
mod release;

use fleet::{GITALY, GITLAB, LOCALS, PROMETHEUS, SANDBOX, STORAGE, TRANSHIP, VARIABLE};
pub use names::NAMES;
use pods::{KUBERNETES, POD_SPEC};
use release::{ASSIGNMENT, CONCURRENCY, FREEZE, GATE, HOOK, IMPORT, MOVED, POLICY, PROMOTE, ROLLOUT, VERIFY, WINDOW};

/// A block's type.
#[derive(Debug)]
pub struct BlockSpec {
    /// The word that begins it.
    pub name: &'static str,
    /// What its labels name, in order; most blocks have none or one.
    pub labels: &'static [&'static str],
    /// How often it may stand in what encloses it.
    pub many: bool,
    /// What it says.
    pub doc: &'static str,
    /// Its attributes.
    pub attributes: &'static [AttributeSpec],
    /// Blocks within it.
    pub blocks: &'static [Self],
    /// Its effect comes with a later version: legal, but a plan refuses it.
    pub later: bool,
}

/// An attribute.
#[derive(Debug)]
pub struct AttributeSpec {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be there, and what stands for it when it is not.
    pub need: Need,
    /// Of a number.
    pub unit: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// How it is written.
    pub example: &'static str,
}

/// Whether an attribute must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// Nothing stands for it.
    Optional,
    /// This stands for it, as it would be written.
    Default(&'static str),
}

/// What an attribute takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Any value.
    Any,
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A bool.
    Bool,
    /// A whole number, from and to (both included).
    Whole(i128, i128),
    /// A number, from and to (both included).
    Number(f64, f64),
    /// A number of bytes, or a string as Kubernetes writes quantities: `"20Gi"`.
    Size,
    /// A number of cores, or a string as Kubernetes writes quantities: `"500m"`.
    Cores,
    /// `"15m"`, `"1h30m"`.
    Duration,
    /// An object, whatever it holds.
    Object,
    /// A list of objects, whatever they hold.
    Objects,
    /// A list of strings.
    Texts,
    /// A map of strings.
    TextMap,
    /// Whole numbers in a list, from and to.
    Wholes(i128, i128),
    /// `{ env = … }`, `{ file = … }` or `{ kubernetes = { secret, key } }`: where a secret is found.
    Secret,
    /// A reference to one block of this kind: `pod_spec.standard`.
    Reference(&'static str),
    /// A reference, several in a list, or all instances of a block.
    References(&'static str),
    /// A reference to a block of this kind, or one of these strings.
    ReferenceOr(&'static str, &'static [&'static str]),
    /// A set of strings or a map: an instance for each.
    ForEach,
    /// A condition over `repository`.
    Where,
    /// A condition that is evaluated later, over the root named.
    Condition(&'static str),
    /// A text that is filled in later, with the root named.
    Template(&'static str),
    /// An address that is not evaluated: `assignment.rest`.
    Address,
    /// A type: `list(string)`.
    Type,
    /// A version requirement: `">= 0.1"`.
    Version,
}

impl Shape {
    /// With its article, for messages and the reference.
    pub fn describe(self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::OneOf(words) => format!("one of {}", quoted(words)),
            Self::Bool => "true or false".to_owned(),
            Self::Whole(from, to) if to >= U32 && from <= -U32 => "a whole number".to_owned(),
            Self::Whole(from, to) if to >= U32 => format!("a whole number, at least {from}"),
            Self::Whole(from, to) => format!("a whole number from {from} to {to}"),
            Self::Number(f64::NEG_INFINITY, _) => "a number".to_owned(),
            Self::Number(from, f64::INFINITY) => format!("a number, at least {from}"),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Size => "a size: a number of bytes, or a string like \"20Gi\"".to_owned(),
            Self::Cores => "a number of cores above 0, or a string like \"500m\"".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::Objects => "a list of objects".to_owned(),
            Self::Duration => "a duration, like \"15m\" or \"1h30m\"".to_owned(),
            Self::Texts => "a list of strings".to_owned(),
            Self::TextMap => "a map of strings".to_owned(),
            Self::Wholes(from, to) => format!("a list of whole numbers from {from} to {to}"),
            Self::Secret => {
                "a reference to a secret: { env = \"NAME\" }, { file = \"PATH\" } or { kubernetes = { secret = \"NAME\", key = \"KEY\" } }".to_owned()
            }
            Self::Reference(kind) => format!("a reference to a {kind}, like {kind}.name"),
            Self::References(kind) => {
                format!("references to {kind} blocks: [{kind}.name], {kind}.name[\"key\"] or values({kind}.name)")
            }
            Self::ReferenceOr(kind, words) => format!("a reference to a {kind}, or {}", quoted(words)),
            Self::ForEach => "a set of strings or a map".to_owned(),
            Self::Where => "a condition over `repository`".to_owned(),
            Self::Condition(root) => format!("a condition over `{root}`"),
            Self::Template(root) => format!("a string that may use `{root}`"),
            Self::Address => "an address, like assignment.name".to_owned(),
            Self::Type => "a type, like string or list(number)".to_owned(),
            Self::Version => "a version requirement, like \">= 0.1\"".to_owned(),
        }
    }
}

impl Shape {
    /// The type without its article and without what it is limited to.
    pub fn kind(self) -> String {
        match self {
            Self::OneOf(_) => "string".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Whole(..) => "whole number".to_owned(),
            Self::Number(..) => "number".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Wholes(..) => "list of whole numbers".to_owned(),
            Self::Secret => "reference to a secret".to_owned(),
            Self::References(kind) => format!("references to {kind} blocks"),
            Self::ReferenceOr(kind, _) => format!("reference to a {kind}, or string"),
            other => {
                let text = other.describe();
                let text = text.split(", like").next().unwrap_or_default();
                text.strip_prefix("a ").or_else(|| text.strip_prefix("an ")).unwrap_or(text).to_owned()
            }
        }
    }

    /// What is allowed beyond the type; `None`: everything, or what the type's name says.
    pub fn range(self) -> Option<String> {
        let after = |words: &str| self.describe().split_once(words).map(|(_, rest)| rest.to_owned());
        match self {
            Self::OneOf(_) => after("one of "),
            Self::Bool => Some("true or false".to_owned()),
            Self::Whole(from, to) if to >= U32 && from <= -U32 => None,
            Self::Whole(_, to) if to >= U32 => after(", "),
            Self::Whole(..) => after("number "),
            Self::Number(f64::NEG_INFINITY, _) => None,
            Self::Number(_, f64::INFINITY) => after(", "),
            Self::Number(..) => after("number "),
            Self::Wholes(..) => after("numbers ").map(|range| format!("each {range}")),
            Self::Size => Some(
                "above 0; in strings the units k, M, G, T, P (powers of 1000) and Ki, Mi, Gi, Ti, Pi (powers of 1024)"
                    .to_owned(),
            ),
            Self::Duration => Some("not negative; the units h, m, s, ms, us, ns, like \"1h30m\"".to_owned()),
            Self::Secret => after(": "),
            Self::Reference(kind) => Some(format!("{kind}.NAME")),
            Self::References(kind) => Some(format!("[{kind}.NAME, …], {kind}.NAME[\"KEY\"] or values({kind}.NAME)")),
            Self::ReferenceOr(kind, words) => Some(format!("{kind}.NAME, or {}", quoted(words))),
            Self::Address => Some("KIND.NAME; it is not evaluated".to_owned()),
            Self::Type => Some(
                "string, number, bool, any, list(…), set(…), map(…), tuple([…]) or object({ NAME = … })".to_owned(),
            ),
            Self::Version => Some("comparisons with =, >, >=, <, <=, ~ and ^, separated by commas".to_owned()),
            _ => None,
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
}

const fn attribute(
    name: &'static str,
    shape: Shape,
    need: Need,
    doc: &'static str,
    example: &'static str,
) -> AttributeSpec {
    AttributeSpec { name, shape, need, unit: "", doc, example }
}

impl AttributeSpec {
    const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

const fn block(name: &'static str, labels: &'static [&'static str], many: bool, doc: &'static str) -> BlockSpec {
    BlockSpec { name, labels, many, doc, attributes: &[], blocks: &[], later: false }
}

impl BlockSpec {
    /// Finds an attribute.
    pub fn attribute(&self, name: &str) -> Option<&'static AttributeSpec> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// Finds a block within.
    pub fn block(&self, name: &str) -> Option<&'static Self> {
        self.blocks.iter().find(|b| b.name == name)
    }
}

const FOR_EACH: AttributeSpec = attribute(
    "for_each",
    Shape::ForEach,
    Need::Optional,
    "An instance of the block for each element; within it `each.key` and `each.value`.",
    "for_each = toset([\"a\", \"b\"])",
);
const NONE: i128 = i128::MAX;
const U32: i128 = u32::MAX as i128;

/// The whole language: what may stand in a configuration, outside of everything.
pub const ROOT: BlockSpec = BlockSpec {
    blocks: &[
        TRANSHIP,
        VARIABLE,
        LOCALS,
        GITLAB,
        GITALY,
        KUBERNETES,
        PROMETHEUS,
        SANDBOX,
        POD_SPEC,
        STORAGE,
        ASSIGNMENT,
        ROLLOUT,
        GATE,
        HOOK,
        WINDOW,
        FREEZE,
        CONCURRENCY,
        POLICY,
        PROMOTE,
        IMPORT,
        VERIFY,
        MOVED,
    ],
    ..block("configuration", &[], false, "All *.hcl files of a folder together.")
};

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(spec: &'static BlockSpec, check: &mut dyn FnMut(&'static BlockSpec)) {
        check(spec);
        spec.blocks.iter().for_each(|b| walk(b, check));
    }

    #[test]
    fn every_row_is_documented_and_its_example_is_an_attribute_of_that_name() {
        walk(&ROOT, &mut |spec| {
            assert!(spec.doc.ends_with('.'), "{}", spec.name);
            for attribute in spec.attributes {
                assert!(attribute.doc.ends_with('.'), "{}.{}", spec.name, attribute.name);
                let body: hcl::edit::structure::Body = attribute.example.parse().expect(attribute.example);
                assert!(body.has_attribute(attribute.name), "{}", attribute.example);
            }
        });
    }

    /// Numbers that count nothing.
    const PLAIN: &[&str] = &["seed", "weight", "priority", "cgroups.count"];

    #[test]
    fn every_number_has_a_unit_and_every_row_a_type_and_a_range() {
        walk(&ROOT, &mut |spec| {
            for attribute in spec.attributes {
                let AttributeSpec { name, shape, unit, .. } = attribute;
                let path = format!("{}.{name}", spec.name);
                let counts = matches!(shape, Shape::Whole(..) | Shape::Number(..) | Shape::Wholes(..) | Shape::Size);
                assert!(!counts || !unit.is_empty() || PLAIN.iter().any(|p| p == name || *p == path), "{path}");
                assert!(!shape.kind().is_empty() && shape.range().is_none_or(|r| !r.is_empty()), "{path}");
            }
        });
        for (shape, kind, range) in [
            (Shape::Whole(0, 100), "whole number", Some("from 0 to 100")),
            (Shape::Whole(1, U32), "whole number", Some("at least 1")),
            (Shape::Number(0.0, 1.0), "number", Some("from 0 to 1")),
            (Shape::Number(0.0, f64::INFINITY), "number", Some("at least 0")),
            (Shape::Wholes(1, 100), "list of whole numbers", Some("each from 1 to 100")),
            (Shape::OneOf(&["a", "b"]), "string", Some("\"a\", \"b\"")),
            (Shape::Text, "string", None),
            (Shape::Any, "any value", None),
            (Shape::Reference("pod_spec"), "reference to a pod_spec", Some("pod_spec.NAME")),
            (Shape::Where, "condition over `repository`", None),
        ] {
            assert_eq!((shape.kind().as_str(), shape.range().as_deref()), (kind, range));
        }
    }
}
