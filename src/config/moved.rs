//! `moved` blocks: what has another address now. What moved must be gone, where it moved must be there; a chain of
//! moves leads to its end.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Instance, Instances};
use super::schema::ROOT;
use super::scope::Report;
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::Value;
use crate::expr::tree::{Kind, Node, Step, StepKind};
use crate::model::{Address, Assignment, Moved};

/// A block's place, and the keys of its instances.
type Instanced = (Span, Option<BTreeSet<String>>);

/// What a configuration declares: by kind and label, the block and the keys of its instances (none without
/// `for_each`).
struct Declared<'a> {
    blocks: BTreeMap<&'a str, BTreeMap<&'a str, Instanced>>,
}

/// One `moved` block, as it is written.
struct Written {
    from: (Address, Span),
    to: (Address, Span),
}

/// Reads all `moved` blocks, in the order of the addresses that moved.
pub(super) fn moved(
    body: &Body,
    instances: &Instances<'_>,
    assignments: &[Assignment],
    out: &mut Report,
) -> Vec<Moved> {
    let blocks: Vec<&Block> = body.blocks.iter().filter(|b| b.kind == "moved").collect();
    if blocks.is_empty() {
        return Vec::new();
    }
    let declared = Declared::new(body, instances, assignments);
    let mut written: Vec<Written> = Vec::new();
    let mut sources: BTreeMap<String, Span> = BTreeMap::new();
    let mut targets: BTreeMap<String, Span> = BTreeMap::new();
    for block in blocks {
        let mut side = |name: &str| {
            let node = &block.body.attribute(name)?.value;
            address(node, name, out).map(|address| (address, node.span))
        };
        let (Some(from), Some(to)) = (side("from"), side("to")) else { continue };
        if from.0 == to.0 {
            out.push(
                Diagnostic::error("config/moved-circle", "Moves in a circle")
                    .detail(format!(
                        "`{}` cannot have moved to itself: `from` is the address that it had before.",
                        to.0
                    ))
                    .at(from.1)
                    .also(to.1, "the same address")
                    .help("Correct one of them, or remove the block."),
            );
            continue;
        }
        if from.0.kind != to.0.kind || from.0.key.is_some() != to.0.key.is_some() && declared.mixed(&from.0, &to.0) {
            out.push(
                Diagnostic::error("config/moved-kind", "Moved to another kind of address")
                    .detail(if from.0.kind == to.0.kind {
                        format!("`{}` and `{}` are not both a block, or both one of its instances.", from.0, to.0)
                    } else {
                        format!("`{}` cannot become `{}`: a block keeps its kind.", from.0, to.0)
                    })
                    .at(to.1)
                    .also(from.1, "moved from here")
                    .help(format!("Name what `{}` is called now.", from.0)),
            );
            continue;
        }
        for (side, seen, what) in [(&from, &mut sources, "from"), (&to, &mut targets, "to")] {
            if let Some(first) = seen.insert(side.0.to_string(), side.1) {
                let detail = match what {
                    "from" => format!("`{}` can have moved only once.", side.0),
                    _ => format!("Two addresses cannot both become `{}`.", side.0),
                };
                out.push(
                    Diagnostic::error("config/moved-twice", "Address moved twice")
                        .detail(detail)
                        .at(side.1)
                        .also(first, "first here")
                        .help("Remove one of the blocks."),
                );
            }
        }
        written.push(Written { from, to });
    }
    resolve(&written, &declared, out)
}

/// Follows each move to where it ends, and checks both ends.
fn resolve(written: &[Written], declared: &Declared<'_>, out: &mut Report) -> Vec<Moved> {
    let by_source: BTreeMap<String, &Written> = written.iter().map(|w| (w.from.0.to_string(), w)).collect();
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut found = Vec::new();
    for this in written {
        let mut way = vec![this];
        let mut circle = None;
        while let Some(next) = way.last().and_then(|w| by_source.get(&w.to.0.to_string())) {
            circle = way.iter().position(|w| w.from.0 == next.from.0);
            if circle.is_some() {
                break;
            }
            way.push(next);
        }
        if let Some(circle) = circle.and_then(|first| way.get(first..)) {
            if circle.iter().map(|w| w.from.0.to_string()).min().is_some_and(|name| told.insert(name)) {
                out.push(circles(circle));
            }
            continue;
        }
        let end = way.last().copied().unwrap_or(this);
        if let Some(block) = declared.find(&this.from.0) {
            out.push(
                Diagnostic::error("config/moved-from", "Moved, but still here")
                    .detail(format!("`{}` is still declared, so nothing has moved away from it.", this.from.0))
                    .at(this.from.1)
                    .also(block, "declared here")
                    .help("Remove the `moved` block, or rename the block that it names."),
            );
            continue;
        }
        if declared.find(&end.to.0).is_none() {
            // Instances that could not be made have been told.
            let unmade = matches!(declared.block(&end.to.0), Some((_, Some(keys))) if keys.is_empty());
            if end.from.0 == this.from.0 && !(unmade && out.diagnostics.has_errors()) {
                out.push(declared.missing(&end.to));
            }
            continue;
        }
        found.push(Moved { from: this.from.0.clone(), to: end.to.0.clone(), span: this.from.1 });
    }
    found.sort_by(|a, b| a.from.cmp(&b.from));
    found
}

/// The diagnostic for moves that lead back to where they began.
fn circles(way: &[&Written]) -> Diagnostic {
    let mut names: Vec<String> = way.iter().map(|w| format!("`{}`", w.from.0)).collect();
    names.extend(way.last().map(|w| format!("`{}`", w.to.0)));
    let mut diagnostic = Diagnostic::error("config/moved-circle", "Moves in a circle")
        .detail(format!("Each of these moved to the next: {}.", names.join(" → ")))
        .at(way.first().map(|w| w.from.1))
        .help("Only one of them can be what the address is now: remove the other blocks.");
    for next in way.iter().skip(1).take(8) {
        diagnostic = diagnostic.also(next.from.1, "and here");
    }
    diagnostic
}

impl<'a> Declared<'a> {
    fn new(body: &'a Body, instances: &Instances<'_>, assignments: &[Assignment]) -> Self {
        let mut blocks: BTreeMap<&str, BTreeMap<&str, _>> = BTreeMap::new();
        for block in &body.blocks {
            let [(label, _)] = block.labels.as_slice() else { continue };
            if !kinds().any(|kind| kind == block.kind) {
                continue;
            }
            let keys = block.body.attribute("for_each").map(|_| {
                let named = |list: &[Instance]| list.iter().filter_map(|i| i.address.key.clone()).collect::<Vec<_>>();
                let of_assignment = || assignments.iter().filter(|a| *a.address.label == **label);
                let keys = match block.kind.as_str() {
                    "assignment" => of_assignment().filter_map(|a| a.address.key.clone()).collect(),
                    kind => {
                        let list = instances.iter().find(|((k, l), _)| *k == kind && l == label).map(|(_, list)| list);
                        list.map_or_else(Vec::new, |list| named(list))
                    }
                };
                keys.into_iter().map(|key| key.to_string()).collect()
            });
            blocks.entry(&block.kind).or_default().entry(label).or_insert((block.header, keys));
        }
        Self { blocks }
    }

    fn block(&self, address: &Address) -> Option<&(Span, Option<BTreeSet<String>>)> {
        self.blocks.get(&*address.kind)?.get(&*address.label)
    }

    /// The block that declares an address: all its instances, or the one with the key.
    fn find(&self, address: &Address) -> Option<Span> {
        let (span, keys) = self.block(address)?;
        match (&address.key, keys) {
            (None, _) => Some(*span),
            (Some(key), Some(keys)) if keys.contains(&**key) => Some(*span),
            (Some(_), _) => None,
        }
    }

    /// True when one address names a whole block with `for_each` and the other one instance.
    fn mixed(&self, from: &Address, to: &Address) -> bool {
        let many =
            |address: &Address| address.key.is_none() && self.block(address).is_some_and(|(_, keys)| keys.is_some());
        many(from) || many(to)
    }

    /// The diagnostic for an end that nothing declares.
    fn missing(&self, (address, span): &(Address, Span)) -> Diagnostic {
        let labels = self.blocks.get(&*address.kind).into_iter().flat_map(BTreeMap::keys).copied();
        let mut diagnostic = Diagnostic::error("config/moved-to", "Moved to nothing").at(*span);
        match (self.block(address), &address.key) {
            (Some((block, Some(keys))), Some(key)) => {
                diagnostic = diagnostic.also(*block, "the block").detail(format!(
                    "`{}.{}` has no instance {key:?}; it has {}.",
                    address.kind,
                    address.label,
                    some(keys.iter().map(String::as_str))
                ));
                diagnostic.help = nearest(key, keys.iter().map(String::as_str)).map(|k| format!("Did you mean {k:?}?"));
            }
            (Some((block, None)), Some(_)) => {
                diagnostic = diagnostic
                    .also(*block, "the block")
                    .detail(format!("`{}.{}` has no instances.", address.kind, address.label))
                    .help(format!("Write it without a key: {}.{}", address.kind, address.label));
            }
            _ => {
                diagnostic = diagnostic.detail(format!("There is no `{address}` that it could have moved to."));
                diagnostic.help = Some(match nearest(&address.label, labels) {
                    Some(near) => format!("Did you mean `{}.{near}`?", address.kind),
                    None => format!("Declare it: {} \"{}\" {{ … }}.", address.kind, address.label),
                });
            }
        }
        diagnostic
    }
}

/// A few names, for a sentence.
fn some<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let first: Vec<String> = names.by_ref().take(8).map(|name| format!("{name:?}")).collect();
    match (first.is_empty(), names.next()) {
        (true, _) => "none".to_owned(),
        (false, None) => first.join(", "),
        (false, Some(_)) => format!("{}, …", first.join(", ")),
    }
}

/// The kinds of blocks that have an address.
fn kinds() -> impl Iterator<Item = &'static str> {
    ROOT.blocks.iter().filter(|b| b.labels == ["name"] && b.many && b.name != "variable").map(|b| b.name)
}

/// Reads an address, which is not evaluated.
fn address(node: &Node, name: &str, out: &mut Report) -> Option<Address> {
    let mut wrong = |span: Span, detail: String, help: String| {
        out.push(Diagnostic::error("config/address-form", "Not an address").detail(detail).at(span).help(help));
        None
    };
    let form = || format!("For example: {name} = assignment.rest, or {name} = storage.gitaly[\"a\"]");
    let Kind::Path(base, steps) = &node.kind else {
        return wrong(node.span, format!("`{name}` must be an address: kind.label or kind.label[\"key\"]."), form());
    };
    let (Kind::Name(kind), Some((Step { kind: StepKind::Attribute(label), .. }, rest))) =
        (&base.kind, steps.split_first())
    else {
        return wrong(node.span, format!("`{name}` must be an address: kind.label or kind.label[\"key\"]."), form());
    };
    if !kinds().any(|known| known == kind) {
        let known = kinds().collect::<Vec<_>>().join(", ");
        let detail = format!("Nothing of the kind `{kind}` has an address; the kinds are {known}.");
        let help = nearest(kind, kinds()).map_or_else(form, |near| format!("Did you mean `{near}.{label}`?"));
        return wrong(base.span, detail, help);
    }
    match rest {
        [] => Some(Address::new(kind.as_str(), label.as_str())),
        [Step { kind: StepKind::Index(Node { kind: Kind::Literal(Value::String(key)), .. }), .. }] => {
            Some(Address::new(kind.as_str(), label.as_str()).with_key(key.as_str()))
        }
        [step, ..] => wrong(
            step.span,
            "After the label, an address has nothing but the key of an instance, a text in quotes.".to_owned(),
            form(),
        ),
    }
}
