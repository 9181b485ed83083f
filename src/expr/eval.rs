//! The evaluator: a tree and the names it may use give a value or a diagnostic with the smallest span at fault.
//! Pure. Cost and depth are bounded, so that no input can hang it or overflow the stack.

mod explain;

pub use explain::explain;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::functions;
use super::operators;
use super::tree::{Binary, Call, For, Kind, Node, Step, StepKind};
use super::{Field, Value};
use crate::diag::{Diagnostic, Span, nearest};

/// An evaluation's error.
pub type Fault = Box<Diagnostic>;

/// What an expression may name and read.
pub trait Names {
    /// The value of a root name.
    fn get(&self, name: &str) -> Option<&Value>;

    /// All root names, for suggestions.
    fn roots(&self) -> Vec<String>;

    /// Says how to declare what `root` lacks.
    fn missing(&self, _root: &str, _attribute: &str) -> Option<String> {
        None
    }

    /// True when the value under this name must not be shown.
    fn is_sensitive(&self, _root: &str, _attribute: Option<&str>) -> bool {
        false
    }

    /// A field of the row that a predicate is asked about.
    fn field(&self, _field: Field) -> Value {
        Value::Unknown
    }

    /// True when values may be unknown in part, so that functions have to look for it.
    fn is_partial(&self) -> bool {
        false
    }

    /// The files that functions may read.
    fn files(&self) -> Option<&dyn Files> {
        None
    }
}

/// Files below the configuration's folder.
pub trait Files {
    /// Reads a text.
    ///
    /// # Errors
    /// One line that says why not.
    fn read(&self, path: &str) -> Result<String, String>;

    /// True when there is a file.
    ///
    /// # Errors
    /// One line that says why it cannot be told.
    fn exists(&self, path: &str) -> Result<bool, String>;

    /// A line of a file as it may be shown.
    fn shown(&self, line: &str) -> String {
        line.to_owned()
    }

    /// Parses a template that was read from `path`.
    ///
    /// # Errors
    /// One line that says why not.
    fn template(&self, path: &str, text: &str) -> Result<Node, String>;
}

impl Names for BTreeMap<String, Value> {
    fn get(&self, name: &str) -> Option<&Value> {
        Self::get(self, name)
    }

    fn roots(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Nodes evaluated by one expression; `for` within `for` within `for` over thousands each would take hours.
const FUEL: u64 = 20_000_000;
/// Nested nodes; the parser allows about 64 levels and 128 operators.
const DEPTH: u32 = 400;
/// Bytes of a text that cost one step: 20 million steps come to 320 MB.
pub(crate) const BYTES_PER_STEP: u64 = 16;
/// Longest text that an expression may make, in bytes.
pub(crate) const TEXT_LIMIT: usize = 64 << 20;

/// Evaluates an expression.
///
/// # Errors
/// The first fault, with the smallest span and the values of the names in it.
pub fn evaluate(node: &Node, names: &dyn Names) -> Result<Value, Fault> {
    let fuel = Cell::new(FUEL);
    Env { names, bound: None, depth: 0, fuel: &fuel }.value(node)
}

/// A variable of a surrounding `for`.
struct Bound<'a> {
    name: &'a str,
    value: Value,
    outer: Option<&'a Self>,
}

/// Where evaluation stands.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub(crate) names: &'a dyn Names,
    bound: Option<&'a Bound<'a>>,
    depth: u32,
    fuel: &'a Cell<u64>,
}

impl Env<'_> {
    /// Evaluates an expression with other names, but within the same bounds.
    pub(crate) fn elsewhere(&self, node: &Node, names: &dyn Names) -> Result<Value, Fault> {
        Env { names, bound: None, depth: self.depth, fuel: self.fuel }.value(node)
    }

    /// Evaluates one node. Texts are copied, so each costs by its length: that bounds memory too.
    pub(crate) fn value(&self, node: &Node) -> Result<Value, Fault> {
        let value = self.kind(node)?;
        if let Value::String(text) = &value {
            self.spend(node, text.len() as u64 / BYTES_PER_STEP)?;
        }
        Ok(value)
    }

    fn kind(&self, node: &Node) -> Result<Value, Fault> {
        self.spend(node, 1)?;
        if self.depth >= DEPTH {
            return Err(self.fault(node, "expr/too-deep", "Expression nested too deeply").into());
        }
        let env = Self { depth: self.depth + 1, ..*self };
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Field(field) => Ok(self.names.field(*field)),
            Kind::Fail(fault) => Err(fault.clone()),
            Kind::Name(name) => self.name(name, node.span, None),
            Kind::Template(parts) => env.template(node, parts),
            Kind::Join(inner) => match env.value(inner)? {
                Value::List(items) => env.join(node, &items),
                _ => Ok(Value::Unknown),
            },
            Kind::List(items) => Ok(Value::from(items.iter().map(|i| env.value(i)).collect::<Result<Vec<_>, _>>()?)),
            Kind::Object(entries) => env.object(entries),
            Kind::Path(base, steps) => env.path(base, steps),
            Kind::Unary(operator, inner) => operators::unary(&env, *operator, node, inner),
            Kind::Binary(Binary::And, left, right) => operators::logic(&env, false, left, right),
            Kind::Binary(Binary::Or, left, right) => operators::logic(&env, true, left, right),
            Kind::Binary(operator, left, right) => {
                let (a, b) = (env.value(left)?, env.value(right)?);
                operators::binary(&env, *operator, node, (left, a), (right, b))
            }
            Kind::Conditional(condition, yes, no) => match env.value(condition)? {
                Value::Bool(true) => env.value(yes),
                Value::Bool(false) => env.value(no),
                Value::Unknown => Ok(Value::Unknown),
                other => match operators::truth(other) {
                    Ok(true) => env.value(yes),
                    Ok(false) => env.value(no),
                    Err(other) => Err(env.wrong_type(condition, "a bool as the condition", &other)),
                },
            },
            Kind::For(each) => env.for_each(node, each),
            Kind::Call(call) => env.call(node, call),
        }
    }

    /// Takes from what the expression may cost.
    pub(crate) fn spend(&self, node: &Node, cost: u64) -> Result<(), Fault> {
        match self.fuel.get().checked_sub(cost) {
            Some(left) => {
                self.fuel.set(left);
                Ok(())
            }
            None => {
                // Nothing is left, or `try` would go on with what costs less.
                self.fuel.set(0);
                Err(Diagnostic::error("expr/too-costly", "Expression takes too long")
                    .detail(format!("It takes more than {FUEL} steps."))
                    .at(node.span)
                    .help("Go over fewer elements, or split the expression.")
                    .into())
            }
        }
    }

    /// The value of a name; `part` is what is taken of it.
    fn name(&self, name: &str, span: Span, part: Option<&str>) -> Result<Value, Fault> {
        let mut bound = self.bound;
        while let Some(found) = bound {
            if found.name == name {
                return Ok(found.value.clone());
            }
            bound = found.outer;
        }
        if let Some(value) = self.names.get(name) {
            return Ok(value.clone());
        }
        let mut roots = self.names.roots();
        roots.sort();
        let mut diagnostic = Diagnostic::error("expr/unknown-name", "Unknown name").at(span);
        diagnostic.detail = if roots.is_empty() {
            format!("There is nothing called {name:?}; no names can be used here.")
        } else {
            format!("There is nothing called {name:?} here; known are {}.", roots.join(", "))
        };
        let only = match name {
            _ if roots.is_empty() => "Write the value itself.",
            "assignment" | "policy" | "wave" | "variable" | "rollout" | "import" | "moved" if part.is_some() => {
                "Blocks of this kind have no value that an expression could use."
            }
            "terraform" | "path" | "self" | "data" | "module" | "resource" | "provider" if part.is_some() => {
                "This is a name of Terraform's; there is nothing like it here."
            }
            "count" if part.is_some() => "There is no `count`; use `for_each`, whose instances have `each.key`.",
            "repository" => "`repository` has a meaning only in `where`.",
            "plan" => "`plan` has a meaning only in a policy's condition.",
            "each" => "`each` has a meaning only in a block with `for_each`.",
            "target" => "`target` has a meaning only in a gate's query.",
            _ => "",
        };
        if !only.is_empty() {
            diagnostic.help = Some(only.to_owned());
        } else if let Some(near) = nearest(name, roots.iter().map(String::as_str)) {
            diagnostic.help = Some(format!("Did you mean `{near}`?"));
        } else if part.is_none() {
            diagnostic.help = Some(format!("A text stands in quotes: \"{name}\"."));
        }
        Err(diagnostic.into())
    }

    fn template(&self, node: &Node, parts: &[Node]) -> Result<Value, Fault> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            let value = self.value(part)?;
            if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Unknown) {
                return Err(self.wrong_type(part, "a string, number or bool to put into the text", &value));
            }
            values.push(value);
        }
        self.join(node, &values)
    }

    fn join(&self, node: &Node, values: &[Value]) -> Result<Value, Fault> {
        let mut text = String::new();
        for value in values {
            match value {
                Value::String(part) => text.push_str(part),
                Value::Unknown => return Ok(Value::Unknown),
                other => text.push_str(&other.to_string()),
            }
            if text.len() > TEXT_LIMIT {
                return Err(self.too_long(node));
            }
        }
        Ok(Value::from(text))
    }

    pub(crate) fn too_long(&self, node: &Node) -> Fault {
        Diagnostic::error("expr/too-long", "Text too long")
            .detail(format!("The text would be longer than {} MiB.", TEXT_LIMIT >> 20))
            .at(node.span)
            .into()
    }

    fn object(&self, entries: &[(Node, Node)]) -> Result<Value, Fault> {
        let mut object = BTreeMap::new();
        for (key, value) in entries {
            let key_value = self.value(key)?;
            let value = self.value(value)?;
            let Some(text) = self.key(key, key_value)? else { return Ok(Value::Unknown) };
            if object.insert(text.clone(), value).is_some() {
                return Err(self
                    .fault(key, "expr/duplicate-key", "Duplicate key")
                    .detail(format!("The key {text:?} stands in this object already."))
                    .into());
            }
        }
        Ok(Value::Object(Arc::new(object)))
    }

    /// Makes a key of a value; `None` when it is unknown.
    fn key(&self, node: &Node, value: Value) -> Result<Option<String>, Fault> {
        match value {
            Value::String(text) => Ok(Some(text)),
            Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
            Value::Unknown => Ok(None),
            other => Err(self.wrong_type(node, "a string as the key", &other)),
        }
    }

    fn path(&self, base: &Node, steps: &[Step]) -> Result<Value, Fault> {
        let root = match &base.kind {
            Kind::Name(name) if self.is_free(name) => Some(name.as_str()),
            _ => None,
        };
        // A root name is borrowed: it may be an object of thousands of instances.
        if let (Some(root), Some((Step { kind: StepKind::Attribute(attribute), span }, rest))) =
            (root, steps.split_first())
            && let Some(Value::Object(entries)) = self.names.get(root)
        {
            let whole = Span { end: span.end, ..base.span };
            return match entries.get(attribute) {
                Some(value) => self.steps(value, whole, rest),
                None => Err(self.missing(Some(root), attribute, entries, whole)),
            };
        }
        let value = match (&base.kind, steps.first()) {
            (Kind::Name(name), Some(Step { kind: StepKind::Attribute(part), .. })) => {
                self.spend(base, 1)?;
                self.name(name, base.span, Some(part))?
            }
            _ => self.value(base)?,
        };
        self.steps(&value, base.span, steps)
    }

    fn is_free(&self, name: &str) -> bool {
        let mut bound = self.bound;
        while let Some(found) = bound {
            if found.name == name {
                return false;
            }
            bound = found.outer;
        }
        true
    }

    fn steps(&self, value: &Value, span: Span, steps: &[Step]) -> Result<Value, Fault> {
        let Some((step, rest)) = steps.split_first() else { return Ok(value.clone()) };
        let whole = Span { end: step.span.end, ..span };
        if matches!(value, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        match &step.kind {
            StepKind::Attribute(name) => match value {
                Value::Object(entries) => match entries.get(name) {
                    Some(inner) => self.steps(inner, whole, rest),
                    None => Err(self.missing(None, name, entries, whole)),
                },
                other => Err(self.no_parts(other, &format!("an attribute {name:?}"), whole)),
            },
            StepKind::Index(index) => {
                let key = self.value(index)?;
                match self.index(value, index, &key, whole)? {
                    Some(inner) => self.steps(inner, whole, rest),
                    None => Ok(Value::Unknown),
                }
            }
            StepKind::FullSplat => self.splat(value, whole, rest, &[]),
            StepKind::AttributeSplat => {
                let attributes = rest.iter().take_while(|s| matches!(s.kind, StepKind::Attribute(_))).count();
                let (each, after) = rest.split_at(attributes);
                self.splat(value, whole, each, after)
            }
        }
    }

    /// Applies `each` to every element (anything but a list or set is a list of itself, null of nothing), then `after`.
    fn splat(&self, value: &Value, span: Span, each: &[Step], after: &[Step]) -> Result<Value, Fault> {
        let items = match value {
            Value::Null => Vec::new(),
            Value::List(items) => items.iter().map(|i| self.steps(i, span, each)).collect::<Result<_, _>>()?,
            Value::Set(items) => items.iter().map(|i| self.steps(i, span, each)).collect::<Result<_, _>>()?,
            other => vec![self.steps(other, span, each)?],
        };
        self.steps(&Value::from(items), span, after)
    }

    /// Finds an element; `None` when the key is unknown.
    fn index<'v>(&self, value: &'v Value, node: &Node, key: &Value, span: Span) -> Result<Option<&'v Value>, Fault> {
        if matches!(key, Value::Unknown) {
            return Ok(None);
        }
        match value {
            Value::List(items) => {
                let number = operators::number(key.clone())
                    .map_err(|other| self.wrong_type(node, "a whole number as a list's index", &other))?;
                let found = number.as_int().and_then(|n| usize::try_from(n).ok()).and_then(|n| items.get(n));
                found.map(Some).ok_or_else(|| {
                    let has = match items.len() {
                        0 => "has no element".to_owned(),
                        1 => "has one element, 0".to_owned(),
                        n => format!("has the elements 0 to {}", n - 1),
                    };
                    self.fault(node, "expr/index", "Index out of range")
                        .detail(format!("There is no element {key}: the list {has}."))
                        .into()
                })
            }
            Value::Object(entries) => match self.key(node, key.clone())? {
                Some(text) => match entries.get(&text) {
                    Some(inner) => Ok(Some(inner)),
                    None => Err(self.missing(None, &text, entries, span)),
                },
                None => Ok(None),
            },
            Value::Set(_) => Err(self
                .fault(node, "expr/no-parts", "Value without such a part")
                .detail("The elements of a set have no index.")
                .help("Make a list of it: tolist(…).")
                .into()),
            other => Err(self.no_parts(other, "an index", span)),
        }
    }

    fn no_parts(&self, value: &Value, what: &str, span: Span) -> Fault {
        Diagnostic::error("expr/no-parts", "Value without such a part")
            .detail(format!("This is {}, which has no parts, so {what} cannot be taken of it.", value.kind()))
            .at(span)
            .into()
    }

    fn missing(&self, root: Option<&str>, key: &str, entries: &BTreeMap<String, Value>, span: Span) -> Fault {
        missing(self.names, root, key, entries, span)
    }

    fn for_each(&self, node: &Node, each: &For) -> Result<Value, Fault> {
        let collection = self.value(&each.collection)?;
        let pairs: Box<dyn Iterator<Item = (Value, &Value)>> = match &collection {
            Value::List(items) => Box::new(items.iter().enumerate().map(|(i, v)| (Value::from(i as u64), v))),
            Value::Set(items) => Box::new(items.iter().map(|v| (v.clone(), v))),
            Value::Object(entries) => Box::new(entries.iter().map(|(k, v)| (Value::from(k.as_str()), v))),
            Value::Unknown => return Ok(Value::Unknown),
            other => return Err(self.wrong_type(&each.collection, "a list, set or object to go over", other)),
        };
        let mut list = Vec::new();
        let mut object: BTreeMap<String, Value> = BTreeMap::new();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (key, value) in pairs {
            let value = Bound { name: &each.value, value: value.clone(), outer: self.bound };
            let key_bound = each.key.as_deref().map(|name| Bound { name, value: key, outer: Some(&value) });
            let env = Env {
                names: self.names,
                bound: Some(key_bound.as_ref().unwrap_or(&value)),
                depth: self.depth,
                fuel: self.fuel,
            };
            if let Some(condition) = &each.condition {
                match env.value(condition)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    Value::Unknown => return Ok(Value::Unknown),
                    other => match operators::truth(other) {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(other) => return Err(env.wrong_type(condition, "a bool after `if`", &other)),
                    },
                }
            }
            let Some(key_node) = &each.result_key else {
                list.push(env.value(&each.result)?);
                continue;
            };
            let key_value = env.value(key_node)?;
            let Some(text) = env.key(key_node, key_value)? else { return Ok(Value::Unknown) };
            let result = env.value(&each.result)?;
            if each.grouping {
                groups.entry(text).or_default().push(result);
            } else if let Entry::Vacant(place) = object.entry(text) {
                place.insert(result);
            } else {
                return Err(env
                    .fault(key_node, "expr/duplicate-key", "Duplicate key")
                    .detail("Two elements give the same key.")
                    .help("Put `...` after the value to collect the values of equal keys in a list.")
                    .into());
            }
        }
        self.spend(node, 1)?;
        Ok(match (&each.result_key, each.grouping) {
            (None, _) => Value::from(list),
            (Some(_), false) => Value::Object(Arc::new(object)),
            (Some(_), true) => Value::object(groups.into_iter().map(|(k, v)| (k, Value::from(v)))),
        })
    }

    fn call(&self, node: &Node, call: &Call) -> Result<Value, Fault> {
        match call.name.as_str() {
            "try" => {
                let mut last = None;
                for argument in &call.arguments {
                    match self.value(argument) {
                        Ok(value) => return Ok(value),
                        Err(fault) => last = Some(fault),
                    }
                }
                return Err(last.unwrap_or_else(|| functions::count(call, "at least 1 argument").into()));
            }
            "can" => {
                let [argument] = call.arguments.as_slice() else {
                    return Err(functions::count(call, "1 argument").into());
                };
                return Ok(match self.value(argument) {
                    Ok(Value::Unknown) => Value::Unknown,
                    outcome => Value::Bool(outcome.is_ok()),
                });
            }
            _ => {}
        }
        let function = functions::find(call)?;
        let mut values = Vec::with_capacity(call.arguments.len());
        let mut nodes: Vec<&Node> = Vec::with_capacity(call.arguments.len());
        for (i, argument) in call.arguments.iter().enumerate() {
            let value = self.value(argument)?;
            if call.expand && i + 1 == call.arguments.len() {
                match &value {
                    Value::List(_) | Value::Set(_) => {
                        for item in value.elements().into_iter().flatten() {
                            values.push(item.clone());
                            nodes.push(argument);
                        }
                    }
                    Value::Unknown => return Ok(Value::Unknown),
                    other => return Err(self.wrong_type(argument, "a list before `...`", other)),
                }
            } else {
                values.push(value);
                nodes.push(argument);
            }
        }
        functions::run(self, function, node, call, &nodes, values)
    }
}

/// The diagnostic for a name under a root that has none of that name; `None`: it is there.
pub(crate) fn absent(root: &str, name: &str, names: &dyn Names, span: Span) -> Option<Diagnostic> {
    match names.get(root) {
        Some(Value::Object(entries)) if !entries.contains_key(name) => {
            Some(*missing(names, Some(root), name, entries, span))
        }
        _ => None,
    }
}

fn missing(names: &dyn Names, root: Option<&str>, key: &str, entries: &BTreeMap<String, Value>, span: Span) -> Fault {
    let mut diagnostic = Diagnostic::error("expr/missing-key", "No such key or attribute").at(span);
    let mut known: Vec<&str> = entries.keys().take(8).map(String::as_str).collect();
    if entries.len() > known.len() {
        known.push("…");
    }
    let of = root.map_or_else(|| "this object".to_owned(), |root| format!("`{root}`"));
    diagnostic.detail = if known.is_empty() {
        format!("There is no {key:?}: {of} is empty.")
    } else {
        format!("There is no {key:?} in {of}; it has {}.", known.join(", "))
    };
    diagnostic.help = nearest(key, entries.keys().map(String::as_str))
        .map(|near| format!("Did you mean {near:?}?"))
        .or_else(|| root.and_then(|root| names.missing(root, key)));
    diagnostic.into()
}
