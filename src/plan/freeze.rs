//! Read-only time that users may be made to bear, and the hours in which moves may start: what can never be met is found
//! here, with figures, before anything begins; what waits for its hour is left to the engine.
//!
//! Bounds are kept at p95: 19 of 20 moves end inside their window and below their budget, the expected one well so. A day is
//! the calendar's in the time zone of the freeze's window, else of the rollout's, else UTC: the operator who writes "per
//! day" and "22:00" means one clock. A freeze counts to the day on which it began.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::durations::{Durations, Times};
use super::fit::quantile;
use super::make::Planner;
use super::placement::Item;
use super::window::{Window, longest_ms};
use super::{FreezePlan, Level, Options, WaitingOn};
use crate::model::Desired;

/// Groups that a plan names with their freeze: those that need most days.
const GROUPS: usize = 5;

/// What is predicted of the freeze of a plan's moves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Milliseconds of all moves together.
    pub total_ms: u64,
    /// Half of the repositories are read-only for at most so many milliseconds.
    pub p50_ms: u64,
    /// 99 of 100 for at most so many.
    pub p99_ms: u64,
    /// The longest.
    pub longest_ms: u64,
    /// Days that `per_day` makes the moves take at least; 0 without that budget or without moves.
    #[serde(default)]
    pub days: u64,
    /// The top-level groups that `per_day` binds most, that first; at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupForecast>,
}

/// What is predicted for one top-level group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupForecast {
    /// The first part of its repositories' paths.
    pub group: String,
    /// How many of them move.
    pub repositories: u64,
    /// Their predicted freeze, milliseconds.
    pub freeze_ms: u64,
    /// What earlier runs of this day have spent, milliseconds.
    pub spent_ms: u64,
    /// Days that it takes at least.
    pub days: u64,
}

/// The top-level group of a path. Personal snippets have none: they share one budget by the name `snippets`, which GitLab
/// reserves.
pub fn group_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Whose time zone says what a day is.
fn day_zone(desired: &Desired) -> String {
    let named = desired.freeze.window.as_ref().or(desired.rollout.window.as_ref());
    let window = named.and_then(|name| desired.windows.get(name));
    window.map_or_else(|| "UTC".to_owned(), |window| window.hours.timezone.clone())
}

/// The freeze budget as the plan carries it.
pub fn budget(desired: &Desired) -> FreezePlan {
    FreezePlan {
        per_repository: desired.freeze.per_repository,
        per_day: desired.freeze.per_day,
        window: desired.freeze.window.clone(),
        timezone: day_zone(desired),
        forecast: Forecast::default(),
    }
}

/// What planning knows of time.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) durations: Durations,
    pub(super) times: Times,
    windows: BTreeMap<String, Window>,
    spent: BTreeMap<String, u64>,
}

impl Timing {
    pub(super) fn new(desired: &Desired, options: &Options, names: &super::placement::Names<'_>) -> Self {
        let windows = desired.windows.iter();
        Self {
            durations: options.durations.clone(),
            times: Times::new(&options.durations, names),
            windows: windows.filter_map(|(name, window)| Some((name.clone(), Window::new(&window.hours)?))).collect(),
            spent: options.frozen_today.clone(),
        }
    }
}

/// Why a move can never be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bar {
    Window,
    PerRepository,
    PerDay,
}

/// Moves of one source that can never be made, for one reason.
struct Barred<'a> {
    items: Vec<Item<'a>>,
    largest: (u64, Item<'a>),
    /// The windows' names, and how long they are open together at most.
    windows: String,
    longest_ms: u64,
}

impl<'a> Planner<'a, '_> {
    /// The window in which the moves of a wave may start, by the wave's name.
    pub(super) fn window_of(&self, wave: &str) -> Option<&'a String> {
        let rollout = &self.desired.rollout;
        let own = super::waves::wave_of(self.desired, wave);
        own.and_then(|one| one.window.as_ref()).or(rollout.window.as_ref())
    }

    /// Takes away the moves that no window and no budget ever lets begin, and says so with figures.
    pub(super) fn within_budget(&mut self, items: &mut Vec<Item<'a>>, wave: impl Fn(u32) -> String) {
        let freeze = &self.desired.freeze;
        let mut windows: BTreeMap<u32, Option<&'a String>> = BTreeMap::new();
        for item in items.iter() {
            windows.entry(item.wave).or_insert_with(|| self.window_of(&wave(item.wave)));
        }
        let bounded = freeze.per_repository.is_some() || freeze.per_day.is_some();
        if !bounded && windows.values().all(Option::is_none) {
            return;
        }
        let as_of = self.observed.as_of;
        let timing = &self.timing;
        let mut lengths: BTreeMap<(Option<&str>, bool), u64> = BTreeMap::new();
        let mut barred: BTreeMap<(Bar, u32, Option<&'a str>, bool), Barred<'a>> = BTreeMap::new();
        items.retain(|item| {
            let p95 = timing.times.p95_ms(item);
            let own = windows.get(&item.wave).copied().flatten().map(String::as_str);
            let over = freeze.per_repository.is_some_and(|most| p95 > most.saturating_mul(1000));
            let named = [own, freeze.window.as_deref().filter(|_| over)];
            let longest = *lengths.entry((own, over)).or_insert_with(|| {
                let both: Vec<&Window> = named.iter().flatten().filter_map(|name| timing.windows.get(*name)).collect();
                longest_ms(&both, as_of)
            });
            let bar = if over && freeze.window.is_none() {
                Bar::PerRepository
            } else if freeze.per_day.is_some_and(|most| p95 > most.saturating_mul(1000)) {
                Bar::PerDay
            } else if p95 > longest {
                Bar::Window
            } else {
                return true;
            };
            let one = barred.entry((bar, item.source, own, over)).or_insert_with(|| Barred {
                items: Vec::new(),
                largest: (p95, *item),
                windows: named
                    .iter()
                    .flatten()
                    .copied()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(" and "),
                longest_ms: longest,
            });
            one.items.push(*item);
            if (p95, std::cmp::Reverse(item.repository.container))
                > (one.largest.0, std::cmp::Reverse(one.largest.1.repository.container))
            {
                one.largest = (p95, *item);
            }
            false
        });
        let nothing_left = items.is_empty();
        for ((bar, source, ..), one) in barred {
            self.barred(bar, source, one, nothing_left);
        }
    }

    fn barred(&mut self, bar: Bar, source: u32, barred: Barred<'a>, nothing_left: bool) {
        let Some(source) = self.names.name(source) else { return };
        let Barred { items, largest: (p95, largest), windows, longest_ms } = barred;
        let needed_seconds = p95.div_ceil(1000);
        let seconds = |budget: Option<u64>| budget.unwrap_or(0);
        let (reason, code, allowed) = match bar {
            Bar::Window => {
                let longest_seconds = longest_ms / 1000;
                let allowed = format!("`{windows}` is open for {} at most", spell(longest_seconds));
                (WaitingOn::Window { window: windows, longest_seconds, needed_seconds }, "window-too-short", allowed)
            }
            Bar::PerRepository => {
                let budget_seconds = seconds(self.desired.freeze.per_repository);
                let allowed =
                    format!("freeze.per_repository allows {} and freeze.window is not set", spell(budget_seconds));
                (WaitingOn::FreezePerRepository { budget_seconds, needed_seconds }, "freeze-per-repository", allowed)
            }
            Bar::PerDay => {
                let budget_seconds = seconds(self.desired.freeze.per_day);
                let allowed = format!("freeze.per_day allows {} to all of its group", spell(budget_seconds));
                (WaitingOn::FreezePerDay { budget_seconds, needed_seconds }, "freeze-per-day", allowed)
            }
        };
        if nothing_left {
            let repository = largest.repository;
            let message = format!(
                "No move off {source} can ever begin: {} {} ({}) is read-only for {} at p95, and {allowed}.",
                repository.container,
                repository.path,
                largest.bytes,
                spell(needed_seconds)
            );
            let help = match bar {
                Bar::Window => "Make the window longer, or give such repositories a wave with a longer one.",
                Bar::PerRepository => {
                    "Raise per_repository, or name a window for what exceeds it: freeze { window = window.NAME }."
                }
                Bar::PerDay => "Raise per_day: what one move needs cannot be spread over days.",
            };
            self.preflight.add(Level::Error, code, source.as_str(), message, help);
        }
        let drains = self.drains(source);
        let repositories = items.into_iter().map(|item| item.repository).collect();
        self.report.repositories(source, drains, reason, repositories);
    }

    /// The budget with what is predicted for the moves; what makes them take days is said.
    pub(super) fn freeze_plan(&mut self, items: &[Item<'a>]) -> FreezePlan {
        let mut plan = budget(self.desired);
        if items.is_empty() {
            return plan;
        }
        let mut all: Vec<u64> = items.iter().map(|item| self.timing.times.freeze_ms(item)).collect();
        plan.forecast = Forecast {
            total_ms: all.iter().fold(0, |sum, ms| sum.saturating_add(*ms)),
            p50_ms: quantile(&mut all, 500),
            p99_ms: quantile(&mut all, 990),
            longest_ms: all.iter().copied().max().unwrap_or(0),
            days: 0,
            groups: Vec::new(),
        };
        let Some(per_day) = plan.per_day.map(|seconds| seconds.saturating_mul(1000)) else { return plan };
        let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for item in items {
            let (count, ms) = groups.entry(group_of(&item.repository.path)).or_default();
            (*count, *ms) = (*count + 1, ms.saturating_add(self.timing.times.freeze_ms(item)));
        }
        let mut groups: Vec<GroupForecast> = groups
            .into_iter()
            .map(|(group, (repositories, freeze_ms))| {
                let spent_ms = self.timing.spent.get(group).copied().unwrap_or(0);
                // What is spent today is not there today.
                let days = freeze_ms.saturating_add(spent_ms.min(per_day)).div_ceil(per_day.max(1)).max(1);
                GroupForecast { group: group.to_owned(), repositories, freeze_ms, spent_ms, days }
            })
            .collect();
        groups.sort_by(|a, b| {
            (b.days, b.freeze_ms + b.spent_ms, &a.group).cmp(&(a.days, a.freeze_ms + a.spent_ms, &b.group))
        });
        plan.forecast.days = groups.first().map_or(0, |group| group.days);
        if let Some(first) = groups.first().filter(|group| group.days > 1) {
            let more = groups.iter().filter(|group| group.days > 1).count() - 1;
            let others = match more {
                0 => String::new(),
                1 => " One other group takes more than a day, too.".to_owned(),
                more => format!(" {more} other groups take more than a day, too."),
            };
            let message = format!(
                "The moves take at least {} days: those of group `{}` freeze for about {} in all, and freeze.per_day allows {}.{others}",
                first.days,
                first.group,
                spell(first.freeze_ms.div_ceil(1000)),
                spell(per_day / 1000),
            );
            let help = "What would overspend waits for the next day. Raise per_day to be done earlier.";
            self.preflight.add(Level::Notice, "freeze-days", "freeze", message, help);
        }
        groups.truncate(GROUPS);
        plan.forecast.groups = groups;
        plan
    }
}

/// Seconds in the two largest units: `3 h 10 min`, `5 min`, `40 s`.
pub(crate) fn spell(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(number, _)| *number > 0);
    let text: Vec<String> = shown.map(|(number, unit)| format!("{number} {unit}")).collect();
    if text.is_empty() { "0 s".to_owned() } else { text.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{SourceId, Span};
    use crate::model::{Bytes, Freeze, Hours};
    use crate::plan::fixture::{GIB, World, name, wave};
    use crate::plan::{Change, Plan};

    fn window(world: &mut World, label: &str, start: u16, end: u16, timezone: &str) {
        let hours = Hours { days: (0..7).collect(), start, end, timezone: timezone.to_owned() };
        let span = Span { source: SourceId(0), start: 0, end: 1 };
        world.desired.windows.insert(label.to_owned(), crate::model::Window { name: label.to_owned(), hours, span });
    }

    /// 4 s and 60 MB/s, twice that at p95: 1 GiB takes about 22 s, 44 s at p95.
    fn world(sizes: &[u64]) -> World {
        let mut world = World::drain(sizes);
        window(&mut world, "nights", 22 * 60, 22 * 60 + 1, "Europe/Berlin");
        window(&mut world, "long", 22 * 60, 5 * 60, "Europe/Berlin");
        world
    }

    #[expect(clippy::type_complexity, reason = "read at a glance beside its one use")]
    fn told(plan: &Plan) -> (Vec<(Level, &str)>, Vec<(u64, WaitingOn)>) {
        let findings = plan.findings.iter().map(|f| (f.level, f.code.as_str())).collect();
        (findings, plan.report.iter().map(|r| (r.count, r.reason.clone())).collect())
    }

    #[test]
    fn a_plan_says_what_it_freezes_and_by_whose_clock_a_day_is() {
        let mut world = world(&[60_000_000; 200]);
        world.repositories("old", &[600_000_000]);
        let plan = world.plan();
        let Forecast { total_ms, p50_ms, p99_ms, longest_ms, days, groups } = &plan.freeze.forecast;
        assert_eq!((*total_ms, *p50_ms, *p99_ms, *longest_ms, *days), (200 * 5_000 + 14_000, 5_000, 5_000, 14_000, 0));
        assert!(groups.is_empty() && plan.windows.is_empty());
        assert_eq!(plan.freeze.timezone, "UTC");
        world.desired.rollout.window = Some("long".to_owned());
        assert_eq!(world.plan().freeze.timezone, "Europe/Berlin");
    }

    #[test]
    fn waves_carry_their_window_and_the_plan_its_hours() {
        let mut world = world(&[1; 9]);
        world.desired.rollout.window = Some("long".to_owned());
        world.desired.rollout.waves = vec![wave("first", Some(3)), wave("second", Some(3))];
        world.desired.rollout.waves[1].window = Some("nights".to_owned());
        let plan = world.plan();
        let windows: Vec<_> = plan
            .actions
            .iter()
            .filter_map(|a| {
                if let Change::Moves { wave, window, .. } = &a.change {
                    Some((wave.as_str(), window.as_deref()))
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(windows, [("first", Some("long")), ("second", Some("nights")), ("rest", Some("long"))]);
        assert_eq!(plan.windows.keys().collect::<Vec<_>>(), ["long", "nights"]);
        world.desired.rollout.window = None;
        world.desired.rollout.waves.pop();
        assert!(world.plan().windows.is_empty(), "what nothing names is not carried");
    }

    #[test]
    fn a_window_too_short_for_a_repository_names_it_with_figures() {
        // At p95: 8 s for the small, 8 + 2 × 53 s for 3 GiB.
        let mut world = world(&[1, 3 * GIB, 1]);
        world.desired.rollout.window = Some("nights".to_owned());
        let plan = world.plan();
        let waits = WaitingOn::Window { window: "nights".to_owned(), longest_seconds: 60, needed_seconds: 116 };
        assert_eq!(told(&plan), (vec![], vec![(1, waits)]));
        assert_eq!((plan.moves.len(), plan.drain_is_stuck()), (2, true));
        // Nothing that could ever move: an error.
        world.observed.repositories.retain(|r| r.size == Some(Bytes(3 * GIB)));
        let plan = world.plan();
        assert_eq!(told(&plan).0, [(Level::Error, "window-too-short")]);
        let message = &plan.findings[0].message;
        assert!(
            message.contains("project-2 group/project-2 (3 GiB)") && message.contains("1 min 56 s at p95"),
            "{message}"
        );
        assert!(message.contains("`nights` is open for 1 min at most"), "{message}");
        world.desired.rollout.window = Some("long".to_owned());
        assert_eq!(told(&world.plan()), (vec![], vec![]));
    }

    #[test]
    fn what_exceeds_per_repository_waits_for_its_window_or_is_refused() {
        let mut world = world(&[1, 3 * GIB]);
        world.desired.freeze = Freeze { per_repository: Some(60), ..Freeze::default() };
        let plan = world.plan();
        let refused = WaitingOn::FreezePerRepository { budget_seconds: 60, needed_seconds: 116 };
        assert_eq!(told(&plan), (vec![], vec![(1, refused)]));
        world.desired.freeze.window = Some("long".to_owned());
        let plan = world.plan();
        assert_eq!(told(&plan), (vec![], vec![]));
        assert_eq!((plan.moves.len(), plan.windows.len()), (2, 1), "the engine keeps it for its window");
        world.desired.freeze.window = Some("nights".to_owned());
        assert!(matches!(told(&world.plan()).1[..], [(1, WaitingOn::Window { longest_seconds: 60, .. })]));
        // Two windows that are never open together.
        window(&mut world, "days", 10 * 60, 12 * 60, "Europe/Berlin");
        world.desired.freeze.window = Some("long".to_owned());
        world.desired.rollout.window = Some("days".to_owned());
        let waits = WaitingOn::Window { window: "days and long".to_owned(), longest_seconds: 0, needed_seconds: 116 };
        assert_eq!(told(&world.plan()).1, [(1, waits)]);
    }

    #[test]
    fn a_budget_of_a_day_is_counted_by_group_and_by_day() {
        // 4 s each: 25 of them, 40 s a day.
        let mut world = world(&[1; 25]);
        world.desired.freeze = Freeze { per_day: Some(40), ..Freeze::default() };
        for one in world.observed.repositories.iter_mut().take(5) {
            one.path = format!("web/project-{}", one.container.id).into();
        }
        let plan = world.plan();
        assert_eq!(told(&plan).0, [(Level::Notice, "freeze-days")]);
        let groups = &plan.freeze.forecast.groups;
        assert_eq!(
            groups.iter().map(|g| (g.group.as_str(), g.repositories, g.freeze_ms, g.days)).collect::<Vec<_>>(),
            [("group", 20, 80_000, 2), ("web", 5, 20_000, 1)]
        );
        assert_eq!(plan.freeze.forecast.days, 2);
        let spent = Options { frozen_today: BTreeMap::from([("web".to_owned(), 30_000)]), ..Options::default() };
        let plan = world.plan_with(&spent);
        assert_eq!(
            plan.freeze.forecast.groups.iter().map(|g| (g.spent_ms, g.days)).collect::<Vec<_>>(),
            [(0, 2), (30_000, 2)]
        );
        // One move alone is above the budget.
        world.desired.freeze.per_day = Some(7);
        let plan = world.plan();
        assert_eq!(
            told(&plan),
            (
                vec![(Level::Error, "freeze-per-day")],
                vec![(25, WaitingOn::FreezePerDay { budget_seconds: 7, needed_seconds: 8 })]
            )
        );
    }

    #[test]
    fn fitted_durations_decide_and_are_named() {
        let mut seen = crate::plan::Observations::default();
        for n in 0..100u64 {
            seen.add(&name("old"), &name("new"), Bytes(1 << (20 + n % 12)), 10_000 + (1 << (20 + n % 12)) / 20_000);
        }
        let world = world(&[1 << 30]);
        let options = Options { durations: seen.durations(), ..Options::default() };
        let plan = world.plan_with(&options);
        assert!(
            plan.freeze.forecast.longest_ms.abs_diff(10_000 + (1 << 30) / 20_000) < 8_000,
            "{:?}",
            plan.freeze.forecast
        );
        assert!(plan.estimate.assumption.contains("as fitted from 100 moves"), "{}", plan.estimate.assumption);
        assert_eq!(plan.durations.pairs.len(), 1);
        assert_eq!(plan, world.plan_with(&options), "same input, same plan");
    }

    #[test]
    fn spans_are_spelled() {
        let spelled = [0, 59, 60, 90, 3600, 3661, 90_000, 259_200].map(spell);
        assert_eq!(spelled, ["0 s", "59 s", "1 min", "1 min 30 s", "1 h", "1 h 1 min", "1 d 1 h", "3 d"]);
    }
}
