//! Tries gates before anything waits for them: which questions are put once while the fleet is read, and what their
//! answers mean for the plan. A gate whose query can never be answered is found here, not in the middle of a rollout.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::checks;
use super::judge::{Ground, weigh};
use super::make::Planner;
use super::{Check, Level};
use crate::diag::Diagnostics;
use crate::model::{Address, Desired, Observed, StorageName};

/// The questions of all gates that something names, for each storage that moves or weights may touch. A pod that does not
/// answer yet has no metrics either: it is not asked about. Queries that cannot be evaluated are left out: planning says
/// what is wrong with them.
pub fn gates_wanted(desired: &Desired, observed: &Observed) -> Vec<Check> {
    let named: Vec<Address> = desired.gates_named().into_iter().cloned().collect();
    if named.is_empty() {
        return Vec::new();
    }
    let moved = desired.assignments.iter().flat_map(|assignment| assignment.from.iter().chain(&assignment.to));
    let weighed = desired.storages.values().filter(|storage| storage.weight.is_some() || storage.drain);
    let targets: BTreeSet<&StorageName> = moved.chain(weighed.map(|storage| &storage.name)).collect();
    let there = |name: &&StorageName| {
        let pod = desired.storages.get(*name).is_some_and(|storage| storage.pod.is_some());
        !pod || observed.storages.get(*name).is_some_and(|facts| facts.server.known().is_some())
    };
    checks(desired, &named, targets.into_iter().filter(there)).map_or_else(|_| Vec::new(), |(checks, _)| checks)
}

/// What is said of a gate for some storages.
struct Told<'a> {
    check: &'a Check,
    why: String,
    also: Vec<&'a StorageName>,
}

impl Planner<'_, '_> {
    /// Says what the gates' questions are answered now, for the storages that this plan touches.
    ///
    /// # Errors
    /// A query that cannot be evaluated for a storage.
    pub(super) fn try_gates(
        &mut self,
        weights: &BTreeSet<&StorageName>,
        moves: &BTreeSet<&StorageName>,
    ) -> Result<(), Diagnostics> {
        let targets: BTreeSet<&StorageName> = weights.iter().chain(moves).copied().collect();
        let named: Vec<Address> = self.desired.gates_named().into_iter().cloned().collect();
        let (checks, _) = checks(self.desired, &named, targets)?;
        let mut told: BTreeMap<(&Address, Ground), Told<'_>> = BTreeMap::new();
        for check in &checks {
            let key = (check.gate.clone(), check.target.clone());
            let Some(answers) = self.observed.gates.answers.get(&key) else { continue };
            let (ground, why) = weigh(check, answers);
            match told.entry((&check.gate, ground)) {
                std::collections::btree_map::Entry::Occupied(mut told) => told.get_mut().also.push(&check.target),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Told { check, why, also: Vec::new() });
                }
            }
        }
        let mut found = Vec::new();
        for ((gate, ground), Told { check, why, also }) in told {
            let Some((level, code, help)) = advice(ground, check) else { continue };
            let also = if also.is_empty() { String::new() } else { format!(" The same for {}.", list(&also)) };
            let level = if check.dry_run { Level::Notice } else { level };
            found.push((level, code, gate.to_string(), format!("{why}.{also}"), help));
        }
        for (level, code, gate, message, help) in found {
            self.preflight.add(level, code, &gate, message, &help);
        }
        if !checks.is_empty() {
            for warning in &self.observed.gates.warnings {
                let message = format!("Prometheus warns: {warning}");
                let help = "An answer that covers a part only may hide what a gate is there to see.";
                self.preflight.add(Level::Notice, "prometheus-warns", "prometheus", message, help);
            }
        }
        Ok(())
    }
}

/// How grave it is, and what to do.
fn advice(ground: Ground, check: &Check) -> Option<(Level, &'static str, String)> {
    let tried = format!("Tried: {}", check.query);
    Some(match ground {
        Ground::Held => return None,
        Ground::Exceeded => {
            let help = "It is asked again when its turn comes, and stops the rollout if it still fails then.";
            (Level::Notice, "gate-fails-now", format!("{help} {tried}"))
        }
        Ground::Refused => (Level::Error, "gate-refused", format!("Correct the gate's query. {tried}")),
        Ground::Failed => {
            let help = "See that `prometheus.url` is right and that it can be reached from here: a gate that cannot be \
                        asked pauses the rollout.";
            (Level::Danger, "gate-unanswered", help.to_owned())
        }
        Ground::NoData => {
            let help = "A gate without data pauses the rollout. Compare the storage's `metrics` with the labels that \
                        Prometheus has for its server, and see that it is scraped.";
            (Level::Danger, "gate-no-data", format!("{help} {tried}"))
        }
        Ground::Baseline => {
            let help = "A gate that has nothing to compare with pauses the rollout. Look at the storages of its \
                        `baseline`: at their `metrics`, and whether anybody still uses them.";
            (Level::Danger, "gate-no-baseline", format!("{help} {tried}"))
        }
        Ground::Thin => {
            let help = "It is asked again when its turn comes. If it stays so, the rollout pauses.";
            (Level::Notice, "gate-unknown-now", format!("{help} {tried}"))
        }
    })
}

/// At most five names.
fn list(names: &[&StorageName]) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Expression;
    use crate::model::{Answer, Answers, Gate, MetricsQuestion, Question, Series};
    use crate::plan::fixture::{World, name, span};

    fn world() -> World {
        let mut world = World::drain(&[1, 2]);
        let question = MetricsQuestion {
            query: Expression::constant("sum(up)".to_owned()),
            max: Some(0.5),
            min: None,
            for_seconds: 0,
            baseline: Vec::new(),
            max_ratio: None,
            dry_run: false,
            interval_seconds: 30,
            deadline_seconds: 60,
        };
        let address = Address::new("gate", "errors");
        let gate = Gate { address: address.clone(), question: Question::Metrics(Box::new(question)), span: span(0) };
        world.desired.gates.insert(address.clone(), gate);
        world.desired.rollout.gates.push(address);
        world
    }

    fn answer(world: &mut World, storage: &str, target: Answer) {
        let at = world.observed.as_of;
        let answers = Answers { at, target, baseline: BTreeMap::new(), freshness: Vec::new() };
        world.observed.gates.answers.insert((Address::new("gate", "errors"), name(storage)), answers);
    }

    fn value(world: &World, value: f64) -> Answer {
        let points = vec![(world.observed.as_of, value)];
        Answer::Series(vec![Series { labels: BTreeMap::new(), points }])
    }

    fn found(world: &World) -> Vec<(Level, String, String)> {
        let plan = world.plan();
        plan.findings.into_iter().map(|f| (f.level, f.code, f.message)).collect()
    }

    #[test]
    fn each_storage_that_may_be_touched_is_asked_about() {
        let mut world = world();
        world.storage("far", 0);
        let asked = |world: &World| {
            let wanted = gates_wanted(&world.desired, &world.observed);
            wanted.into_iter().map(|check| check.target.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(asked(&world), ["new", "old"]);
        world.pod("pod");
        world.desired("pod").weight = Some(crate::plan::fixture::weight(1));
        assert_eq!(asked(&world), ["new", "old"], "a pod that is not there has no metrics");
        world.desired.rollout.gates.clear();
        assert_eq!(asked(&world), Vec::<String>::new());
    }

    #[test]
    fn what_the_questions_are_answered_is_found_in_the_plan() {
        let mut world = world();
        assert_eq!(found(&world), [], "not asked");
        let (good, bad) = (value(&world, 0.1), value(&world, 0.7));
        answer(&mut world, "old", good.clone());
        answer(&mut world, "new", good);
        assert_eq!(found(&world), []);
        for (target, level, code, said) in [
            (bad, Level::Notice, "gate-fails-now", "0.7 is above 0.5. The same for old."),
            (Answer::Series(vec![]), Level::Danger, "gate-no-data", "no data: the query finds nothing"),
            (Answer::Refused("parse error".into()), Level::Error, "gate-refused", "refuses the query: parse error"),
            (Answer::Failed("away".into()), Level::Danger, "gate-unanswered", "not answered: away"),
            (value(&world, f64::NAN), Level::Notice, "gate-unknown-now", "the answer is NaN"),
        ] {
            answer(&mut world, "old", target.clone());
            answer(&mut world, "new", target);
            let found = found(&world);
            let [(one, its, message)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((*one, its.as_str()), (level, code));
            assert!(message.starts_with("gate.errors of new: ") && message.contains(said), "{message}");
        }
        world.observed.repositories.clear();
        world.desired("old").drain = false;
        world.desired("new").weight = None;
        let plan = world.plan();
        assert!(plan.findings.iter().all(|finding| !finding.code.starts_with("gate-")), "nothing would ask it");
    }

    #[test]
    fn what_decides_nothing_is_no_danger() {
        let mut world = world();
        let Some(gate) = world.desired.gates.values_mut().next() else { panic!("there") };
        if let Question::Metrics(question) = &mut gate.question {
            question.dry_run = true;
        }
        answer(&mut world, "new", Answer::Refused("no".into()));
        world.observed.gates.warnings.push("partial response".to_owned());
        let levels: Vec<(Level, String)> = found(&world).into_iter().map(|(level, code, _)| (level, code)).collect();
        assert_eq!(levels, [(Level::Notice, "gate-refused".into()), (Level::Notice, "prometheus-warns".into())]);
    }
}
