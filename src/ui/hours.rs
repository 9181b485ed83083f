//! Windows and the freeze budget of a plan, in words; and what a run spent of it.

use std::fmt::Write as _;

use serde::Serialize;

use super::text::{milliseconds, percent, repositories};
use crate::apply::event::{Spent, TimeSummary};
use crate::model::Hours;
use crate::plan::Plan;
use crate::plan::freeze::{Forecast, GroupForecast, spell};
use crate::plan::window::Window;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One window that moves wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowRow {
    /// Its label.
    pub name: String,
    /// Its days and times, with the time zone.
    pub hours: String,
    /// When it opens or closes next, seen from when the fleet was observed.
    pub next: String,
}

/// The freeze budget and what is predicted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FreezeRow {
    /// What one repository may bear, if that is bounded.
    pub per_repository: Option<String>,
    /// What the repositories of one top-level group may bear in a day, if that is bounded.
    pub per_day: Option<String>,
    /// The groups that it binds most, a line each.
    pub groups: Vec<(String, String)>,
}

fn days(hours: &Hours) -> String {
    if hours.days.len() == 7 {
        return "every day".to_owned();
    }
    let names: Vec<&str> = hours.days.iter().filter_map(|day| DAYS.get(usize::from(*day)).copied()).collect();
    names.join(", ")
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The windows of a plan, by their labels.
pub(super) fn windows(plan: &Plan) -> Vec<WindowRow> {
    let row = |(name, hours): (&String, &Hours)| {
        let words = format!("{} {} to {} {}", days(hours), clock(hours.start), clock(hours.end), hours.timezone);
        let next = match Window::new(hours).and_then(|window| Some((window.opening(plan.as_of)?, window))) {
            Some((opening, _)) if opening.closes == jiff::Timestamp::MAX => "always open".to_owned(),
            Some((opening, window)) => {
                let shown =
                    |at: jiff::Timestamp| at.to_zoned(window.zone().clone()).strftime("%Y-%m-%d %H:%M %:z").to_string();
                if opening.opens <= plan.as_of {
                    format!("open until {}", shown(opening.closes))
                } else {
                    format!("opens {}", shown(opening.opens))
                }
            }
            None => "never opens".to_owned(),
        };
        WindowRow { name: name.clone(), hours: words, next }
    };
    plan.windows.iter().map(row).collect()
}

/// The freeze budget; `None` without one, or without moves.
pub(super) fn freeze(plan: &Plan) -> Option<FreezeRow> {
    let budget = &plan.freeze;
    if plan.moves.is_empty() || (budget.per_repository.is_none() && budget.per_day.is_none()) {
        return None;
    }
    let per_repository = budget.per_repository.map(|seconds| {
        let rest = match &budget.window {
            Some(window) => format!("what may exceed it waits for window {window}"),
            None => "what may exceed it is not planned".to_owned(),
        };
        format!("{}; {rest}", spell(seconds))
    });
    let per_day = budget
        .per_day
        .map(|seconds| format!("{} for each top-level group, by the calendar of {}", spell(seconds), budget.timezone));
    let Forecast { total_ms: _, p50_ms: _, p99_ms: _, longest_ms: _, days: _, groups } = &budget.forecast;
    let groups = groups.iter().map(|GroupForecast { group, repositories: count, freeze_ms, spent_ms, days }| {
        let mut line = format!("{}, {}", repositories(*count), milliseconds(*freeze_ms));
        if *days > 1 {
            let _ = write!(line, ": {days} days at least");
        }
        if *spent_ms > 0 {
            let whole = budget.per_day.unwrap_or(0).saturating_mul(1000);
            let _ = write!(line, "; spent {} today", share(*spent_ms, whole));
        }
        (group.clone(), line)
    });
    Some(FreezeRow { per_repository, per_day, groups: groups.collect() })
}

/// `41 %`.
fn share(part_ms: u64, whole_ms: u64) -> String {
    let permille = u128::from(part_ms) * 1000 / u128::from(whole_ms.max(1));
    // A tenth of a per cent says nothing here.
    percent(u64::try_from(permille).unwrap_or(u64::MAX) / 10 * 10)
}

/// What a run made users bear, and how good its predictions were; a line each.
pub(super) fn spent(time: &TimeSummary) -> Vec<String> {
    let TimeSummary { frozen_ms, longest_ms, longest, spent, predicted, held, ends_predicted, ends_held } = time;
    let mut lines = Vec::new();
    if *frozen_ms > 0 {
        lines.push(format!(
            "Read-only while they moved: {} in all, {} at most ({longest}).",
            milliseconds(*frozen_ms),
            milliseconds(*longest_ms)
        ));
    }
    let day: Vec<String> = spent
        .iter()
        .map(|Spent { group, spent_ms, budget_ms }| format!("{group} {}", share(*spent_ms, *budget_ms)))
        .collect();
    if !day.is_empty() {
        lines.push(format!("Spent of this day's freeze budget: {}.", day.join(", ")));
    }
    // A handful says nothing of one in five.
    if *predicted >= 20 {
        let mut line = format!("80 % intervals held {} of {} moves", share(*held, *predicted), *predicted);
        if *ends_predicted >= 5 {
            let _ =
                write!(line, " and {} of {ends_predicted} predictions of the end", share(*ends_held, *ends_predicted));
        }
        lines.push(format!("{line}."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_what_it_spent_and_how_good_its_predictions_were() {
        let mut time = TimeSummary::default();
        assert!(spent(&time).is_empty());
        (time.frozen_ms, time.longest_ms, time.longest) = (126_400, 5_500, "project-3 web/shop".to_owned());
        let of = |group: &str, spent_ms| Spent { group: group.to_owned(), spent_ms, budget_ms: 300_000 };
        time.spent = vec![of("web", 123_000), of("app", 1_000)];
        (time.predicted, time.held, time.ends_predicted, time.ends_held) = (300, 249, 100, 78);
        assert_eq!(
            spent(&time),
            [
                "Read-only while they moved: 2 m 6 s in all, 5.5 s at most (project-3 web/shop).",
                "Spent of this day's freeze budget: web 41 %, app 0 %.",
                "80 % intervals held 83 % of 300 moves and 78 % of 100 predictions of the end.",
            ]
        );
    }

    #[test]
    fn the_totals_show_the_interval_of_the_end_and_count_down() {
        use crate::apply::event::Event;
        use crate::model::Bytes;
        use crate::ui::progress::Progress;
        let at = |second| jiff::Timestamp::from_second(second).expect("a time");
        let mut progress = Progress::new();
        let started =
            Event::RunStarted { run: "r".into(), actions: 1, moves: 10, bytes: Bytes(100), expected_seconds: 9000 };
        progress.take(&started, at(0));
        assert!(!progress.totals().contains("ETA"));
        assert!(
            progress.take(&Event::Eta { seconds: 7500, low: 6600, high: 9000 }, at(0)).is_empty(),
            "no line of its own"
        );
        assert!(progress.totals().ends_with("ETA 2 h 05 (1 h 50 to 2 h 30)"), "{}", progress.totals());
    }

    #[test]
    fn windows_and_budgets_are_told_in_words() {
        let mut plan = super::super::samples::first_move(4);
        assert_eq!((windows(&plan), freeze(&plan)), (vec![], None));
        let hours = |days: &[u8], start, end| Hours {
            days: days.iter().copied().collect(),
            start,
            end,
            timezone: "Europe/Berlin".to_owned(),
        };
        plan.windows.insert("always".to_owned(), hours(&[0, 1, 2, 3, 4, 5, 6], 0, 0));
        plan.windows.insert("nights".to_owned(), hours(&[0, 3], 22 * 60, 5 * 60 + 30));
        plan.windows.insert("now".to_owned(), hours(&[4], 60, 9 * 60));
        let rows: Vec<String> =
            windows(&plan).into_iter().map(|row| format!("{}: {}: {}", row.name, row.hours, row.next)).collect();
        assert_eq!(
            rows,
            [
                "always: every day 00:00 to 00:00 Europe/Berlin: always open",
                "nights: mon, thu 22:00 to 05:30 Europe/Berlin: open until 2026-01-02 05:30 +01:00",
                "now: fri 01:00 to 09:00 Europe/Berlin: open until 2026-01-02 09:00 +01:00",
            ]
        );
        (plan.freeze.per_repository, plan.freeze.per_day) = (Some(300), Some(7200));
        plan.freeze.timezone = "Europe/Berlin".to_owned();
        let group = GroupForecast {
            group: "web".into(),
            repositories: 12,
            freeze_ms: 11_400_000,
            spent_ms: 2_952_000,
            days: 2,
        };
        plan.freeze.forecast.groups = vec![group];
        let row = freeze(&plan).expect("a budget");
        assert_eq!(row.per_repository.as_deref(), Some("5 min; what may exceed it is not planned"));
        assert_eq!(row.per_day.as_deref(), Some("2 h for each top-level group, by the calendar of Europe/Berlin"));
        assert_eq!(
            row.groups,
            [("web".to_owned(), "12 repositories, 3 h 10 m 0 s: 2 days at least; spent 41 % today".to_owned())]
        );
    }
}
