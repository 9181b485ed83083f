//! When a window is open: by the clock on the wall of its time zone, summer time and winter time included.
//!
//! It is open while that clock shows `start` or later, on a day that it begins on, and not yet `end`. Where the clock jumps
//! over one of them, that is at the jump. Where it shows one of them twice, the first time counts: what was promised to be
//! over by then is over. A move that is begun must end inside, 95 times of 100.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::model::{Hours, zone};

/// A window whose days follow on each other without a break may have begun so many days ago.
const DAYS_BACK: i32 = 8;
/// Of which day an opening is looked for at most: a week, and one more where a jump of the clock swallowed the first.
const DAYS_AHEAD: i32 = 16;
/// So many openings are looked through for one that is long enough: a year of a window of every day.
const OPENINGS: usize = 400;
/// Days over which the longest opening is looked for: both changes of the clock are within.
const YEAR_HOURS: i64 = 366 * 24;

/// One time that a window is open: from the first moment to just before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Open from here.
    pub opens: Timestamp,
    /// Closed from here; [`Timestamp::MAX`]: it never closes.
    pub closes: Timestamp,
}

impl Opening {
    /// Milliseconds that it lasts.
    pub fn length_ms(&self) -> u64 {
        millis(self.opens, self.closes)
    }
}

/// Milliseconds from one time to a later one; 0 when it is not later.
fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

/// So many milliseconds after a time; the end of time rather than more.
pub(super) fn after(time: Timestamp, ms: u64) -> Timestamp {
    let length = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// A window's hours with the rules of their time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    hours: Hours,
    zone: TimeZone,
}

impl Window {
    /// `None`: there is no such time zone.
    pub fn new(hours: &Hours) -> Option<Self> {
        Some(Self { hours: hours.clone(), zone: zone(&hours.timezone)? })
    }

    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The opening that a time is in, else the next one. Openings that touch each other are one. `None`: none comes.
    pub fn opening(&self, at: Timestamp) -> Option<Opening> {
        let today = at.to_zoned(self.zone.clone()).date();
        let mut found: Option<Opening> = None;
        for days in -DAYS_BACK..=DAYS_AHEAD {
            let Ok(day) = today.checked_add(days.days()) else { continue };
            let Some(one) = self.begun_on(day) else { continue };
            match &mut found {
                Some(before) if one.opens <= before.closes => before.closes = before.closes.max(one.closes),
                Some(before) if before.closes > at => break,
                other => *other = Some(one),
            }
        }
        let mut found = found.filter(|opening| opening.closes > at)?;
        if self.is_always() {
            found.closes = Timestamp::MAX;
        }
        Some(found)
    }

    /// The opening after the one that a time is in, or after that time. `None`: none comes.
    pub fn next(&self, at: Timestamp) -> Option<Opening> {
        let opening = self.opening(at)?;
        if opening.opens > at { Some(opening) } else { self.opening(opening.closes) }
    }

    /// When it closes, if it is open.
    pub fn closes(&self, at: Timestamp) -> Option<Timestamp> {
        self.opening(at).filter(|opening| opening.opens <= at).map(|opening| opening.closes)
    }

    /// The first time, not before `at`, at which something of that length can begin and ends inside. `None`: no opening
    /// of a year is long enough.
    pub fn start(&self, at: Timestamp, length_ms: u64) -> Option<Timestamp> {
        let mut opening = self.opening(at)?;
        for _ in 0..OPENINGS {
            let start = opening.opens.max(at);
            if after(start, length_ms) <= opening.closes {
                return Some(start);
            }
            opening = self.opening(opening.closes)?;
        }
        None
    }

    /// When so many milliseconds of work are done that begins at `at` and rests while it is closed. `None`: not within a
    /// year's openings.
    pub fn worked(&self, at: Timestamp, ms: u64) -> Option<Timestamp> {
        let (mut opening, mut left) = (self.opening(at)?, ms);
        for _ in 0..OPENINGS {
            let start = opening.opens.max(at);
            let there = millis(start, opening.closes);
            if left <= there {
                return Some(after(start, left));
            }
            left -= there;
            opening = self.opening(opening.closes)?;
        }
        None
    }

    /// The longest time that it is open at a stretch within a year, milliseconds.
    pub fn longest_ms(&self, from: Timestamp) -> u64 {
        longest_ms(&[self], from)
    }

    fn is_always(&self) -> bool {
        self.hours.days.len() == 7 && self.hours.start == self.hours.end
    }

    /// The opening that begins on a day; `None`: none does, or the clock jumps over all of it.
    fn begun_on(&self, day: Date) -> Option<Opening> {
        let weekday = u8::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        if !self.hours.days.contains(&weekday) {
            return None;
        }
        let last = if self.hours.end <= self.hours.start { day.tomorrow().ok()? } else { day };
        let opening =
            Opening { opens: self.moment(day, self.hours.start)?, closes: self.moment(last, self.hours.end)? };
        (opening.opens < opening.closes).then_some(opening)
    }

    /// When the clock shows so many minutes after midnight of a day, for the first time; when it jumps over that, the jump.
    fn moment(&self, day: Date, minutes: u16) -> Option<Timestamp> {
        let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
        let shown = jiff::civil::Time::new(hour, minute, 0, 0).ok()?.to_datetime(day);
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                let past = before.to_timestamp(shown).ok()?.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(past).next().map(|change| change.timestamp())
            }
        }
    }
}

/// The first time, not before `at`, at which something of that length can begin and ends inside of all windows. `None`:
/// not within about a year.
pub fn start_in(windows: &[&Window], at: Timestamp, length_ms: u64) -> Option<Timestamp> {
    let mut start = at;
    for _ in 0..OPENINGS {
        let before = start;
        for window in windows {
            start = window.start(start, length_ms)?;
        }
        if start == before {
            return Some(start);
        }
    }
    None
}

/// The longest time that all windows are open together at a stretch within a year, milliseconds; without windows, as long
/// as can be.
pub fn longest_ms(windows: &[&Window], from: Timestamp) -> u64 {
    let Some((first, rest)) = windows.split_first() else { return u64::MAX };
    let end = from.checked_add(SignedDuration::from_hours(YEAR_HOURS)).unwrap_or(Timestamp::MAX);
    let mut longest = 0;
    let mut at = from;
    for _ in 0..OPENINGS {
        let Some(opening) = first.opening(at).filter(|opening| opening.opens < end) else { break };
        if rest.is_empty() {
            longest = longest.max(opening.length_ms());
        } else {
            let mut inside = opening.opens;
            while inside < opening.closes && inside < end {
                let Some(part) = together(rest, inside, opening) else { break };
                longest = longest.max(part.length_ms());
                inside = part.closes;
            }
        }
        if opening.closes >= end {
            break;
        }
        at = opening.closes;
    }
    longest
}

/// The first part of an opening, not before `at`, in which all other windows are open too.
fn together(windows: &[&Window], at: Timestamp, within: Opening) -> Option<Opening> {
    let mut part = Opening { opens: at.max(within.opens), closes: within.closes };
    for _ in 0..OPENINGS {
        let before = part.opens;
        part.closes = within.closes;
        for window in windows {
            let opening = window.opening(part.opens)?;
            part.opens = part.opens.max(opening.opens);
            part.closes = part.closes.min(opening.closes);
        }
        if part.opens >= within.closes {
            return None;
        }
        if part.opens == before && part.opens < part.closes {
            return Some(part);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn hours(days: &[u8], start: &str, end: &str, timezone: &str) -> Hours {
        let minutes = |text: &str| {
            let (hours, minutes) = text.split_once(':').expect("a time");
            hours.parse::<u16>().expect("hours") * 60 + minutes.parse::<u16>().expect("minutes")
        };
        let timezone = timezone.to_owned();
        Hours { days: days.iter().copied().collect(), start: minutes(start), end: minutes(end), timezone }
    }

    const DAILY: [u8; 7] = [0, 1, 2, 3, 4, 5, 6];

    fn window(days: &[u8], start: &str, end: &str, timezone: &str) -> Window {
        Window::new(&hours(days, start, end, timezone)).expect("a zone")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn of(window: &Window, at: &str) -> (String, String) {
        let opening = window.opening(time(at)).expect("one comes");
        (opening.opens.to_string(), opening.closes.to_string())
    }

    fn is(found: (String, String), opens: &str, closes: &str) {
        assert_eq!(found, (opens.to_owned(), closes.to_owned()));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_that_it_begins_on() {
        // Monday to Thursday, 22:00 to 05:00; 2026-01-08 is a Thursday.
        let nights = window(&[0, 1, 2, 3], "22:00", "05:00", "Europe/Berlin");
        is(of(&nights, "2026-01-08T20:00:00Z"), "2026-01-08T21:00:00Z", "2026-01-09T04:00:00Z");
        is(of(&nights, "2026-01-09T03:59:59Z"), "2026-01-08T21:00:00Z", "2026-01-09T04:00:00Z");
        is(of(&nights, "2026-01-09T04:00:00Z"), "2026-01-12T21:00:00Z", "2026-01-13T04:00:00Z");
        assert_eq!(nights.closes(time("2026-01-09T03:00:00Z")), Some(time("2026-01-09T04:00:00Z")));
        assert_eq!(nights.closes(time("2026-01-09T04:00:00Z")), None, "the end is outside");
        let next = nights.next(time("2026-01-09T03:00:00Z")).expect("one comes");
        assert_eq!(next.opens, time("2026-01-12T21:00:00Z"));
    }

    #[test]
    fn the_same_start_and_end_are_a_whole_day_and_days_that_touch_are_one() {
        let weekend = window(&[5, 6], "00:00", "00:00", "UTC");
        is(of(&weekend, "2026-01-11T12:00:00Z"), "2026-01-10T00:00:00Z", "2026-01-12T00:00:00Z");
        let always = window(&DAILY, "03:00", "03:00", "America/New_York");
        assert_eq!(always.opening(time("2026-03-08T07:00:00Z")).expect("open").closes, Timestamp::MAX);
        assert_eq!(always.next(time("2026-03-08T07:00:00Z")), None);
        assert!(always.longest_ms(time("2026-03-08T07:00:00Z")) > 1 << 40);
    }

    #[test]
    fn in_spring_the_night_is_an_hour_shorter_and_a_start_that_is_jumped_over_is_at_the_jump() {
        // Berlin, 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
        let nights = window(&DAILY, "22:00", "05:00", "Europe/Berlin");
        let night = nights.opening(time("2026-03-29T00:00:00Z")).expect("open");
        assert_eq!(night.length_ms(), 6 * 3_600_000);
        is(of(&nights, "2026-03-29T00:00:00Z"), "2026-03-28T21:00:00Z", "2026-03-29T03:00:00Z");
        let early = window(&DAILY, "02:30", "05:00", "Europe/Berlin");
        is(of(&early, "2026-03-29T00:00:00Z"), "2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z");
        let late = window(&DAILY, "00:30", "02:30", "Europe/Berlin");
        is(of(&late, "2026-03-28T23:40:00Z"), "2026-03-28T23:30:00Z", "2026-03-29T01:00:00Z");
        let swallowed = window(&DAILY, "02:10", "02:50", "Europe/Berlin");
        is(of(&swallowed, "2026-03-29T00:00:00Z"), "2026-03-30T00:10:00Z", "2026-03-30T00:50:00Z");
        // New York, 2026-03-08: 02:00 becomes 03:00 at 07:00 UTC.
        let york = window(&DAILY, "02:30", "04:00", "America/New_York");
        is(of(&york, "2026-03-08T06:00:00Z"), "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z");
        // A day of 23 hours.
        let day = window(&[6], "00:00", "00:00", "America/New_York");
        assert_eq!(day.opening(time("2026-03-08T06:00:00Z")).expect("open").length_ms(), 23 * 3_600_000);
    }

    #[test]
    fn in_autumn_the_night_is_an_hour_longer_and_of_an_hour_that_comes_twice_the_first_counts() {
        // Berlin, 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
        let nights = window(&DAILY, "22:00", "05:00", "Europe/Berlin");
        assert_eq!(nights.opening(time("2026-10-25T00:00:00Z")).expect("open").length_ms(), 8 * 3_600_000);
        let until = window(&DAILY, "22:00", "02:30", "Europe/Berlin");
        is(of(&until, "2026-10-25T00:00:00Z"), "2026-10-24T20:00:00Z", "2026-10-25T00:30:00Z");
        assert_eq!(until.closes(time("2026-10-25T01:10:00Z")), None, "02:10 comes again, the window does not");
        let from = window(&DAILY, "02:30", "05:00", "Europe/Berlin");
        is(of(&from, "2026-10-25T00:00:00Z"), "2026-10-25T00:30:00Z", "2026-10-25T04:00:00Z");
        // New York, 2026-11-01: a day of 25 hours.
        let day = window(&[6], "00:00", "00:00", "America/New_York");
        assert_eq!(day.opening(time("2026-11-01T06:00:00Z")).expect("open").length_ms(), 25 * 3_600_000);
        // Without summer time all nights are the same.
        let kolkata = window(&DAILY, "22:00", "05:00", "Asia/Kolkata");
        assert_eq!(kolkata.longest_ms(time("2026-01-01T00:00:00Z")), 7 * 3_600_000);
        assert_eq!(nights.longest_ms(time("2026-01-01T00:00:00Z")), 8 * 3_600_000);
    }

    #[test]
    fn a_move_begins_where_it_ends_inside() {
        let nights = window(&[0], "22:00", "23:00", "UTC");
        let hour = 3_600_000;
        // 2026-01-05 is a Monday.
        assert_eq!(nights.start(time("2026-01-05T22:15:00Z"), hour / 2), Some(time("2026-01-05T22:15:00Z")));
        assert_eq!(nights.start(time("2026-01-05T22:45:00Z"), hour / 2), Some(time("2026-01-12T22:00:00Z")));
        assert_eq!(nights.start(time("2026-01-05T22:00:00Z"), hour), Some(time("2026-01-05T22:00:00Z")), "just so");
        assert_eq!(nights.start(time("2026-01-05T22:00:00Z"), hour + 1), None, "no opening is long enough");
        let late = window(&[0, 1], "22:30", "23:30", "UTC");
        let both = [&nights, &late];
        assert_eq!(start_in(&both, time("2026-01-05T22:00:00Z"), hour / 2), Some(time("2026-01-05T22:30:00Z")));
        assert_eq!(start_in(&both, time("2026-01-05T22:31:00Z"), hour / 2), Some(time("2026-01-12T22:30:00Z")));
        assert_eq!(start_in(&both, time("2026-01-05T22:00:00Z"), hour / 2 + 1), None);
        assert_eq!(longest_ms(&both, time("2026-01-01T00:00:00Z")), hour / 2);
        assert_eq!(longest_ms(&[], time("2026-01-01T00:00:00Z")), u64::MAX);
        let days = window(&[2], "10:00", "11:00", "UTC");
        assert_eq!(longest_ms(&[&nights, &days], time("2026-01-01T00:00:00Z")), 0, "never open together");
    }

    /// What the clock on the wall says: open, by hand, for readings that come once.
    fn shows_open(hours: &Hours, zone: &TimeZone, at: Timestamp) -> Option<bool> {
        let shown = at.to_zoned(zone.clone()).datetime();
        if !matches!(zone.to_ambiguous_timestamp(shown).offset(), AmbiguousOffset::Unambiguous { .. }) {
            return None;
        }
        let today = shown.date();
        let minute = |n: u16| jiff::civil::time((n / 60) as i8, (n % 60) as i8, 0, 0);
        Some([today, today.yesterday().expect("a day")].into_iter().any(|day| {
            let begins = hours.days.contains(&(day.weekday().to_monday_zero_offset() as u8));
            let last = if hours.end <= hours.start { day.tomorrow().expect("a day") } else { day };
            begins && minute(hours.start).to_datetime(day) <= shown && shown < minute(hours.end).to_datetime(last)
        }))
    }

    fn any_hours() -> impl Strategy<Value = Hours> {
        const ZONES: [&str; 5] = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"];
        let days = proptest::collection::btree_set(0u8..7, 1..=7);
        (days, 0u16..1440, 0u16..1440, proptest::sample::select(&ZONES[..])).prop_map(
            |(days, start, end, zone): (BTreeSet<u8>, _, _, _)| Hours { days, start, end, timezone: zone.to_owned() },
        )
    }

    proptest! {
        #[test]
        fn inside_is_exactly_between_an_opening_and_its_closing(
            hours in any_hours(),
            // All of 2026, and much around each of its changes of the clock.
            at in prop_oneof![
                1_767_225_600i64..1_798_761_600,
                1_774_742_400i64 - 90_000..1_774_742_400 + 90_000,
                1_792_886_400i64 - 90_000..1_792_886_400 + 90_000,
                1_772_953_200i64 - 90_000..1_772_953_200 + 90_000,
                1_793_512_800i64 - 90_000..1_793_512_800 + 90_000,
            ],
        ) {
            let at = Timestamp::from_second(at).expect("a time");
            let window = Window::new(&hours).expect("a zone");
            let opening = window.opening(at).expect("one comes");
            prop_assert!(opening.opens < opening.closes && at < opening.closes);
            if let Some(open) = shows_open(&hours, window.zone(), at) {
                prop_assert_eq!(opening.opens <= at, open, "{:?} {:?}", at, opening);
                prop_assert_eq!(window.closes(at).is_some(), open);
            }
        }

        #[test]
        fn openings_strictly_increase_and_are_found_from_everywhere_inside(
            hours in any_hours(),
            at in 1_767_225_600i64..1_798_761_600,
            part in 0u64..1000,
        ) {
            let window = Window::new(&hours).expect("a zone");
            let mut at = Timestamp::from_second(at).expect("a time");
            for _ in 0..20 {
                let opening = window.opening(at).expect("one comes");
                if opening.closes == Timestamp::MAX {
                    break;
                }
                let inside = after(opening.opens, opening.length_ms() * part / 1000);
                prop_assert_eq!(window.opening(inside), Some(opening));
                let next = window.next(inside).expect("one comes");
                prop_assert!(next.opens > opening.closes, "touching ones are one: {:?} {:?}", opening, next);
                prop_assert_eq!(window.opening(opening.closes), Some(next));
                at = next.opens;
            }
        }

        #[test]
        fn what_begins_ends_inside_and_could_not_have_begun_before(
            hours in any_hours(),
            at in 1_767_225_600i64..1_798_761_600,
            length in 0u64..(26 * 3_600_000),
        ) {
            let window = Window::new(&hours).expect("a zone");
            let at = Timestamp::from_second(at).expect("a time");
            match window.start(at, length) {
                Some(start) => {
                    let opening = window.opening(start).expect("open");
                    prop_assert!(start >= at && opening.opens <= start && after(start, length) <= opening.closes);
                    if start > at {
                        prop_assert_eq!(opening.opens, start, "as early as it opens");
                    }
                    prop_assert!(window.longest_ms(at) >= length);
                }
                None => prop_assert!(window.longest_ms(at) < length),
            }
        }
    }
}
