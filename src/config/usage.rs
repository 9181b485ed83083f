//! Warnings about what is legal and likely not meant: blocks that nobody names, waves and assignments that can get
//! nothing, whatever the fleet holds.

use std::collections::{BTreeMap, BTreeSet};

use super::contradictions::contradictions;
use super::scope::{Report, Scope};
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::tree::{Kind, Node};
use crate::expr::{Field, Predicate, absent};
use crate::model::{Assignment, ContainerKind, Desired, StorageName, Wave};

/// Tells of all that is built. What is hidden because a sensitive value takes part is left alone.
pub(super) fn doubts(body: &Body, desired: &Desired, out: &mut Report) {
    unused(body, out);
    unread(body, out);
    contradictions(&desired.assignments, out);
    nothing_to_move(body, &desired.assignments, out);
    waves(&desired.rollout.waves, out);
    assignments(&desired.assignments, out);
    let filters = desired.assignments.iter().map(|a| &a.filter).chain(desired.rollout.waves.iter().map(|w| &w.filter));
    filters.for_each(|filter| {
        words(filter, desired, out);
        filter.impossible(&mut |name, span| out.push(never(name, span)));
    });
}

/// Tells which words a field is compared with that it never has.
fn words(filter: &Predicate, desired: &Desired, out: &mut Report) {
    let kinds = ContainerKind::ALL.map(ContainerKind::as_str);
    filter.compared(&mut |field, word, span: Span| {
        let known: Vec<&str> = match field {
            Field::Kind => kinds.to_vec(),
            Field::Storage => desired.storages.keys().map(StorageName::as_str).collect(),
            _ => return,
        };
        if known.contains(&word) {
            return;
        }
        let (name, what) = match field {
            Field::Kind => ("kind", format!("is one of {}", known.join(", "))),
            _ => ("storage", "is GitLab's name of a storage, and none that is declared has this one".to_owned()),
        };
        let help = nearest(word, known.iter().copied());
        out.push(
            Diagnostic::warning("config/never-equal", "Comparison that never holds")
                .detail(format!("`repository.{name}` {what}; {word:?} is never equal to it."))
                .at(span)
                .help(help.map_or_else(|| "Correct the word.".to_owned(), |near| format!("Did you mean {near:?}?"))),
        );
    });
}

/// The warning about bounds that no repository keeps.
fn never(field: &str, span: Span) -> Diagnostic {
    Diagnostic::warning("config/never-equal", "Comparison that never holds")
        .detail(format!(
            "`repository.{field}` is a whole number that is not negative; with what stands beside it, none fits this."
        ))
        .at(span)
        .help("Correct the bounds.")
}

/// Tells which variables and locals nothing reads.
fn unread(body: &Body, out: &mut Report) {
    let mut used: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    for block in &body.blocks {
        let own = match (block.kind.as_str(), block.labels.first()) {
            // Its own rules give a variable no use.
            ("variable", Some((label, _))) => Some(("var", Some(label.as_str()))),
            _ => None,
        };
        for attribute in &block.body.attributes {
            let itself = (block.kind == "locals").then_some(("local", Some(attribute.name.as_str()))).or(own);
            attribute.value.free_names(&mut |root, name, _| {
                if Some((root, name)) != itself {
                    used.insert((root, name));
                }
            });
        }
        block.body.blocks.iter().for_each(|inner| {
            names(inner, &mut |name| {
                if Some(name) != own {
                    used.insert(name);
                }
            });
        });
    }
    let mut tell = |root: &str, name: &str, span: Span| {
        if used.contains(&(root, Some(name))) || used.contains(&(root, None)) {
            return;
        }
        out.push(
            Diagnostic::warning("config/unused", "Name without a use")
                .detail(format!("Nothing reads {root}.{name}, so it has no effect."))
                .at(span)
                .help("Remove it, or correct the name where it is meant."),
        );
    };
    for block in &body.blocks {
        match (block.kind.as_str(), block.labels.first()) {
            ("variable", Some((label, _))) => tell("var", label, block.header),
            ("locals", _) => block.body.attributes.iter().for_each(|a| tell("local", &a.name, a.name_span)),
            _ => {}
        }
    }
}

/// Tells of variables and locals that are named and not there, also where `try`, `can` or a condition would go on without:
/// a wrong name is never meant.
pub(super) fn undeclared(body: &Body, scope: &Scope, out: &mut Report) {
    fn each<'a>(body: &'a Body, visit: &mut dyn FnMut(&'a Node)) {
        body.attributes.iter().for_each(|attribute| visit(&attribute.value));
        body.blocks.iter().for_each(|block| each(&block.body, visit));
    }
    each(body, &mut |node| {
        node.free_names(&mut |root, name, span| {
            let Some(name) = name.filter(|_| matches!(root, "var" | "local")) else { return };
            if let Some(fault) = absent(root, name, scope, span) {
                out.push(fault);
            }
        });
    });
}

/// Tells which assignments leave everything where it is.
fn nothing_to_move(body: &Body, assignments: &[Assignment], out: &mut Report) {
    for block in body.blocks.iter().filter(|b| b.kind == "assignment") {
        if let Some(from) = block.body.attribute("from")
            && matches!(&from.value.kind, Kind::List(items) if items.is_empty())
        {
            out.push(
                Diagnostic::warning("config/empty-assignment", "Assignment that selects nothing")
                    .detail("It takes from no storage: `from` is empty.")
                    .at(from.value.span)
                    .help("Name the storages that it takes from, or remove the assignment."),
            );
        }
    }
    let mut claimed: BTreeMap<&StorageName, usize> = BTreeMap::new();
    for storage in assignments.iter().flat_map(|one| &one.from) {
        *claimed.entry(storage).or_default() += 1;
    }
    for one in assignments.iter().filter(|one| !one.from.is_empty()) {
        // Where another assignment takes from the same storages, this one may be there to keep something.
        let alone = |storage: &StorageName| claimed.get(storage) == Some(&1);
        if one.from.iter().all(|storage| one.to.binary_search(storage).is_ok() && alone(storage)) {
            out.push(
                Diagnostic::warning("config/nothing-to-move", "Assignment that moves nothing")
                    .detail(format!(
                        "{} takes from storages that it also sends to, and what is on one of `to` is in place: nothing moves.",
                        one.address
                    ))
                    .at(one.span)
                    .help("Name in `from` the storages to leave, and in `to` those to reach."),
            );
        }
    }
}

/// Blocks that have an effect only where another block names them.
const NAMED: [&str; 4] = ["gate", "hook", "pod_spec", "window"];

/// Tells which blocks nothing names.
fn unused(body: &Body, out: &mut Report) {
    let mut used: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    for block in &body.blocks {
        // What a block says of itself gives it no effect.
        let own = block.labels.first().map(|(label, _)| (block.kind.as_str(), Some(label.as_str())));
        names(block, &mut |name| {
            if Some(name) != own {
                used.insert(name);
            }
        });
    }
    for block in body.blocks.iter().filter(|b| NAMED.contains(&b.kind.as_str())) {
        let [(label, _)] = block.labels.as_slice() else { continue };
        let kind = block.kind.as_str();
        // A hook that says when it runs needs nobody to name it.
        let alone = kind == "hook" && block.body.attribute("on").is_some();
        if alone || used.contains(&(kind, Some(label))) || used.contains(&(kind, None)) {
            continue;
        }
        let place = match kind {
            "gate" => "a rollout or one of its waves: gates = [gate.NAME]",
            "hook" => "the rollout: backup = hook.NAME. Or say when it runs: on = [\"wave-start\"]",
            "pod_spec" => "a storage: pod = pod_spec.NAME",
            _ => "a rollout, one of its waves or `freeze`: window = window.NAME",
        };
        out.push(
            Diagnostic::warning("config/unused", "Block without a use")
                .detail(format!("Nothing names {kind}.{label}, so it has no effect."))
                .at(block.header)
                .help(format!("Remove it, or name it in {}", place.replace("NAME", label))),
        );
    }
}

/// Visits all names in a block's expressions.
fn names<'a>(block: &'a Block, visit: &mut dyn FnMut((&'a str, Option<&'a str>))) {
    for attribute in &block.body.attributes {
        attribute.value.free_names(&mut |root, name, _| visit((root, name)));
    }
    block.body.blocks.iter().for_each(|inner| names(inner, visit));
}

/// Tells which waves can get nothing.
fn waves(waves: &[Wave], out: &mut Report) {
    let mut all: Option<&Wave> = None;
    for wave in waves {
        let constant = wave.filter.as_constant();
        if constant == Some(false) {
            out.push(
                Diagnostic::warning("config/empty-wave", "Wave that selects nothing")
                    .detail(format!("The `where` of wave {:?} is false for every repository.", wave.name))
                    .at(wave.span)
                    .help("Correct its `where`, or remove the wave."),
            );
        } else if let Some(first) = all.filter(|first| first.name != wave.name) {
            out.push(
                Diagnostic::warning("config/shadowed-wave", "Wave behind one that takes all")
                    .detail(format!(
                        "The first wave that selects a repository has it, and {:?} selects all that are left, so {:?} \
                         gets nothing.",
                        first.name, wave.name
                    ))
                    .at(wave.span)
                    .also(first.span, "takes all that are left")
                    .help(format!("Put {:?} last.", first.name)),
            );
        }
        // An empty wave or a sample leaves the others what they select.
        if constant == Some(true) && wave.sample.is_none() {
            all = all.or(Some(wave));
        }
    }
}

/// Tells which assignments can get nothing.
fn assignments(assignments: &[Assignment], out: &mut Report) {
    // Those that may shadow another: few, even where there are very many.
    let all: Vec<&Assignment> = assignments.iter().filter(|one| one.filter.as_constant() == Some(true)).collect();
    for one in assignments {
        let address = &one.address;
        if one.filter.as_constant() == Some(false) {
            out.push(
                Diagnostic::warning("config/empty-assignment", "Assignment that selects nothing")
                    .detail(format!("The `where` of {address} is false for every repository."))
                    .at(one.span)
                    .help("Correct its `where`, or remove the assignment."),
            );
            continue;
        }
        let shadows = |other: &&&Assignment| {
            other.priority > one.priority
                && !one.from.is_empty()
                && one.from.iter().all(|source| other.from.binary_search(source).is_ok())
        };
        if let Some(first) = all.iter().find(shadows) {
            out.push(
                Diagnostic::warning("config/shadowed-assignment", "Assignment behind one that takes all")
                    .detail(format!(
                        "{} has the priority {}, which is higher than {}, takes from the same storages and has no `where` \
                         that leaves anything, so {address} gets nothing.",
                        first.address, first.priority, one.priority
                    ))
                    .at(one.span)
                    .also(first.span, "takes all")
                    .help(format!(
                        "Give {address} a priority above {}, or narrow the other one by a `where`.",
                        first.priority
                    )),
            );
        }
    }
}
