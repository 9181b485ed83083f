//! When a move may begin: inside its window so that it ends inside at p95, and within the freeze budget of its group's day.
//! Pure: the time is an argument. What is over budget or out of hours waits; the order of the others stays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::apply::learned::Learned;
use crate::model::zone;
use crate::plan::freeze::{group_of, spell};
use crate::plan::window::{Opening, Window, start_in};
use crate::plan::{FreezePlan, Plan, PlannedMove};

/// Whether a move may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Eligible {
    /// Now.
    Yes,
    /// Not before then.
    NotYet { until: Timestamp, why: Why },
    /// Not in this run.
    Never { why: String },
}

/// What a move waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// Its window is closed.
    Closed(Arc<str>),
    /// It would not end before its window closes.
    TooLate(Arc<str>),
    /// Its group's freeze of this day is spent, or as good as.
    Spent(Arc<str>),
    /// An attempt failed, and the next one is due then.
    Retry,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(window) => write!(f, "window {window} is closed"),
            Self::TooLate(window) => write!(f, "would not end before window {window} closes"),
            Self::Retry => f.write_str("an attempt failed, and the next one is not due yet"),
            Self::Spent(group) => write!(f, "the freeze budget of group {group} for this day is spent"),
        }
    }
}

/// The windows and the budget of one run.
#[derive(Debug)]
pub(crate) struct Calendar {
    windows: BTreeMap<Arc<str>, (Window, Option<Opening>)>,
    freeze: FreezePlan,
    zone: TimeZone,
    learned: Arc<Learned>,
    day: Option<Date>,
    tomorrow: Timestamp,
    /// Milliseconds by group, of this day.
    spent: BTreeMap<Arc<str>, u64>,
    /// Of moves in flight, at p95.
    reserved: BTreeMap<Arc<str>, u64>,
    /// By index of the move: group, milliseconds reserved, the day that it began on.
    flying: BTreeMap<usize, (Arc<str>, u64, Option<Date>)>,
}

impl Calendar {
    pub(crate) fn new(plan: &Plan, learned: Arc<Learned>) -> Self {
        let windows = plan.windows.iter();
        let windows = windows.filter_map(|(name, hours)| Some((Arc::from(name.as_str()), (Window::new(hours)?, None))));
        Self {
            windows: windows.collect(),
            freeze: plan.freeze.clone(),
            zone: zone(&plan.freeze.timezone).unwrap_or(TimeZone::UTC),
            learned,
            day: None,
            tomorrow: Timestamp::MIN,
            spent: BTreeMap::new(),
            reserved: BTreeMap::new(),
            flying: BTreeMap::new(),
        }
    }

    /// True when what earlier runs of the day spent must be known.
    pub(crate) fn counts_days(&self) -> bool {
        self.freeze.per_day.is_some()
    }

    /// From when to when a day lasts that a time is in.
    pub(crate) fn day_of(&self, at: Timestamp) -> std::ops::Range<Timestamp> {
        day_of(&self.zone, at)
    }

    /// Takes what earlier runs of this day have spent.
    pub(crate) fn carry(&mut self, now: Timestamp, spent: BTreeMap<String, u64>) {
        self.roll(now);
        self.spent = spent.into_iter().map(|(group, ms)| (Arc::from(group), ms)).collect();
    }

    /// Begins a new day with nothing spent; what is in flight counts to the day on which it began.
    fn roll(&mut self, now: Timestamp) {
        if now < self.tomorrow && self.day.is_some() {
            return;
        }
        self.day = Some(now.to_zoned(self.zone.clone()).date());
        self.tomorrow = self.day_of(now).end;
        self.spent.clear();
        self.reserved.clear();
    }

    fn opening(&mut self, name: &str, now: Timestamp) -> Option<Opening> {
        let (window, known) = self.windows.get_mut(name)?;
        match known {
            // Time only goes forward: until it has closed, it is the one.
            Some(opening) if now < opening.closes => Some(*opening),
            _ => {
                *known = window.opening(now);
                *known
            }
        }
    }

    fn name(&self, name: &str) -> Arc<str> {
        self.windows.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| Arc::clone(name))
    }

    /// Until when all moves of a window wait; `None`: it is open, or there is none.
    pub(crate) fn closed(&mut self, window: Option<&str>, now: Timestamp) -> Option<(Timestamp, Why)> {
        let name = window?;
        match self.opening(name, now) {
            Some(opening) if opening.opens <= now => None,
            Some(opening) => Some((opening.opens, Why::Closed(self.name(name)))),
            // A window that the plan lacks is never open: the linter does not let it come to that.
            None => Some((Timestamp::MAX, Why::Closed(self.name(name)))),
        }
    }

    /// Whether a move may begin now.
    pub(crate) fn eligible(&mut self, planned: &PlannedMove, window: Option<&str>, now: Timestamp) -> Eligible {
        let p95 = self.p95_ms(planned);
        let over = self.freeze.per_repository.is_some_and(|most| p95 > most.saturating_mul(1000));
        let extra = if over { self.freeze.window.clone() } else { None };
        if over && extra.is_none() {
            let most = spell(self.freeze.per_repository.unwrap_or(0));
            let why =
                format!("read-only for {} at p95, and freeze.per_repository allows {most}", spell(p95.div_ceil(1000)));
            return Eligible::Never { why };
        }
        let mut late = None;
        for name in window.into_iter().chain(extra.as_deref()) {
            let fits = self.opening(name, now).is_some_and(|opening| inside(opening, now, p95));
            if !fits {
                late.get_or_insert_with(|| self.name(name));
            }
        }
        if let Some(name) = late {
            let both =
                window.into_iter().chain(extra.as_deref()).map(|name| self.windows.get(name).map(|(window, _)| window));
            let until = both.collect::<Option<Vec<&Window>>>().and_then(|windows| start_in(&windows, now, p95));
            return match until {
                Some(until) => Eligible::NotYet { until, why: Why::TooLate(name) },
                None => {
                    let why = format!(
                        "no opening of window {name} is as long as it takes at p95, {}",
                        spell(p95.div_ceil(1000))
                    );
                    Eligible::Never { why }
                }
            };
        }
        self.within_budget(planned, p95, now)
    }

    /// Until when a move may be asked for within the openings that it was found eligible in.
    pub(crate) fn latest(&self, planned: &PlannedMove, window: Option<&str>) -> Option<Timestamp> {
        let p95 = self.p95_ms(planned);
        let over = self.freeze.per_repository.is_some_and(|most| p95 > most.saturating_mul(1000));
        let extra = self.freeze.window.as_deref().filter(|_| over);
        let length = jiff::SignedDuration::from_millis(i64::try_from(p95).unwrap_or(i64::MAX));
        let closes = |name: &str| self.windows.get(name)?.1.map(|opening| opening.closes);
        let openings = window.into_iter().chain(extra).filter_map(closes);
        openings.map(|closes| closes.saturating_sub(length).unwrap_or(Timestamp::MIN)).min()
    }

    /// Whether moves of one project, one after the other, may begin within the budget of its group's day.
    pub(crate) fn fit(&mut self, moves: &[PlannedMove], now: Timestamp) -> Eligible {
        let p95 = moves.iter().map(|one| self.p95_ms(one)).sum();
        moves.first().map_or(Eligible::Yes, |first| self.within_budget(first, p95, now))
    }

    fn within_budget(&mut self, planned: &PlannedMove, p95: u64, now: Timestamp) -> Eligible {
        let Some(per_day) = self.freeze.per_day.map(|seconds| seconds.saturating_mul(1000)) else {
            return Eligible::Yes;
        };
        self.roll(now);
        let group = group_of(&planned.path);
        if p95 > per_day {
            let why = format!(
                "read-only for {} at p95, and freeze.per_day allows {}",
                spell(p95.div_ceil(1000)),
                spell(per_day / 1000)
            );
            return Eligible::Never { why };
        }
        if p95 <= self.left(group, per_day) {
            return Eligible::Yes;
        }
        Eligible::NotYet { until: self.tomorrow, why: Why::Spent(Arc::from(group)) }
    }

    fn left(&self, group: &str, per_day: u64) -> u64 {
        let of = |sums: &BTreeMap<Arc<str>, u64>| sums.get(group).copied().unwrap_or(0);
        per_day.saturating_sub(of(&self.spent).saturating_add(of(&self.reserved)))
    }

    /// Milliseconds of a group's day that no move in flight may need.
    pub(crate) fn left_ms(&self, group: &str) -> u64 {
        self.freeze.per_day.map_or(u64::MAX, |seconds| self.left(group, seconds.saturating_mul(1000)))
    }

    /// Milliseconds that a move takes at p95.
    pub(crate) fn p95_ms(&self, planned: &PlannedMove) -> u64 {
        self.learned.of(&planned.source, &planned.destination).p95_ms(planned.copied())
    }

    /// A move begins.
    pub(crate) fn begin(&mut self, at: usize, planned: &PlannedMove, now: Timestamp) {
        if !self.counts_days() {
            return;
        }
        self.roll(now);
        let (group, p95): (Arc<str>, u64) = (Arc::from(group_of(&planned.path)), self.p95_ms(planned));
        *self.reserved.entry(Arc::clone(&group)).or_default() += p95;
        self.flying.insert(at, (group, p95, self.day));
    }

    /// A move has ended after so many milliseconds of freeze. Returns its group, where days are counted.
    pub(crate) fn end(&mut self, at: usize, frozen_ms: u64, now: Timestamp) -> Option<Arc<str>> {
        let (group, p95, day) = self.flying.remove(&at)?;
        self.roll(now);
        if day == self.day {
            let reserved = self.reserved.entry(Arc::clone(&group)).or_default();
            *reserved = reserved.saturating_sub(p95);
            let spent = self.spent.entry(Arc::clone(&group)).or_default();
            *spent = spent.saturating_add(frozen_ms);
        }
        Some(group)
    }

    /// A freeze that nothing was kept for.
    pub(crate) fn spend(&mut self, path: &str, frozen_ms: u64, now: Timestamp) {
        if self.counts_days() {
            self.roll(now);
            let spent = self.spent.entry(Arc::from(group_of(path))).or_default();
            *spent = spent.saturating_add(frozen_ms);
        }
    }

    /// A time by the clock on the wall: the window's where a window is waited for, else the budget's.
    pub(crate) fn spell(&self, at: Timestamp, why: &Why) -> String {
        if at == Timestamp::MAX {
            return "another configuration".to_owned();
        }
        let zone = match why {
            Why::Closed(window) | Why::TooLate(window) => self.windows.get(window).map(|(window, _)| window.zone()),
            Why::Spent(_) | Why::Retry => None,
        };
        at.to_zoned(zone.unwrap_or(&self.zone).clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    /// Milliseconds spent this day by group, those with most first.
    pub(crate) fn spent(&self) -> Vec<(String, u64)> {
        let mut spent: Vec<(String, u64)> = self.spent.iter().map(|(group, ms)| (group.to_string(), *ms)).collect();
        spent.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        spent
    }
}

/// From when to when a day lasts by a time zone's clock.
pub(crate) fn day_of(zone: &TimeZone, at: Timestamp) -> std::ops::Range<Timestamp> {
    let day = at.to_zoned(zone.clone()).start_of_day();
    let next = day.as_ref().ok().and_then(|day| day.tomorrow().ok()).and_then(|next| next.start_of_day().ok());
    let start = day.map_or(Timestamp::MIN, |day| day.timestamp());
    start..next.map_or(Timestamp::MAX, |next| next.timestamp())
}

fn inside(opening: Opening, now: Timestamp, length_ms: u64) -> bool {
    let length = jiff::SignedDuration::from_millis(i64::try_from(length_ms).unwrap_or(i64::MAX));
    opening.opens <= now && now.checked_add(length).is_ok_and(|end| end <= opening.closes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Bytes, Container, ContainerKind, Hours, StorageName};
    use crate::plan::Observations;
    use crate::plan::durations::Durations;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// A move of 4 s, 8 s at p95, and 60 MB/s.
    fn planned(id: u64, path: &str, bytes: u64) -> PlannedMove {
        let name = |text: &str| StorageName::new(text).expect("a name");
        PlannedMove {
            container: Container { kind: ContainerKind::Project, id },
            path: path.into(),
            source: name("old"),
            destination: name("new"),
            assignment: Address::new("assignment", "all"),
            bytes: Bytes(bytes),
            shared: Bytes(0),
            empty: false,
            pool: None,
        }
    }

    fn calendar(freeze: FreezePlan) -> Calendar {
        let hours = |start, end| Hours { days: (0..7).collect(), start, end, timezone: "UTC".to_owned() };
        let windows = [("nights", hours(22 * 60, 23 * 60)), ("late", hours(22 * 60 + 30, 24 * 60 - 1))];
        Calendar {
            windows: windows
                .iter()
                .filter_map(|(name, hours)| Some((Arc::from(*name), (Window::new(hours)?, None))))
                .collect(),
            zone: TimeZone::UTC,
            freeze,
            learned: Arc::new(Learned::new(Durations::default(), Observations::default())),
            day: None,
            tomorrow: Timestamp::MIN,
            spent: BTreeMap::new(),
            reserved: BTreeMap::new(),
            flying: BTreeMap::new(),
        }
    }

    fn until(eligible: &Eligible) -> Option<String> {
        if let Eligible::NotYet { until, .. } = eligible { Some(until.to_string()) } else { None }
    }

    #[test]
    fn a_move_begins_only_where_it_ends_inside_at_p95() {
        let mut calendar = calendar(FreezePlan::default());
        let small = planned(1, "a/b", 0);
        assert_eq!(calendar.closed(None, time("2026-01-05T12:00:00Z")), None);
        let (opens, why) = calendar.closed(Some("nights"), time("2026-01-05T12:00:00Z")).expect("closed");
        assert_eq!((opens, why.to_string()), (time("2026-01-05T22:00:00Z"), "window nights is closed".to_owned()));
        assert_eq!(calendar.closed(Some("nights"), time("2026-01-05T22:00:00Z")), None);
        assert_eq!(calendar.eligible(&small, Some("nights"), time("2026-01-05T22:59:52Z")), Eligible::Yes, "just so");
        let late = calendar.eligible(&small, Some("nights"), time("2026-01-05T22:59:53Z"));
        assert_eq!(until(&late).as_deref(), Some("2026-01-06T22:00:00Z"));
        // 60 GB: 1,004 s, 2,008 s at p95.
        let giant = planned(2, "a/c", 60_000_000_000);
        assert_eq!(calendar.eligible(&giant, Some("nights"), time("2026-01-05T22:26:00Z")), Eligible::Yes);
        let waits = calendar.eligible(&giant, Some("nights"), time("2026-01-05T22:27:00Z"));
        assert_eq!(until(&waits).as_deref(), Some("2026-01-06T22:00:00Z"));
        assert_eq!(
            calendar.eligible(&small, Some("nights"), time("2026-01-05T22:27:00Z")),
            Eligible::Yes,
            "others go on"
        );
        let never =
            calendar.eligible(&planned(3, "a/d", 600_000_000_000), Some("nights"), time("2026-01-05T22:00:00Z"));
        assert!(matches!(never, Eligible::Never { .. }), "{never:?}");
    }

    #[test]
    fn what_was_read_and_checked_for_too_long_is_not_asked_for_any_more() {
        let mut calendar =
            calendar(FreezePlan { per_repository: Some(60), window: Some("late".into()), ..FreezePlan::default() });
        let small = planned(1, "a/b", 0);
        assert_eq!(calendar.eligible(&small, Some("nights"), time("2026-01-05T22:10:00Z")), Eligible::Yes);
        let latest = |calendar: &Calendar, one: &PlannedMove, window| calendar.latest(one, window);
        assert_eq!(latest(&calendar, &small, None), None);
        let closes = latest(&calendar, &small, Some("nights"));
        assert_eq!(closes, Some(time("2026-01-05T22:59:52Z")), "8 s before it closes");
        // 6 GB: 208 s at p95, over `per_repository`: within both windows.
        let large = planned(2, "a/c", 6_000_000_000);
        assert_eq!(calendar.eligible(&large, Some("nights"), time("2026-01-05T22:30:00Z")), Eligible::Yes);
        let closes = latest(&calendar, &large, Some("nights"));
        assert_eq!(closes, Some(time("2026-01-05T22:56:32Z")), "the earlier of both");
    }

    #[test]
    fn what_exceeds_per_repository_needs_both_windows() {
        let freeze = FreezePlan { per_repository: Some(60), window: Some("late".into()), ..FreezePlan::default() };
        let mut both = calendar(freeze);
        let (small, large) = (planned(1, "a/b", 0), planned(2, "a/c", 3_000_000_000));
        let now = time("2026-01-05T22:00:00Z");
        assert_eq!(both.eligible(&small, Some("nights"), now), Eligible::Yes);
        assert_eq!(until(&both.eligible(&large, Some("nights"), now)).as_deref(), Some("2026-01-05T22:30:00Z"));
        assert_eq!(both.eligible(&large, Some("nights"), time("2026-01-05T22:30:00Z")), Eligible::Yes);
        assert_eq!(until(&both.eligible(&large, None, now)).as_deref(), Some("2026-01-05T22:30:00Z"));
        let mut none = calendar(FreezePlan { per_repository: Some(60), ..FreezePlan::default() });
        assert!(matches!(none.eligible(&large, None, now), Eligible::Never { .. }));
    }

    #[test]
    fn a_groups_day_is_never_overspent_and_the_next_begins_with_nothing() {
        let mut calendar = calendar(FreezePlan { per_day: Some(20), ..FreezePlan::default() });
        let now = time("2026-01-05T12:00:00Z");
        calendar.carry(now, BTreeMap::from([("a".to_owned(), 3_000)]));
        let (one, two, three) = (planned(1, "a/1", 0), planned(2, "a/2", 0), planned(3, "a/3", 0));
        assert_eq!(calendar.eligible(&one, None, now), Eligible::Yes);
        calendar.begin(1, &one, now);
        assert_eq!(calendar.eligible(&two, None, now), Eligible::Yes, "3 + 8 + 8");
        calendar.begin(2, &two, now);
        let waits = calendar.eligible(&three, None, now);
        assert_eq!(until(&waits).as_deref(), Some("2026-01-06T00:00:00Z"));
        assert_eq!(calendar.eligible(&planned(4, "b/1", 0), None, now), Eligible::Yes, "another group");
        assert_eq!(calendar.end(1, 4_000, now).as_deref(), Some("a"));
        assert_eq!(calendar.left_ms("a"), 20_000 - 3_000 - 4_000 - 8_000);
        assert!(until(&calendar.eligible(&three, None, now)).is_some(), "5 s are left, 8 s may be needed");
        calendar.end(2, 4_000, now);
        assert_eq!(calendar.eligible(&three, None, now), Eligible::Yes);
        assert_eq!(calendar.spent(), [("a".to_owned(), 11_000)]);
        // What flies over midnight counts to the day on which it began.
        calendar.begin(3, &three, time("2026-01-05T23:59:59Z"));
        calendar.end(3, 9_000, time("2026-01-06T00:00:08Z"));
        assert_eq!((calendar.left_ms("a"), calendar.spent().len()), (20_000, 0));
        assert!(matches!(calendar.eligible(&planned(5, "a/4", 1_000_000_000), None, now), Eligible::Never { .. }));
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let berlin = zone("Europe/Berlin").expect("a zone");
        let day = day_of(&berlin, time("2026-03-29T10:00:00Z"));
        assert_eq!((day.start, day.end), (time("2026-03-28T23:00:00Z"), time("2026-03-29T22:00:00Z")), "23 hours");
    }
}
