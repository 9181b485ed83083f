//! Assignments that contradict each other whatever the fleet holds, as they select everything: found without a look at
//! it. What depends on repositories, a plan finds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::scope::Report;
use crate::diag::Diagnostic;
use crate::model::{Address, Assignment, StorageName};

/// The assignments that take from each storage, the highest priority first.
type Sources<'a> = BTreeMap<&'a StorageName, Vec<&'a Assignment>>;

/// Tells of each pair once. Linear in the storages that assignments name.
pub(super) fn contradictions(assignments: &[Assignment], out: &mut Report) {
    let mut sources: Sources<'_> = BTreeMap::new();
    for assignment in assignments {
        for source in &assignment.from {
            sources.entry(source).or_default().push(assignment);
        }
    }
    sources.values_mut().for_each(|claims| claims.sort_by_key(|one| Reverse(one.priority)));
    for (source, claims) in &sources {
        if let Some((first, second)) = conflict(claims) {
            out.push(conflicting(first, second, source));
        }
    }
    let onward: BTreeMap<&StorageName, &Assignment> =
        sources.iter().filter_map(|(source, claims)| Some((*source, leaver(source, claims)?))).collect();
    let mut told: BTreeSet<(&Address, &Address)> = BTreeSet::new();
    for one in assignments.iter().filter(|one| takes_all(one)) {
        let moves = |source: &&StorageName| {
            one.to.binary_search(source).is_err()
                && sources.get(source).and_then(|claims| claims.first()).is_some_and(|top| top.address == one.address)
        };
        let leaves: Option<Vec<&Assignment>> = one.to.iter().map(|to| onward.get(to).copied()).collect();
        if let (Some(source), Some(next), Some(via)) =
            (one.from.iter().find(moves), leaves.and_then(|leaves| leaves.first().copied()), one.to.first())
        {
            // There and back is one circle.
            if !told.contains(&(&next.address, &one.address)) {
                out.push(sent_on(one, next, source, via));
            }
            told.insert((&one.address, &next.address));
        }
    }
}

fn takes_all(one: &Assignment) -> bool {
    one.filter.as_constant() == Some(true)
}

/// Two that both take all of a storage, with the highest priority that one has that does, and send it elsewhere.
fn conflict<'a>(claims: &[&'a Assignment]) -> Option<(&'a Assignment, &'a Assignment)> {
    let first = claims.iter().find(|one| takes_all(one))?;
    let same = |one: &&&Assignment| one.priority == first.priority && takes_all(one) && one.to != first.to;
    claims.iter().find(same).map(|second| (*first, *second))
}

/// The assignment that takes all away from a storage, where none before it lets anything stay.
fn leaver<'a>(storage: &StorageName, claims: &[&'a Assignment]) -> Option<&'a Assignment> {
    let one = claims.iter().find(|one| takes_all(one))?;
    let stays = claims.iter().any(|other| other.priority >= one.priority && other.to.binary_search(storage).is_ok());
    (!stays).then_some(*one)
}

fn conflicting(first: &Assignment, second: &Assignment, source: &StorageName) -> Diagnostic {
    Diagnostic::error("config/conflicting-assignments", "Two assignments claim the same repositories")
        .detail(format!(
            "`{}` and `{}` both take all repositories of {source}, with the same priority ({}) and different `to`.",
            first.address, second.address, first.priority
        ))
        .at(second.span)
        .also(first.span, "the other one")
        .help("Give one of them a higher `priority`, or a `where`.")
}

fn sent_on(one: &Assignment, next: &Assignment, source: &StorageName, via: &StorageName) -> Diagnostic {
    let back = next.to.binary_search(source).is_ok();
    let (code, summary, end) = if back {
        ("config/circular-assignments", "Assignments send repositories in a circle", "back")
    } else {
        ("config/chained-assignments", "Assignments send repositories on, from one to the next", "on")
    };
    Diagnostic::error(code, summary)
        .detail(format!(
            "`{}` moves all repositories of {source} to {via}, and there `{}` would move all of them {end}: no plan could \
             ever be empty.",
            one.address, next.address
        ))
        .at(one.span)
        .also(next.span, "takes them away again")
        .help("Let one assignment name the final storages, or give it a `where` that leaves those repositories alone.")
}
