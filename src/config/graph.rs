//! Evaluates what other parts of a configuration may name, each after what it depends on: locals, and the instances of
//! blocks. A cycle is an error that prints the cycle. Iterative: chains may be as long as they like.

use std::collections::{BTreeMap, BTreeSet};

use super::check::storage_name;
use super::scope::{Inner, Report, Scope};
use super::syntax::{Attribute, Block};
use crate::diag::{Diagnostic, Span, is_unsafe};
use crate::expr::Value;
use crate::expr::tree::Node;
use crate::model::Address;

/// One instance of a block.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) address: Address,
    /// `each`, for an instance of a `for_each`.
    pub(super) each: Option<Value>,
    /// GitLab's name, for a storage.
    pub(super) name: Option<String>,
}

/// Something that can be named.
pub(super) struct Item<'a> {
    root: &'static str,
    name: &'a str,
    span: Span,
    kind: ItemKind<'a>,
}

enum ItemKind<'a> {
    Local(&'a Node),
    Block(&'a Block),
}

impl<'a> Item<'a> {
    pub(super) fn local(attribute: &'a Attribute) -> Self {
        Self {
            root: "local",
            name: &attribute.name,
            span: attribute.name_span,
            kind: ItemKind::Local(&attribute.value),
        }
    }

    pub(super) fn block(root: &'static str, name: &'a str, block: &'a Block) -> Self {
        Self { root, name, span: block.header, kind: ItemKind::Block(block) }
    }

    /// The expressions that decide what others see of it.
    fn expressions(&self) -> Vec<&'a Node> {
        match &self.kind {
            ItemKind::Local(node) => vec![node],
            ItemKind::Block(block) => {
                let mut found: Vec<&'a Node> = block.body.attribute("for_each").map(|a| &a.value).into_iter().collect();
                if self.root == "storage" {
                    found.extend(block.body.attribute("name").map(|a| &a.value));
                }
                found
            }
        }
    }
}

/// The instances of each block that can be named, by kind and label.
pub(super) type Instances<'a> = BTreeMap<(&'static str, &'a str), Vec<Instance>>;

/// Evaluates all items in the order of their dependencies.
pub(super) fn evaluate<'a>(items: &[Item<'a>], scope: &mut Scope, out: &mut Report) -> Instances<'a> {
    items.iter().for_each(|item| scope.reserve(item.root, item.name));
    let index: BTreeMap<(&str, &str), usize> =
        items.iter().enumerate().map(|(i, item)| ((item.root, item.name), i)).collect();
    let mut by_root: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        by_root.entry(item.root).or_default().push(i);
    }
    let mut needs: Vec<BTreeMap<usize, Span>> = vec![BTreeMap::new(); items.len()];
    let mut hidden = vec![false; items.len()];
    for (i, item) in items.iter().enumerate() {
        for node in item.expressions() {
            node.free_names(&mut |root, attribute, span| {
                let found: Vec<usize> = match attribute {
                    Some(name) => index.get(&(root, name)).copied().into_iter().collect(),
                    None => by_root
                        .get(root)
                        .map(|all| all.iter().copied().filter(|n| *n != i).collect())
                        .unwrap_or_default(),
                };
                if let Some(need) = needs.get_mut(i) {
                    need.extend(found.into_iter().map(|n| (n, span)));
                }
            });
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    let mut open: Vec<usize> = needs.iter().map(BTreeMap::len).collect();
    for (i, need) in needs.iter().enumerate() {
        for n in need.keys() {
            if let Some(list) = users.get_mut(*n) {
                list.push(i);
            }
        }
    }
    let mut ready: BTreeSet<usize> = open.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| i).collect();
    let mut instances = Instances::new();
    let mut done = vec![false; items.len()];
    while let Some(i) = ready.pop_first() {
        let Some(item) = items.get(i) else { continue };
        if item.expressions().into_iter().any(|n| scope.touches_sensitive(n)) {
            scope.hide(item.root, item.name);
            if let Some(flag) = hidden.get_mut(i) {
                *flag = true;
            }
        }
        let value = match &item.kind {
            ItemKind::Local(node) => {
                let value = Inner { scope, extra: Vec::new() }.evaluate(node, out);
                value.filter(|v| {
                    let large = v.exceeds(super::DEPTH, super::SIZE);
                    if large {
                        out.push(super::too_large(node.span));
                    }
                    !large
                })
            }
            ItemKind::Block(block) => {
                let found = expand(block, item.root, item.name, scope, out);
                let value = found.as_deref().map(reference);
                instances.insert((item.root, item.name), found.unwrap_or_default());
                value
            }
        };
        scope.set(item.root, item.name, value);
        if let Some(flag) = done.get_mut(i) {
            *flag = true;
        }
        for user in users.get(i).into_iter().flatten() {
            if let Some(left) = open.get_mut(*user) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(*user);
                }
            }
        }
    }
    cycles(items, &needs, &done, out);
    for (item, done) in items.iter().zip(done) {
        if !done {
            scope.set(item.root, item.name, None);
        }
    }
    instances
}

/// Prints one cycle for each group of items that wait for each other.
fn cycles(items: &[Item<'_>], needs: &[BTreeMap<usize, Span>], done: &[bool], out: &mut Report) {
    let waits = |i: usize| done.get(i) == Some(&false);
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    for start in (0..items.len()).filter(|i| waits(*i)) {
        // Following any need that waits too must come back to something on the way.
        let mut way: Vec<usize> = Vec::new();
        let mut place: BTreeMap<usize, usize> = BTreeMap::new();
        let mut at = start;
        while !seen.contains(&at) && !place.contains_key(&at) {
            place.insert(at, way.len());
            way.push(at);
            match needs.get(at).and_then(|n| n.keys().copied().find(|n| waits(*n))) {
                Some(next) => at = next,
                None => break,
            }
        }
        seen.extend(&way);
        let Some(cycle) = place.get(&at).and_then(|first| way.get(*first..)) else { continue };
        let label = |i: usize| items.get(i).map(|item| format!("{}.{}", item.root, item.name)).unwrap_or_default();
        let mut names: Vec<String> = cycle.iter().map(|i| label(*i)).collect();
        names.push(label(at));
        let shown = if names.len() > 12 {
            format!(
                "{} → … ({} more) → {}",
                names.get(..10).unwrap_or_default().join(" → "),
                names.len() - 11,
                label(at)
            )
        } else {
            names.join(" → ")
        };
        let mut diagnostic = Diagnostic::error("config/cycle", "Cycle")
            .detail(format!("Each of these needs the next before it has a value: {shown}."))
            .help("Break it: give one of them a value that does not depend on the others.");
        for (n, i) in cycle.iter().take(8).enumerate() {
            let next = cycle.get(n + 1).copied().unwrap_or(at);
            let span = needs.get(*i).and_then(|need| need.get(&next)).copied();
            let Some(span) = span.or_else(|| items.get(*i).map(|item| item.span)) else { continue };
            diagnostic = if n == 0 {
                diagnostic.at(span)
            } else {
                diagnostic.also(span, format!("{} needs {}", label(*i), label(next)))
            };
        }
        out.push(diagnostic);
    }
}

/// What other expressions see of a block: one reference, or an object of them.
fn reference(instances: &[Instance]) -> Value {
    let one = |instance: &Instance| {
        let name = instance.name.as_ref().map(|n| ("name", Value::from(n.as_str())));
        Value::object([("address", Value::from(instance.address.to_string()))].into_iter().chain(name))
    };
    match instances {
        [only] if only.address.key.is_none() => one(only),
        many => Value::object(many.iter().map(|i| (i.address.key.as_deref().unwrap_or_default(), one(i)))),
    }
}

/// Expands a block's `for_each`, evaluated once, into its instances. `None`: told already.
pub(super) fn expand(block: &Block, kind: &str, label: &str, scope: &Scope, out: &mut Report) -> Option<Vec<Instance>> {
    let address = Address::new(kind, label);
    let Some(written) = block.body.attribute("for_each") else {
        let name = if kind == "storage" { Some(storage_name(block, label, None, scope, out)?) } else { None };
        return Some(vec![Instance { address, each: None, name }]);
    };
    let names = Inner { scope, extra: Vec::new() };
    let value = names.evaluate(&written.value, out)?;
    let help = match value {
        Value::List(_) => "Make a set of the list: toset([\"a\", \"b\"]).",
        Value::Null => "For no instance, write an empty map, {}; for one without a key, leave `for_each` out.",
        _ => "For example: toset([\"a\", \"b\"]), or { a = { weight = 1 } }.",
    };
    let mut wrong = |found: String| {
        out.push(
            Diagnostic::error("config/for-each", "Cannot make instances of this")
                .detail(format!("`for_each` must be a set of strings or a map; {found}."))
                .at(written.value.span)
                .help(help),
        );
    };
    let pairs: Vec<(String, Value)> = match &value {
        Value::Set(items) => {
            let mut pairs = Vec::with_capacity(items.len());
            for item in items.iter() {
                let Some(text) = item.as_str() else {
                    wrong(format!("an element of this set is {}", item.kind()));
                    return None;
                };
                pairs.push((text.to_owned(), item.clone()));
            }
            pairs
        }
        Value::Object(entries) if !entries.contains_key("address") => {
            entries.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        Value::Unknown => return None,
        other => {
            wrong(format!("this is {}", if other.get("address").is_some() { "a reference" } else { other.kind() }));
            return None;
        }
    };
    if scope.touches_sensitive(&written.value) {
        out.push(
            Diagnostic::error("config/for-each", "Cannot make instances of this")
                .detail("`for_each` depends on a sensitive value, which would appear in addresses.")
                .at(written.value.span),
        );
        return None;
    }
    // Keys stand in addresses, on terminals and in the state.
    if let Some((key, c)) = pairs.iter().find_map(|(key, _)| Some((key, key.chars().find(|c| is_unsafe(*c))?))) {
        let key: String = key.chars().flat_map(char::escape_debug).take(60).collect();
        wrong(format!("the key \"{key}\" holds the character U+{:04X}, which no terminal shows", c as u32));
        return None;
    }
    let mut instances = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let each = Value::object([("key", Value::from(key.as_str())), ("value", value)]);
        let name = match kind {
            "storage" => Some(storage_name(block, label, Some((&key, &each)), scope, out)?),
            _ => None,
        };
        instances.push(Instance { address: address.clone().with_key(key), each: Some(each), name });
    }
    Some(instances)
}
