//! Windows, the freeze budget and predictions, over the in-memory fleet with its virtual clock, at 2026-01-05T09:00:00Z.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tranship::apply::event::{Event, Outcome};
use tranship::diag::{SourceId, Span};
use tranship::model::{Freeze, Hours, Window};
use tranship::plan::freeze::group_of;

use super::laws::{Tool, passed, spec};

/// What a small move takes at p95 by the assumption.
const P95: SignedDuration = SignedDuration::from_secs(8);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// A tool whose moves start in a window of every day: 30 moves of about five seconds, two at once.
fn tool(start: u16, end: u16, timezone: &str) -> Tool {
    let mut tool = Tool::new(&spec(30, &[]));
    tool.desired.max_moves = 2;
    let hours = Hours { days: (0..7).collect(), start, end, timezone: timezone.to_owned() };
    let span = Span { source: SourceId(0), start: 0, end: 0 };
    tool.desired.windows.insert("hours".to_owned(), Window { name: "hours".to_owned(), hours, span });
    tool.desired.rollout.window = Some("hours".to_owned());
    tool
}

fn posts(tool: &Tool) -> Vec<Timestamp> {
    tool.fleet.moves().iter().map(|one| one.created_at).collect()
}

fn waits(tool: &Tool) -> Vec<String> {
    let of = |event: &Event| if let Event::Waiting { what } = event { Some(what.clone()) } else { None };
    tool.events().iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_window_that_closes_in_the_middle_of_a_run_is_waited_for() {
    let mut tool = tool(9 * 60, 9 * 60 + 1, "UTC");
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed, summary.paused), (30, 0, 0), "{summary:?}");
    let posts = posts(&tool);
    let second = time("2026-01-06T09:00:00Z");
    for post in &posts {
        let into = post.as_second().rem_euclid(86_400) - 9 * 3_600;
        // Between the decision and the POST lie the journal and a look at the repository, which take the fleet's time.
        assert!((0..=60 - P95.as_secs() + 6).contains(&into), "{post}");
    }
    assert!(posts.iter().any(|post| *post < second) && posts.iter().any(|post| *post >= second), "{posts:?}");
    let waits = waits(&tool);
    assert!(waits.iter().any(|what| what.contains("until 2026-01-06 09:00:00 +00:00")), "{waits:?}");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn with_a_longest_wait_the_run_says_when_to_come_back_and_goes_on_from_there() {
    let mut tool = tool(9 * 60, 9 * 60 + 1, "UTC");
    tool.max_wait = Some(Duration::from_secs(600));
    let summary = tool.apply().await;
    let moved = passed(&summary);
    assert!(moved > 0 && moved < 30 && summary.paused == 1 && summary.failed == 0, "{summary:?}");
    assert!(tool.fleet.now() < time("2026-01-05T09:30:00Z"), "nothing was waited for");
    let paused = tool.events().into_iter().find_map(|event| match event {
        Event::ActionEnded { outcome: Outcome::Paused { until }, .. } => Some(until),
        _ => None,
    });
    let until = paused.expect("told");
    assert!(until.contains("come back at 2026-01-06 09:00:00 +00:00"), "{until}");
    let again = tool.apply().await;
    assert_eq!((passed(&again), again.paused), (0, 1), "still closed");
    let (mut all, mut day) = (moved, time("2026-01-06T09:00:00Z"));
    while all < 30 {
        tool.fleet.advance(day.duration_since(tool.fleet.now()).unsigned_abs());
        let next = tool.apply().await;
        assert!(passed(&next) > 0 && next.failed == 0, "{next:?}");
        (all, day) = (all + passed(&next), day + SignedDuration::from_hours(24));
    }
    assert!(tool.plan().await.is_empty());
    assert_eq!(posts(&tool).len(), 30, "nothing was repeated");
}

#[tokio::test]
async fn the_clock_that_jumps_in_the_middle_of_a_run_closes_the_window() {
    // Berlin's clock jumps from 02:00 to 03:00 at 01:00 UTC: a window until 02:30 is over then.
    let mut tool = tool(60, 2 * 60 + 30, "Europe/Berlin");
    let wait = time("2026-03-29T00:59:15Z").duration_since(tool.fleet.now());
    tool.fleet.advance(wait.unsigned_abs());
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (30, 0), "{summary:?}");
    let (jump, next) = (time("2026-03-29T01:00:00Z"), time("2026-03-29T23:00:00Z"));
    let posts = posts(&tool);
    let outside: Vec<_> = posts.iter().filter(|post| **post + P95 > jump && **post < next).collect();
    assert_eq!(outside, Vec::<&Timestamp>::new());
    assert!(posts.iter().any(|post| *post < jump) && posts.iter().any(|post| *post >= next), "{posts:?}");
    let waits = waits(&tool);
    assert!(waits.iter().any(|what| what.contains("until 2026-03-30 01:00:00 +02:00")), "{waits:?}");
}

/// Milliseconds of freeze by day and group, as the run told them.
fn by_day(tool: &Tool) -> BTreeMap<(String, String), u64> {
    let at: BTreeMap<_, _> = tool.fleet.moves().into_iter().map(|one| (one.container, one.created_at)).collect();
    let mut sums = BTreeMap::new();
    for event in tool.events() {
        if let Event::MoveVerified { container, path, frozen_ms, .. } = event {
            let day = at[&container].strftime("%F").to_string();
            *sums.entry((day, group_of(&path).to_owned())).or_default() += frozen_ms;
        }
    }
    sums
}

#[tokio::test]
async fn a_groups_day_is_never_overspent_and_what_would_waits_for_the_next() {
    let mut tool = Tool::new(&spec(20, &[]));
    tool.desired.freeze = Freeze { per_day: Some(16), ..Freeze::default() };
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed, summary.moves_skipped), (20, 0, 0), "{summary:?}");
    let spent = by_day(&tool);
    assert!(spent.values().all(|ms| *ms <= 16_000), "{spent:?}");
    assert!(spent.keys().any(|(day, _)| day != "2026-01-05"), "{spent:?}");
    assert!(waits(&tool).iter().any(|what| what.contains("freeze budget of group")), "{:?}", waits(&tool));
    assert_eq!(summary.time.frozen_ms, spent.values().sum::<u64>());
}

#[tokio::test]
async fn a_later_run_of_the_same_day_spends_no_more_than_is_left() {
    let mut tool = Tool::new(&spec(20, &[]));
    tool.desired.freeze = Freeze { per_day: Some(16), ..Freeze::default() };
    tool.max_wait = Some(Duration::ZERO);
    let first = tool.apply().await;
    assert!(first.paused > 0 && passed(&first) > 0, "{first:?}");
    let before = posts(&tool).len();
    let second = tool.apply().await;
    assert!(second.paused > 0, "{second:?}");
    let spent = by_day(&tool);
    assert!(spent.values().all(|ms| *ms <= 16_000), "{spent:?} after {before} moves");
    assert!(spent.keys().all(|(day, _)| day == "2026-01-05"), "{spent:?}");
    let told: BTreeMap<_, _> = second.time.spent.iter().map(|one| (one.group.clone(), one.spent_ms)).collect();
    for ((_, group), ms) in &spent {
        if let Some(known) = told.get(group) {
            assert_eq!(known, ms, "{group}: of both runs");
        }
    }
}

#[tokio::test]
async fn no_move_is_frozen_before_a_worker_can_take_it() {
    let mut tool = Tool::new(&spec(60, &[]));
    tool.desired.max_moves = 4;
    let summary = tool.apply().await;
    assert_eq!(passed(&summary), 60);
    let moves = tool.fleet.moves();
    let queued: i128 =
        moves.iter().map(|one| one.started_at.expect("taken").duration_since(one.created_at).as_millis()).sum();
    // A move takes three seconds and more by itself.
    let own = 3_000 * moves.len() as i128;
    assert!(queued * 100 <= own * 2, "{queued} ms in the queue, at least {own} ms at work");
    let time = &summary.time;
    assert!(time.frozen_ms > 0 && time.longest_ms > 0 && time.longest.starts_with("project-"), "{time:?}");
    assert_eq!(time.predicted, 60);
}

#[tokio::test]
async fn what_waits_for_a_worker_is_read_only_since_its_post() {
    // The POST of the only move finds GitLab without workers, for ten minutes.
    let mut tool = Tool::new(&spec(1, &[("worker_shortage", 1)]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (1, 0), "{summary:?}");
    let made = tool.fleet.moves().remove(0);
    let queued = made.started_at.expect("taken").duration_since(made.created_at);
    assert!(queued >= SignedDuration::from_mins(10), "{queued}");
    let mut since = None;
    let mut frozen = None;
    for event in tool.events() {
        match event {
            Event::MoveScheduled { since: at, .. } => since = Some(at),
            Event::MoveVerified { frozen_ms, .. } => frozen = Some(frozen_ms),
            _ => {}
        }
    }
    let (since, frozen) = (since.expect("told"), frozen.expect("told"));
    assert!(since <= made.created_at, "from just before the POST: {since}, {}", made.created_at);
    let taken = made.started_at.expect("taken").duration_since(since).as_millis();
    assert!(i128::from(frozen) > taken, "{frozen} ms told, a worker took it after {taken} ms");
    assert_eq!((summary.time.frozen_ms, summary.time.longest_ms), (frozen, frozen));
}

#[tokio::test]
async fn when_to_come_back_is_told_by_the_clock_on_the_windows_wall() {
    for (at, back) in [
        ("2026-03-28T10:00:00Z", "come back at 2026-03-29 01:00:00 +01:00"),
        // Its clock has jumped from 02:00 to 03:00, past the end of the window.
        ("2026-03-29T01:00:00Z", "come back at 2026-03-30 01:00:00 +02:00"),
        ("2026-10-24T10:00:00Z", "come back at 2026-10-25 01:00:00 +02:00"),
        // It shows 02:30 for the second time an hour after the window has closed.
        ("2026-10-25T00:30:00Z", "come back at 2026-10-26 01:00:00 +01:00"),
    ] {
        let mut tool = tool(60, 2 * 60 + 30, "Europe/Berlin");
        // The days of the budget are those of another window's clock.
        let mut other = tool.desired.windows["hours"].clone();
        (other.name, other.hours.timezone) = ("tokyo".to_owned(), "Asia/Tokyo".to_owned());
        tool.desired.windows.insert("tokyo".to_owned(), other);
        tool.desired.freeze = Freeze { per_day: Some(3_600), window: Some("tokyo".to_owned()), ..Freeze::default() };
        tool.max_wait = Some(Duration::from_secs(600));
        tool.fleet.advance(time(at).duration_since(tool.fleet.now()).unsigned_abs());
        let summary = tool.apply().await;
        assert_eq!((passed(&summary), summary.paused, posts(&tool).len()), (0, 1, 0), "{at}: {summary:?}");
        let until = tool.events().into_iter().find_map(|event| match event {
            Event::ActionEnded { outcome: Outcome::Paused { until }, .. } => Some(until),
            _ => None,
        });
        let until = until.expect("told");
        assert!(until.contains(back), "{at}: {until}");
        // Who comes back then finds it open.
        let (_, when) = back.split_once("at ").expect("a time");
        let (local, offset) = when.rsplit_once(' ').expect("an offset");
        let then = time(&format!("{}{offset}", local.replace(' ', "T")));
        tool.fleet.advance(then.duration_since(tool.fleet.now()).unsigned_abs());
        let summary = tool.apply().await;
        assert_eq!((passed(&summary), summary.paused), (30, 0), "{at}: {summary:?}");
        assert!(posts(&tool).iter().all(|post| *post >= then && *post < then + SignedDuration::from_mins(90)), "{at}");
    }
}

#[tokio::test]
async fn the_probe_moves_inside_the_window_too() {
    let mut tool = tool(12 * 60, 13 * 60, "UTC");
    tool.fleet.add_project("tranship/canary", &super::laws::name("other"));
    tool.desired.rollout.probe = Some("tranship/canary".into());
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (30, 0), "{summary:?}");
    let posts = posts(&tool);
    assert!(posts.len() > 30, "there and back");
    for post in &posts {
        assert!((12..13).contains(&(post.as_second().rem_euclid(86_400) / 3600)), "{post}");
    }
    let waits = waits(&tool);
    assert!(waits.iter().any(|what| what.contains("window hours is closed until 2026-01-05 12:00:00")), "{waits:?}");
}
