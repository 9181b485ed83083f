//! Which repository belongs where: assignments with priorities, conflicts and circles.
//!
//! The safe rule for `where`s that cannot be answered: an unknown answer of a priority at or above the winner's makes
//! the repository stay. A repository on any storage of its assignment's `to` is in place.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::row::{Networks, RepositoryRow};
use crate::diag::{Diagnostic, Diagnostics};
use crate::expr::Truth;
use crate::model::{Assignment, Desired, Observed, Repository, StorageName};

/// How many repositories an error names.
const EXAMPLES: usize = 3;

/// An assignment, numbered, with a number for its set of destinations that equal sets share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimer<'a> {
    /// The assignment.
    pub(super) assignment: &'a Assignment,
    /// Its place in the configuration's order.
    pub(super) ordinal: u32,
    /// Equal for equal `to`.
    pub(super) group: u32,
}

impl Claimer<'_> {
    /// True when a repository there is in place.
    fn holds(&self, storage: &StorageName) -> bool {
        self.assignment.to.binary_search(storage).is_ok()
    }
}

/// What becomes of one repository.
#[derive(Debug, Clone, Copy)]
pub(super) enum Claim<'a> {
    /// No assignment wants it.
    None,
    /// It is where it belongs.
    InPlace,
    /// It moves.
    Move(Claimer<'a>),
    /// This assignment's `where` cannot be answered for it.
    Unknown(&'a Assignment),
}

/// Assignments by the storage that they take from, the highest priority first, then in the order of addresses.
pub(super) struct Claims<'a> {
    by_source: BTreeMap<&'a StorageName, Vec<Claimer<'a>>>,
    /// How many different sets of destinations there are.
    pub(super) groups: usize,
    /// By ordinal: destinations from which some assignment may take repositories away again. Nearly always none.
    onward: Vec<Vec<&'a StorageName>>,
    /// Fork networks.
    pub(super) networks: Networks,
}

/// What the assignments that match one repository come to.
#[derive(Debug, Clone, Copy)]
enum Decision<'a> {
    None,
    Winner(Claimer<'a>),
    Unknown(Claimer<'a>),
    Conflict(Claimer<'a>, Claimer<'a>),
}

/// Decides among candidates in order of priority, asking no more `where`s than needed.
fn decide<'a, E>(
    candidates: &[Claimer<'a>],
    mut ask: impl FnMut(&'a Assignment) -> Result<Truth, E>,
) -> Result<Decision<'a>, E> {
    let mut winner: Option<Claimer<'a>> = None;
    let mut unknown: Option<Claimer<'a>> = None;
    for candidate in candidates {
        let decided = winner.or(unknown);
        if decided.is_some_and(|d| candidate.assignment.priority < d.assignment.priority) {
            break;
        }
        match ask(candidate.assignment)? {
            Truth::False => {}
            Truth::Unknown => unknown = unknown.or(Some(*candidate)),
            Truth::True => match winner {
                None => winner = Some(*candidate),
                Some(first) if first.group != candidate.group => return Ok(Decision::Conflict(first, *candidate)),
                Some(_) => {}
            },
        }
    }
    Ok(match (unknown, winner) {
        (Some(unknown), _) => Decision::Unknown(unknown),
        (None, Some(winner)) => Decision::Winner(winner),
        (None, None) => Decision::None,
    })
}

impl<'a> Claims<'a> {
    /// Indexes the assignments.
    ///
    /// # Errors
    /// An assignment that sends repositories to a storage that drains.
    pub(super) fn new(desired: &'a Desired, observed: &Observed) -> Result<Self, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut groups: BTreeMap<&[StorageName], u32> = BTreeMap::new();
        let mut by_source: BTreeMap<&StorageName, Vec<Claimer<'a>>> = BTreeMap::new();
        for (ordinal, assignment) in (0u32..).zip(&desired.assignments) {
            let next = u32::try_from(groups.len()).unwrap_or(u32::MAX);
            let group = *groups.entry(&assignment.to).or_insert(next);
            for source in &assignment.from {
                by_source.entry(source).or_default().push(Claimer { assignment, ordinal, group });
            }
            let drains = |to: &&StorageName| desired.storages.get(*to).is_some_and(|s| s.drain);
            if let Some(storage) = assignment.to.iter().find(drains).and_then(|to| desired.storages.get(to)) {
                diagnostics.push(
                    Diagnostic::error(
                        "plan/destination-drains",
                        "An assignment sends repositories to a draining storage",
                    )
                    .detail(format!("`{}` sends to `{}`, which has `drain = true`.", assignment.address, storage.name))
                    .at(assignment.span)
                    .also(storage.span, "drains")
                    .help("Take the storage out of `to`, or its `drain` away."),
                );
            }
        }
        for claimers in by_source.values_mut() {
            claimers.sort_by_key(|c| (Reverse(c.assignment.priority), c.ordinal));
        }
        let leaves = |to: &&StorageName| by_source.get(*to).is_some_and(|c| c.iter().any(|c| !c.holds(to)));
        let onward = desired.assignments.iter().map(|a| a.to.iter().filter(leaves).collect()).collect();
        let networks = Networks::new(&observed.repositories);
        let claims = Self { groups: groups.len(), onward, networks, by_source };
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(claims) }
    }

    /// The assignments that take from a storage, in the order in which they are asked.
    pub(super) fn of(&self, storage: &StorageName) -> &[Claimer<'a>] {
        self.by_source.get(storage).map_or(&[], Vec::as_slice)
    }

    /// How a `where` sees a repository.
    pub(super) fn row<'r>(&'r self, repository: &'r Repository, storage: &'r StorageName) -> RepositoryRow<'r> {
        RepositoryRow { repository, storage, networks: &self.networks }
    }

    fn decide(
        &self,
        candidates: &[Claimer<'a>],
        repository: &Repository,
        at: &StorageName,
    ) -> Result<Decision<'a>, (&'a Assignment, Box<Diagnostic>)> {
        let row = self.row(repository, at);
        decide(candidates, |assignment| assignment.filter.test(&row).map_err(|error| (assignment, error)))
    }

    /// Decides for one repository among the assignments [`of`](Self::of) its storage; what is wrong with the
    /// configuration goes to `faults`.
    pub(super) fn claim(
        &self,
        candidates: &[Claimer<'a>],
        repository: &'a Repository,
        faults: &mut Faults<'a>,
    ) -> Claim<'a> {
        match self.decide(candidates, repository, &repository.storage) {
            Err((assignment, error)) => faults.failed(assignment, repository, *error),
            Ok(Decision::None) => {}
            Ok(Decision::Unknown(claimer)) => return Claim::Unknown(claimer.assignment),
            Ok(Decision::Conflict(a, b)) => faults.conflict(a, b, repository),
            Ok(Decision::Winner(claimer)) if claimer.holds(&repository.storage) => return Claim::InPlace,
            Ok(Decision::Winner(claimer)) => {
                self.follow(repository, claimer, faults);
                return Claim::Move(claimer);
            }
        }
        Claim::None
    }

    /// Looks one move ahead: from wherever it may land, nothing may claim the repository away again.
    fn follow(&self, repository: &'a Repository, claimer: Claimer<'a>, faults: &mut Faults<'a>) {
        for destination in self.onward.get(claimer.ordinal as usize).into_iter().flatten() {
            match self.decide(self.of(destination), repository, destination) {
                Err((assignment, error)) => faults.failed(assignment, repository, *error),
                Ok(Decision::Winner(next)) if !next.holds(destination) => {
                    faults.onward(claimer, next, destination, repository);
                }
                Ok(Decision::Conflict(a, b)) => faults.conflict(a, b, repository),
                Ok(Decision::None | Decision::Winner(_) | Decision::Unknown(_)) => {}
            }
        }
    }
}

/// What is wrong with the assignments, with examples: one error for each pair at fault, not for each repository.
#[derive(Default)]
pub(super) struct Faults<'a> {
    conflicts: BTreeMap<(u32, u32), Fault<'a>>,
    onward: BTreeMap<(u32, u32), (Fault<'a>, &'a StorageName)>,
    failures: BTreeMap<String, (Diagnostic, u64)>,
}

struct Fault<'a> {
    first: &'a Assignment,
    second: &'a Assignment,
    count: u64,
    examples: Vec<String>,
}

impl<'a> Fault<'a> {
    fn new(first: Claimer<'a>, second: Claimer<'a>) -> Self {
        Self { first: first.assignment, second: second.assignment, count: 0, examples: Vec::new() }
    }

    fn add(&mut self, repository: &Repository) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(super::report::name(repository));
        }
    }

    fn repositories(&self) -> String {
        let more = if self.count > self.examples.len() as u64 { ", …" } else { "" };
        let noun = if self.count == 1 { "repository" } else { "repositories" };
        format!("{} {noun} ({}{more})", self.count, self.examples.join(", "))
    }
}

impl<'a> Faults<'a> {
    fn conflict(&mut self, a: Claimer<'a>, b: Claimer<'a>, repository: &Repository) {
        self.conflicts.entry((a.ordinal, b.ordinal)).or_insert_with(|| Fault::new(a, b)).add(repository);
    }

    fn onward(&mut self, a: Claimer<'a>, b: Claimer<'a>, via: &'a StorageName, repository: &Repository) {
        self.onward.entry((a.ordinal, b.ordinal)).or_insert_with(|| (Fault::new(a, b), via)).0.add(repository);
    }

    /// Keeps one failure of a `where` for each distinct message and place.
    pub(super) fn failed(&mut self, by: &Assignment, repository: &Repository, error: Diagnostic) {
        self.failure(&by.address.to_string(), repository, error);
    }

    /// Keeps one failure of a `where`, of an assignment or a wave.
    pub(super) fn failure(&mut self, by: &str, repository: &Repository, error: Diagnostic) {
        let key = format!("{by} {:?} {}", error.span, error.code);
        let (_, count) = self.failures.entry(key).or_insert_with(|| {
            let about = super::report::name(repository);
            (error.value("repository", about), 0)
        });
        *count += 1;
    }

    /// Gives the errors, if there are any.
    ///
    /// # Errors
    /// Conflicts, circles, and `where`s that fail.
    pub(super) fn check(self) -> Result<(), Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        for (mut error, count) in self.failures.into_values() {
            if count > 1 {
                error.detail =
                    format!("{} The same happens for {count} repositories in all.", error.detail).trim().to_owned();
            }
            diagnostics.push(error);
        }
        for fault in self.conflicts.values() {
            diagnostics.push(conflict_error(fault));
        }
        for (fault, via) in self.onward.values() {
            diagnostics.push(onward_error(fault, via));
        }
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(()) }
    }
}

fn conflict_error(fault: &Fault<'_>) -> Diagnostic {
    let (a, b) = (fault.first, fault.second);
    Diagnostic::error("plan/conflicting-assignments", "Two assignments claim the same repositories")
        .detail(format!(
            "`{}` and `{}` have the same priority ({}) and different `to`, and both claim {}.",
            a.address,
            b.address,
            a.priority,
            fault.repositories()
        ))
        .at(a.span)
        .also(b.span, "the other one")
        .help("Give one of them a higher `priority`, or narrow a `where`.")
}

fn onward_error(fault: &Fault<'_>, via: &StorageName) -> Diagnostic {
    let (a, b) = (fault.first, fault.second);
    let circle = a.from.iter().any(|source| b.to.contains(source));
    let (code, summary, end) = if circle {
        ("plan/circular-assignments", "Assignments send repositories in a circle", "back")
    } else {
        ("plan/chained-assignments", "Assignments send repositories on, from one to the next", "on")
    };
    let list = |names: &[StorageName]| names.iter().map(StorageName::as_str).collect::<Vec<_>>().join(", ");
    Diagnostic::error(code, summary)
        .detail(format!(
            "`{}` moves {} from {} to {via}, and there `{}` would move them {end}, to {}: no plan could ever be empty.",
            a.address,
            fault.repositories(),
            list(&a.from),
            b.address,
            list(&b.to)
        ))
        .at(a.span)
        .also(b.span, "takes them away again")
        .help("Let one assignment name the final storages, or give it a `where` that leaves those repositories alone.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, assignment, name, repository};

    fn claimers(list: &[Assignment]) -> Vec<Claimer<'_>> {
        let mut groups: Vec<&[StorageName]> = Vec::new();
        let mut claimers: Vec<_> = (0u32..)
            .zip(list)
            .map(|(ordinal, assignment)| {
                let group = groups.iter().position(|g| *g == assignment.to).unwrap_or_else(|| {
                    groups.push(&assignment.to);
                    groups.len() - 1
                });
                Claimer { assignment, ordinal, group: u32::try_from(group).expect("few") }
            })
            .collect();
        claimers.sort_by_key(|c| (Reverse(c.assignment.priority), c.ordinal));
        claimers
    }

    /// Decides with the answers given by label, and says what came out.
    fn outcome(list: &[(&str, &str, i64, Truth)]) -> String {
        let assignments: Vec<_> =
            list.iter().map(|(label, to, priority, _)| assignment(label, &["s"], &[to], *priority)).collect();
        let answer = |a: &Assignment| {
            let found = list.iter().find(|(label, ..)| *label == &*a.address.label).expect("listed");
            Ok::<_, ()>(found.3)
        };
        match decide(&claimers(&assignments), answer).expect("no failure") {
            Decision::None => "none".to_owned(),
            Decision::Winner(c) => c.assignment.address.label.to_string(),
            Decision::Unknown(c) => format!("unknown {}", c.assignment.address.label),
            Decision::Conflict(a, b) => {
                format!("{} against {}", a.assignment.address.label, b.assignment.address.label)
            }
        }
    }

    #[test]
    fn the_highest_priority_wins_and_an_unknown_at_or_above_it_holds_everything() {
        use Truth::{False, True, Unknown};
        for (list, expected) in [
            (vec![("a", "x", 0, True), ("b", "y", 1, True)], "b"),
            (vec![("a", "x", 0, True), ("b", "y", 1, False)], "a"),
            (vec![("a", "x", 0, True), ("b", "y", 1, Unknown)], "unknown b"),
            (vec![("a", "x", 1, True), ("b", "y", 0, Unknown)], "a"),
            (vec![("a", "x", 0, True), ("b", "x", 0, Unknown)], "unknown b"),
            (vec![("a", "x", 0, Unknown), ("b", "x", 0, False)], "unknown a"),
            (vec![("a", "x", 0, True), ("b", "x", 0, True)], "a"),
            (vec![("a", "x", 0, True), ("b", "y", 0, True)], "a against b"),
            (vec![("a", "x", 0, True), ("b", "y", 0, True), ("c", "z", 1, True)], "c"),
            (vec![("a", "x", 0, False)], "none"),
            (vec![], "none"),
        ] {
            assert_eq!(outcome(&list), expected, "{list:?}");
        }
    }

    #[test]
    fn no_where_below_the_winner_is_asked() {
        let list = [assignment("low", &["s"], &["x"], 0), assignment("high", &["s"], &["y"], 5)];
        let mut asked = Vec::new();
        let decision = decide(&claimers(&list), |a| {
            asked.push(a.address.label.to_string());
            Ok::<_, ()>(Truth::True)
        });
        assert!(matches!(decision, Ok(Decision::Winner(_))));
        assert_eq!(asked, ["high"]);
    }

    fn errors(world: &World) -> Vec<(&'static str, String)> {
        let claims = match Claims::new(&world.desired, &world.observed) {
            Ok(claims) => claims,
            Err(errors) => return errors.items.into_iter().map(|e| (e.code, e.detail)).collect(),
        };
        let mut faults = Faults::default();
        for one in &world.observed.repositories {
            claims.claim(claims.of(&one.storage), one, &mut faults);
        }
        faults.check().err().unwrap_or_default().items.into_iter().map(|e| (e.code, e.detail)).collect()
    }

    #[test]
    fn a_conflict_names_both_blocks_and_some_repositories() {
        let mut world = World::new(&["a", "b", "c"]);
        world.assign("one", &["a"], &["b"], 0);
        world.assign("two", &["a"], &["c"], 0);
        world.repositories("a", &[1; 5]);
        let found = errors(&world);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "plan/conflicting-assignments");
        assert_eq!(
            found[0].1,
            "`assignment.one` and `assignment.two` have the same priority (0) and different `to`, and both claim \
             5 repositories (project-1 group/project-1, project-2 group/project-2, project-3 group/project-3, …)."
        );
    }

    #[test]
    fn circles_and_chains_are_errors_and_staying_is_not() {
        let mut world = World::new(&["a", "b", "c"]);
        world.assign("there", &["a"], &["b"], 0);
        world.assign("back", &["b"], &["a"], 0);
        world.repositories("a", &[1]);
        let found = errors(&world);
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), ["plan/circular-assignments"]);

        let mut world = World::new(&["a", "b", "c"]);
        world.assign("first", &["a"], &["b"], 0);
        world.assign("second", &["b"], &["c"], 0);
        world.repositories("a", &[1]);
        assert_eq!(errors(&world)[0].0, "plan/chained-assignments");

        let mut world = World::new(&["a", "b"]);
        world.assign("spread", &["a", "b"], &["b"], 0);
        world.repositories("a", &[1]);
        world.repositories("b", &[1]);
        assert_eq!(errors(&world), []);
    }

    #[test]
    fn a_draining_storage_is_no_destination() {
        let mut world = World::drain(&[1]);
        world.assign("wrong", &["new"], &["old"], 0);
        assert_eq!(errors(&world)[0].0, "plan/destination-drains");
    }

    #[test]
    fn a_repository_on_any_destination_is_in_place() {
        let mut world = World::new(&["a", "b"]);
        world.assign("spread", &["a"], &["a", "b"], 0);
        let claims = Claims::new(&world.desired, &world.observed).expect("legal");
        let one = repository(1, "a", 1);
        assert!(matches!(claims.claim(claims.of(&one.storage), &one, &mut Faults::default()), Claim::InPlace));
        let other = repository(1, "c", 1);
        assert!(matches!(claims.claim(claims.of(&other.storage), &other, &mut Faults::default()), Claim::None));
        assert_eq!((claims.of(&name("a")).len(), claims.of(&name("c")).len()), (1, 0));
    }
}
