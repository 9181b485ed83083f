//! `--target` and `--exclude`: which addresses a plan is limited to. A target brings what it depends on; an
//! exclusion takes along what depends on it. (OpenTofu's rules; `graph` walks the dependencies.) A hold comes with what
//! it guards; one that was begun may be named alone, and none may be excluded.

use std::collections::BTreeSet;

use crate::diag::{Diagnostic, Diagnostics, nearest};
use crate::model::{Address, Assignment, Desired, StorageName};
use crate::state::State;

use super::pods;
use super::release::hold_address;
use super::waves::{wave_names, wave_of};
use super::{After, Options};

/// The options, checked against what exists.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    target: &'a [String],
    exclude: &'a [String],
    desired: &'a Desired,
    /// All that a move may be in.
    waves: Vec<String>,
    /// Steps of the ramp after which something may be watched.
    steps: BTreeSet<u8>,
}

impl<'a> Selection<'a> {
    /// Checks that every pattern names something.
    ///
    /// # Errors
    /// A pattern that matches no address, with the nearest one that exists; an exclusion of holds.
    pub(super) fn new(desired: &'a Desired, state: &State, options: &'a Options) -> Result<Self, Diagnostics> {
        let ramp = &desired.rollout.ramp;
        let begun = state.holds("ramp").filter(|(_, record)| !record.passed).filter_map(|(key, _)| key.parse().ok());
        let last = (!ramp.is_empty()).then_some(100);
        let selection = Self {
            target: &options.target,
            exclude: &options.exclude,
            desired,
            waves: wave_names(desired),
            steps: ramp.iter().copied().chain(last).chain(begun).collect(),
        };
        let mut diagnostics = Diagnostics::default();
        if !options.target.is_empty() || !options.exclude.is_empty() {
            let (known, holds) = (selection.known(), selection.holds());
            let all: Vec<String> = known.iter().chain(&holds).cloned().collect();
            let names = |pattern: &str, list: &[String]| list.iter().any(|address| matches(pattern, address));
            for pattern in options.target.iter().filter(|pattern| !names(pattern, &all)) {
                diagnostics.push(unknown_pattern("--target", pattern, &all));
            }
            for pattern in options.exclude.iter().filter(|pattern| !names(pattern, &known)) {
                diagnostics.push(if pattern.starts_with("hold.") || names(pattern, &holds) {
                    excluded_hold(pattern)
                } else {
                    unknown_pattern("--exclude", pattern, &known)
                });
            }
        }
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(selection) }
    }

    /// The addresses of what may be watched.
    fn holds(&self) -> Vec<String> {
        let waves = self.waves.iter().map(|wave| After::Wave { wave: wave.clone() });
        let steps = self.steps.iter().map(|percent| After::Ramp { percent: *percent });
        waves.chain(steps).map(|after| hold_address(&after).to_string()).collect()
    }

    /// All other addresses that a pattern may name.
    fn known(&self) -> Vec<String> {
        let mut known: Vec<String> = self.desired.assignments.iter().map(|a| a.address.to_string()).collect();
        for storage in self.desired.storages.values() {
            known.extend(self.names_of(&storage.name));
            known
                .extend(["weight", "drain", "moves"].map(|kind| Address::new(kind, storage.name.as_str()).to_string()));
            known.extend(self.waves.iter().map(|wave| moves_address(&storage.name, wave).to_string()));
        }
        for (name, storage) in &pods::wanted(self.desired).storages {
            known.extend(pods::addresses(name, storage).iter().map(Address::to_string));
        }
        known.sort();
        known.dedup();
        known
    }

    /// A storage's own addresses: the block's and, by GitLab's name, the state's.
    fn names_of(&self, storage: &StorageName) -> Vec<String> {
        let declared = self.desired.storages.get(storage).map(|s| s.address.to_string());
        declared.into_iter().chain([State::storage_address(storage).to_string()]).collect()
    }

    /// True when neither option was given.
    pub(super) fn is_all(&self) -> bool {
        self.target.is_empty() && self.exclude.is_empty()
    }

    /// Asks whether any move of an assignment off a storage may be wanted, whatever its wave.
    pub(super) fn may_move(&self, source: &StorageName, assignment: &Assignment) -> bool {
        if self.is_all() {
            return true;
        }
        let mut names = self.move_names(source, assignment);
        // What goes to an excluded storage depends on it.
        let destinations = || assignment.to.iter().any(|to| any(self.exclude, &self.names_of(to)));
        if any(self.exclude, &names) || (!self.exclude.is_empty() && destinations()) {
            return false;
        }
        names.push(proof_address(source));
        names.extend(self.waves.iter().map(|wave| moves_address(source, wave).to_string()));
        self.target.is_empty() || any(self.target, &names)
    }

    /// Asks whether a move is wanted; `waves`: the names of its wave.
    pub(super) fn wants_move<'w>(
        &self,
        source: &StorageName,
        assignment: &Assignment,
        waves: impl IntoIterator<Item = &'w str>,
    ) -> bool {
        if self.is_all() {
            return true;
        }
        let mut names = self.move_names(source, assignment);
        names.extend(waves.into_iter().map(|wave| moves_address(source, wave).to_string()));
        if any(self.exclude, &names) {
            return false;
        }
        names.push(proof_address(source));
        self.target.is_empty() || any(self.target, &names)
    }

    fn move_names(&self, source: &StorageName, assignment: &Assignment) -> Vec<String> {
        let mut names = self.names_of(source);
        names.extend([Address::new("moves", source.as_str()).to_string(), assignment.address.to_string()]);
        names
    }

    /// Asks whether an action of a storage (`weight`, `drain`) is named by a target; true without targets.
    pub(super) fn is_target(&self, action: &Address, storage: Option<&StorageName>) -> bool {
        self.target.is_empty() || any(self.target, &self.action_names(action, storage))
    }

    /// Asks whether an action of a storage is named by an exclusion.
    pub(super) fn is_excluded(&self, action: &Address, storage: Option<&StorageName>) -> bool {
        !self.exclude.is_empty() && any(self.exclude, &self.action_names(action, storage))
    }

    /// Asks whether a target names a hold, or those after all batches of its wave.
    pub(super) fn is_target_hold(&self, after: &After) -> bool {
        let batched = match after {
            After::Wave { wave } => wave_of(self.desired, wave).map(|wave| After::Wave { wave: wave.name.clone() }),
            After::Ramp { .. } => None,
        };
        let names = [Some(after), batched.as_ref()].map(|after| after.map(|after| hold_address(after).to_string()));
        any(self.target, &names.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Asks whether nothing that is selected works on the pod of a storage, or brings anything to it.
    pub(super) fn leaves_out_pod(&self, storage: &StorageName, wanted: &pods::WantedStorage) -> bool {
        if self.is_all() {
            return false;
        }
        let mut addresses = pods::addresses(storage, wanted);
        let excluded = addresses
            .iter()
            .filter(|address| &*address.kind == "pod")
            .all(|address| self.is_excluded(address, Some(storage)));
        addresses.push(Address::new("weight", storage.as_str()));
        excluded || !addresses.iter().any(|address| self.is_target(address, Some(storage)))
    }

    fn action_names(&self, action: &Address, storage: Option<&StorageName>) -> Vec<String> {
        let mut names = storage.map(|storage| self.names_of(storage)).unwrap_or_default();
        names.push(action.to_string());
        // `pod.gitaly-a` names all that is done to its objects.
        if let ("pod", Some(storage)) = (&*action.kind, storage) {
            names.push(Address::new("pod", storage.as_str()).to_string());
        }
        names
    }
}

/// The address of a storage's proof, which depends on all the moves off it: a target that names it names them.
fn proof_address(source: &StorageName) -> String {
    Address::new("drain", source.as_str()).to_string()
}

/// The address of the moves of one wave off one storage.
pub(super) fn moves_address(source: &StorageName, wave: &str) -> Address {
    Address::new("moves", source.as_str()).with_key(wave)
}

fn any(patterns: &[String], names: &[String]) -> bool {
    patterns.iter().any(|pattern| names.iter().any(|name| matches(pattern, name)))
}

fn unknown_pattern(option: &str, pattern: &str, known: &[String]) -> Diagnostic {
    let diagnostic = Diagnostic::error("plan/unknown-address", "A selected address does not exist")
        .detail(format!("`{option} {pattern}` matches no storage, assignment or action of this configuration."));
    match nearest(pattern, known.iter().map(String::as_str)) {
        Some(near) => diagnostic.help(format!("Did you mean `{near}`?")),
        None => diagnostic.help(
            "Addresses look like `assignment.heavy`, `storage.default`, `moves.default`, `weight.default`, \
             `drain.default` or `hold.wave[\"sample\"]`; `*` stands for any text.",
        ),
    }
}

fn excluded_hold(pattern: &str) -> Diagnostic {
    Diagnostic::error("plan/excluded-hold", "A hold cannot be left out")
        .detail(format!(
            "`--exclude {pattern}` names what is waited for before the next step or wave begins; without it, that would \
             begin unwatched."
        ))
        .help(
            "Change `gates` and `soak` of the `rollout` block, or of its wave, to wait for less. To leave out what comes \
             after, exclude that: `moves.default[\"rest\"]`.",
        )
}

/// Matches a text against a pattern in which `*` stands for any text and `?` for one character; all else is literal.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(found) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == found => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, name};

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("storage.*", "storage.gitaly[\"a\"]", true),
            ("*[\"a\"]", "storage.gitaly[\"a\"]", true),
            ("*.de*t", "storage.default", true),
            ("moves.?", "moves.a", true),
            ("moves.?", "moves.ab", false),
            ("storage.def", "storage.default", false),
            ("**", "", true),
            ("", "a", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_names_nothing_is_refused_with_the_nearest_address() {
        let world = World::drain(&[1]);
        let options = Options { target: vec!["assignment.al".to_owned()], ..Options::default() };
        let errors = Selection::new(&world.desired, &world.state, &options).expect_err("nothing matches");
        assert_eq!(errors.items[0].help.as_deref(), Some("Did you mean `assignment.all`?"));
    }

    #[test]
    fn the_last_wave_has_one_name_everywhere() {
        let mut world = World::drain(&[1; 9]);
        world.desired.rollout.waves = vec![crate::plan::fixture::wave("rest", Some(3))];
        let target = vec!["moves.old[\"rest-2\"]".to_owned()];
        assert_eq!(world.plan_with(&Options { target, ..Options::default() }).moves.len(), 6);
        let world = World::drain(&[1]);
        let target = vec!["moves.old[\"rest-2\"]".to_owned()];
        Selection::new(&world.desired, &world.state, &Options { target, ..Options::default() })
            .expect_err("no such wave");
    }

    #[test]
    fn a_move_is_named_by_its_assignment_its_source_its_wave_and_its_drain() {
        let world = World::drain(&[1]);
        let assignment = &world.desired.assignments[0];
        for (pattern, wanted) in [
            ("assignment.all", true),
            ("storage.old", true),
            ("storage.new", false),
            ("moves.old", true),
            ("moves.old[\"rest\"]", true),
            ("drain.old", true),
            ("weight.old", false),
        ] {
            let target = Options { target: vec![pattern.to_owned()], ..Options::default() };
            let selection = Selection::new(&world.desired, &world.state, &target).expect("names something");
            assert_eq!(selection.may_move(&name("old"), assignment), wanted, "{pattern}");
            assert_eq!(selection.wants_move(&name("old"), assignment, ["rest"]), wanted, "{pattern}");
            let exclude = Options { exclude: vec![pattern.to_owned()], ..Options::default() };
            let selection = Selection::new(&world.desired, &world.state, &exclude).expect("names something");
            let stays = !wanted || pattern == "drain.old";
            assert_eq!(selection.wants_move(&name("old"), assignment, ["rest"]), stays, "{pattern}");
        }
        let exclude = Options { exclude: vec!["storage.new".to_owned()], ..Options::default() };
        let selection = Selection::new(&world.desired, &world.state, &exclude).expect("names something");
        assert!(!selection.may_move(&name("old"), assignment));
    }

    /// What a plan of one target has.
    fn targeted(world: &World, pattern: &str) -> Vec<String> {
        let plan = world.plan_with(&Options { target: vec![pattern.to_owned()], ..Options::default() });
        plan.actions.iter().map(|action| action.address.to_string()).collect()
    }

    #[test]
    fn a_hold_that_was_begun_is_planned_by_its_name_alone() {
        let mut world = World::drain(&[1; 9]);
        world.desired.rollout.waves = vec![crate::plan::fixture::wave("first", Some(3))];
        world.desired.rollout.ramp = vec![5, 50];
        world.desired.rollout.soak_seconds = 60;
        let wave = hold_address(&After::Wave { wave: "first".to_owned() });
        let step = hold_address(&After::Ramp { percent: 25 });
        assert!(targeted(&world, "hold.wave[\"first\"]").is_empty());
        let record = world.state.hold_mut(&step);
        record.storages.insert(name("new"));
        record.rollback.insert(name("new"), crate::model::Weight::ZERO);
        world.state.hold_mut(&wave).storages.insert(name("new"));
        for (pattern, expected) in [
            ("hold.wave[\"first\"]", vec!["hold.wave[\"first\"]"]),
            ("hold.wave[\"rest\"]", vec![]),
            ("hold.ramp[\"25\"]", vec!["hold.ramp[\"25\"]"]),
            ("hold.ramp[\"100\"]", vec![]),
            ("hold.*", vec!["hold.ramp[\"25\"]", "hold.wave[\"first\"]"]),
        ] {
            assert_eq!(targeted(&world, pattern), expected, "{pattern}");
        }
        let plan = world.plan_with(&Options { target: vec!["hold.*".to_owned()], ..Options::default() });
        assert!(
            matches!(&plan.actions[0].change, crate::plan::Change::Hold { rollback, .. } if rollback.contains_key(&name("new")))
        );
        // Passed, there is nothing left to wait for.
        world.apply(&plan);
        assert!(targeted(&world, "hold.*").is_empty());
    }

    #[test]
    fn a_target_names_the_hold_of_a_batch_or_those_of_all() {
        let mut world = World::drain(&[1; 50]);
        world.desired.rollout.waves = vec![crate::plan::fixture::wave("first", None)];
        world.desired.rollout.waves[0].batch = Some(4);
        world.desired.rollout.soak_seconds = 60;
        let hold = "hold.wave[\"first-1\"]";
        world.state.hold_mut(&hold_address(&After::Wave { wave: "first-1".to_owned() })).storages.insert(name("new"));
        assert_eq!([targeted(&world, hold), targeted(&world, "hold.wave[\"first\"]")], [[hold], [hold]]);
        assert!(targeted(&world, "hold.wave[\"first-2\"]").is_empty());
    }

    #[test]
    fn a_hold_is_not_excluded_and_its_name_is_known() {
        let mut world = World::drain(&[1]);
        world.desired.rollout.waves = vec![crate::plan::fixture::wave("first", Some(3))];
        world.desired.rollout.ramp = vec![5];
        let refused = |options: &Options| {
            let found = Selection::new(&world.desired, &world.state, options);
            found.err().map(|mut errors| errors.items.remove(0))
        };
        for (pattern, code) in [
            ("hold.wave[\"first\"]", Some("plan/excluded-hold")),
            ("hold.ramp[\"5\"]", Some("plan/excluded-hold")),
            ("hold.wave[\"frist\"]", Some("plan/excluded-hold")),
            ("h*", Some("plan/excluded-hold")),
            ("moves.old[\"frist\"]", Some("plan/unknown-address")),
            ("*[\"first\"]", None),
        ] {
            let options = Options { exclude: vec![pattern.to_owned()], ..Options::default() };
            assert_eq!(refused(&options).map(|error| error.code), code, "{pattern}");
        }
        for (pattern, near) in [
            ("hold.wave[\"frist\"]", Some("Did you mean `hold.wave[\"first\"]`?")),
            ("hold.ramp[\"10\"]", Some("Did you mean `hold.ramp[\"100\"]`?")),
            ("hold.ramp[\"5\"]", None),
        ] {
            let options = Options { target: vec![pattern.to_owned()], ..Options::default() };
            assert_eq!(refused(&options).and_then(|error| error.help).as_deref(), near, "{pattern}");
        }
    }
}
