//! Judges what Prometheus answered to a check: pass, fail or unknown, with the value that was seen and what was allowed.
//! Pure: who asks, and when, is the caller's business.

mod figures;
mod fold;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Check, Verdict};
use crate::model::{Answer, Answers, Freshness, Series};
use figures::{clock, counted, figure, name, pair, span};
pub use fold::{Folded, fold};

/// Fewer points than this share of those expected are too few to say that something held, per cent.
const ENOUGH: usize = 80;
/// Of a window there are at least so many questions, so that it is more than its ends.
const FEWEST: u64 = 5;
/// And at most so many: Prometheus computes each, and gives up at 11,000.
const MOST: u64 = 500;
/// A sample is old when so many should have come since.
const MISSED: f64 = 3.0;
/// No sample younger than this is old, seconds: our clock and Prometheus' are not the same.
const YOUNG: f64 = 30.0;

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Pass, fail or unknown.
    pub verdict: Verdict,
    /// Whose gate, what was seen and what was allowed, in a line.
    pub why: String,
}

/// At which times a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// The first point; the last is when it is asked.
    pub from: Timestamp,
    /// Between two points.
    pub step: Duration,
    /// How many points there are, at least 1.
    pub points: usize,
}

/// The points of a check's window; `None`: now is enough.
///
/// A point per `interval`, at least 5 and at most 500 of them: `for = "5m"` with an interval of 30 s is looked at 10 times.
pub fn sampling(check: &Check, at: Timestamp) -> Option<Sampling> {
    let window = check.for_seconds;
    if window == 0 {
        return None;
    }
    let step = check.interval_seconds.min(window / FEWEST).max(window.div_ceil(MOST)).max(1);
    let points = (window / step).max(1);
    let back = i64::try_from((points - 1).saturating_mul(step)).unwrap_or(i64::MAX);
    let from = at.checked_sub(SignedDuration::from_secs(back)).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Sampling { from, step: Duration::from_secs(step), points: usize::try_from(points).unwrap_or(1) })
}

/// Why a judgement is what it is, for whoever advises what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ground {
    /// It holds.
    Held,
    /// A limit is exceeded.
    Exceeded,
    /// Prometheus takes the query for wrong.
    Refused,
    /// Prometheus did not answer.
    Failed,
    /// The query finds nothing at all.
    NoData,
    /// There is something, but not enough to say: NaN, too few or old samples.
    Thin,
    /// What it is compared with is not there, is 0 or NaN.
    Baseline,
}

impl Ground {
    fn verdict(self) -> Verdict {
        match self {
            Self::Held => Verdict::Pass,
            Self::Exceeded => Verdict::Fail,
            Self::Refused | Self::Failed | Self::NoData | Self::Thin | Self::Baseline => Verdict::Unknown,
        }
    }
}

/// Judges the answers to a check.
///
/// Each element of the answer must hold, at each point of the window. What exceeds a limit at one point fails, however
/// little else is known: nothing that is missing could undo it. NaN counts as no point. The newest point must be there,
/// and at least 80 % of all; of several elements the worst is named.
pub fn judge(check: &Check, answers: &Answers) -> Judgement {
    let (ground, why) = weigh(check, answers);
    Judgement { verdict: ground.verdict(), why }
}

/// As [`judge`], with the ground.
pub(super) fn weigh(check: &Check, answers: &Answers) -> (Ground, String) {
    let who = format!("{} of {}", check.gate, check.target);
    let unknown = |ground, what: &str| (ground, format!("{who}: {what}; it must be {}", wanted(check)));
    let series = match &answers.target {
        Answer::Refused(words) => return unknown(Ground::Refused, &format!("Prometheus refuses the query: {words}")),
        Answer::Failed(words) => return unknown(Ground::Failed, &format!("not answered: {words}")),
        Answer::Series(series) if series.is_empty() => {
            return unknown(Ground::NoData, "no data: the query finds nothing");
        }
        Answer::Series(series) => series,
    };
    if let Some(old) = stale(&answers.freshness) {
        return unknown(Ground::Thin, &old);
    }
    let mut elements: Vec<Element> = series.iter().map(|one| element(check, answers, one)).collect();
    let count = elements.len();
    elements.sort_by(|a, b| b.rank().cmp(&a.rank()).then(b.excess.total_cmp(&a.excess)).then(a.name.cmp(&b.name)));
    let Some(worst) = elements.into_iter().next() else {
        return unknown(Ground::NoData, "no data: the query finds nothing");
    };
    let (who, worst_of) = if count > 1 {
        (format!("{who} {}", worst.name), format!(", the worst of {count}"))
    } else {
        (who, String::new())
    };
    let why = match worst.ground {
        Ground::Held | Ground::Exceeded => format!("{who}: {}{worst_of}", worst.said),
        _ => format!("{who}: {}{worst_of}; it must be {}", worst.said, wanted(check)),
    };
    (worst.ground, why)
}

/// What must hold, in words: `at most 0.5, for 5 m`.
fn wanted(check: &Check) -> String {
    let mut parts: Vec<String> = limits(check).iter().map(|limit| limit.wanted()).collect();
    if check.for_seconds > 0 {
        parts.push(format!("for {}", span(check.for_seconds)));
    }
    parts.join(", ")
}

/// A limit of a check.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Max(f64),
    Min(f64),
    Ratio(f64),
}

impl Limit {
    fn bound(self) -> f64 {
        match self {
            Self::Max(bound) | Self::Min(bound) | Self::Ratio(bound) => bound,
        }
    }

    fn wanted(self) -> String {
        let bound = figure(self.bound());
        match self {
            Self::Max(_) => format!("at most {bound}"),
            Self::Min(_) => format!("at least {bound}"),
            Self::Ratio(_) => format!("at most {bound} times the baseline's"),
        }
    }

    /// How far beyond the limit a value is, as a share of it; above 0: exceeded.
    fn excess(self, value: f64) -> f64 {
        let bound = self.bound();
        let beyond = match self {
            Self::Max(_) | Self::Ratio(_) => value - bound,
            Self::Min(_) => bound - value,
        };
        // The limit itself is allowed, infinite ones among them.
        if value == bound { 0.0 } else { beyond / bound.abs().max(f64::MIN_POSITIVE) }
    }
}

fn limits(check: &Check) -> Vec<Limit> {
    let ratio = check.max_ratio.map(Limit::Ratio);
    [check.max.map(Limit::Max), check.min.map(Limit::Min), ratio].into_iter().flatten().collect()
}

/// One element of an answer, judged.
struct Element {
    ground: Ground,
    /// By how much the worst point exceeds its limit, or falls short of it.
    excess: f64,
    name: String,
    said: String,
}

impl Element {
    fn rank(&self) -> u8 {
        match self.ground.verdict() {
            Verdict::Fail => 2,
            Verdict::Unknown => 1,
            Verdict::Pass => 0,
        }
    }
}

/// A point that comes nearest to a limit, or exceeds it most.
struct Worst {
    limit: Limit,
    excess: f64,
    value: f64,
    baseline: Option<f64>,
}

fn element(check: &Check, answers: &Answers, series: &Series) -> Element {
    let sampling = sampling(check, answers.at);
    let expected = sampling.map_or(1, |sampling| sampling.points);
    let thin = |ground, said: String| Element { ground, excess: 0.0, name: name(series), said };
    let points: Vec<(Timestamp, f64)> = series.points.iter().copied().filter(|(_, value)| !value.is_nan()).collect();
    let (worst, compared) = worst_points(check, answers, series, &points);
    let within = match check.for_seconds {
        0 => String::new(),
        window => format!(" (for {}, {})", span(window), counted(points.len())),
    };
    let exceeded = worst.iter().filter(|one| one.excess > 0.0).max_by(|a, b| a.excess.total_cmp(&b.excess));
    if let Some(one) = exceeded {
        let said = format!("{}{within}", one.say());
        return Element { ground: Ground::Exceeded, excess: one.excess, name: name(series), said };
    }
    let latest = series.points.last();
    match latest {
        None => return thin(Ground::NoData, "no data: the query finds nothing".to_owned()),
        Some((_, value)) if value.is_nan() => {
            let said = "the answer is NaN: 0 was divided by 0, as when there was no request at all";
            return thin(Ground::Thin, said.to_owned());
        }
        // A step more than the last would have been.
        Some((time, _)) if sampling.is_some_and(|s| before(*time, answers.at, s.step)) => {
            return thin(Ground::Thin, format!("nothing since {}", clock(*time)));
        }
        Some(_) => {}
    }
    if points.len() * 100 < expected * ENOUGH {
        let said = format!(
            "only {} in the last {}, and {} are needed",
            counted(points.len()),
            span(check.for_seconds),
            (expected * ENOUGH).div_ceil(100)
        );
        return thin(Ground::Thin, said);
    }
    if check.max_ratio.is_some() && (compared * 100 < expected * ENOUGH || worst.len() < limits(check).len()) {
        return thin(Ground::Baseline, without_baseline(answers, latest));
    }
    let said: Vec<String> = worst.iter().map(Worst::say).collect();
    let excess = worst.iter().map(|one| one.excess).fold(f64::NEG_INFINITY, f64::max);
    let said = format!("{}{within}", said.join(", "));
    Element { ground: Ground::Held, excess, name: name(series), said }
}

/// For each limit the point that comes nearest to it, and at how many points there was a baseline.
fn worst_points(check: &Check, answers: &Answers, series: &Series, points: &[(Timestamp, f64)]) -> (Vec<Worst>, usize) {
    let mut found = Vec::new();
    let mut compared = 0;
    for limit in limits(check) {
        let mut worst: Option<Worst> = None;
        for (time, value) in points {
            let (measured, baseline) = match limit {
                Limit::Ratio(_) => match baseline(answers, series, *time) {
                    Some(mean) => (value / mean, Some(mean)),
                    None => continue,
                },
                _ => (*value, None),
            };
            if measured.is_nan() {
                continue;
            }
            compared += usize::from(baseline.is_some());
            let excess = limit.excess(measured);
            if worst.as_ref().is_none_or(|worst| excess > worst.excess) {
                worst = Some(Worst { limit, excess, value: *value, baseline });
            }
        }
        found.extend(worst);
    }
    (found, compared)
}

impl Worst {
    fn say(&self) -> String {
        let (value, bound) = pair(self.value, self.limit.bound());
        let beyond = self.excess > 0.0;
        match self.limit {
            Limit::Max(_) if beyond => format!("{value} is above {bound}"),
            Limit::Max(_) => format!("{value} is at most {bound}"),
            Limit::Min(_) if beyond => format!("{value} is below {bound}"),
            Limit::Min(_) => format!("{value} is at least {bound}"),
            Limit::Ratio(bound) => {
                let mean = self.baseline.unwrap_or(f64::NAN);
                let (ratio, bound) = pair(self.value / mean, bound);
                let word = if beyond { "above" } else { "at most" };
                format!("{} is {ratio} times the baseline's {}, {word} {bound}", figure(self.value), figure(mean))
            }
        }
    }
}

/// The mean of what the compared storages had at one moment; `None`: nothing that can be divided by.
fn baseline(answers: &Answers, target: &Series, time: Timestamp) -> Option<f64> {
    let mut values = Vec::new();
    for answer in answers.baseline.values() {
        let Answer::Series(elements) = answer else { continue };
        let like = elements.iter().find(|one| one.labels == target.labels);
        let only = || elements.first().filter(|_| elements.len() == 1);
        let Some(series) = like.or_else(only) else { continue };
        let at = series.points.binary_search_by_key(&time, |(time, _)| *time).ok();
        values.extend(at.and_then(|at| series.points.get(at)).map(|(_, value)| *value).filter(|v| v.is_finite()));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few storages")]
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean.is_finite() && mean != 0.0).then_some(mean)
}

/// Why there is nothing to compare with.
fn without_baseline(answers: &Answers, latest: Option<&(Timestamp, f64)>) -> String {
    let value =
        latest.map_or_else(String::new, |(_, value)| format!("{} has nothing to be compared with: ", figure(*value)));
    let why = |answer: &Answer| match answer {
        Answer::Refused(words) | Answer::Failed(words) => words.clone(),
        Answer::Series(series) if series.is_empty() => "no data".to_owned(),
        Answer::Series(series) => {
            let last: Vec<f64> = series.iter().filter_map(|one| Some(one.points.last()?.1)).collect();
            match last.as_slice() {
                [one] if *one == 0.0 || !one.is_finite() => format!("it is {}", figure(*one)),
                [_] => "too few samples".to_owned(),
                more => format!("{} elements, none with the same labels; aggregate the query", more.len()),
            }
        }
    };
    let all: Vec<String> =
        answers.baseline.iter().map(|(storage, answer)| format!("{storage}: {}", why(answer))).collect();
    let all = if all.is_empty() { "no storage is named".to_owned() } else { all.join("; ") };
    format!("{value}the baseline gives no value ({all})")
}

/// The first selector whose samples are old.
pub(crate) fn stale(freshness: &[Freshness]) -> Option<String> {
    freshness.iter().find_map(|one| {
        let Freshness { selector, age_seconds, samples, window_seconds } = one;
        if samples.is_nan() || *samples <= 0.0 {
            // Nothing of it is there at all, which the query has its own way with.
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "hours")]
        let between = *window_seconds as f64 / samples;
        match age_seconds {
            None => Some(format!("the samples of {selector} are old: none is from the last minutes")),
            Some(age) if *age > YOUNG.max(MISSED * between) => Some(format!(
                "the newest sample of {selector} is {} s old, where one comes about every {} s",
                figure(age.round()),
                figure(between.ceil())
            )),
            Some(_) => None,
        }
    })
}

/// True when a point lies more than a step before another time.
fn before(time: Timestamp, at: Timestamp, step: Duration) -> bool {
    at.duration_since(time) >= SignedDuration::try_from(step).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, StorageName};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOW: i64 = 1_767_600_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).expect("a time")
    }

    fn check() -> Check {
        Check {
            gate: Address::new("gate", "errors"),
            target: StorageName::new("gitaly-a").expect("a name"),
            query: "x".to_owned(),
            max: Some(0.5),
            min: None,
            for_seconds: 0,
            baseline: BTreeMap::new(),
            max_ratio: None,
            dry_run: false,
            interval_seconds: 30,
            deadline_seconds: 60,
        }
    }

    fn series(labels: &[(&str, &str)], points: &[(i64, f64)]) -> Series {
        Series {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            points: points.iter().map(|(time, value)| (at(*time), *value)).collect(),
        }
    }

    fn answers(target: Vec<Series>) -> Answers {
        Answers { at: at(0), target: Answer::Series(target), baseline: BTreeMap::new(), freshness: Vec::new() }
    }

    fn now(value: f64) -> Answers {
        answers(vec![series(&[], &[(0, value)])])
    }

    /// The last `count` points of a window with a step of 30 s.
    fn window(values: &[f64]) -> Answers {
        let first = -30 * (i64::try_from(values.len()).expect("few") - 1);
        let points: Vec<(i64, f64)> = (0i64..).map(|n| first + 30 * n).zip(values.iter().copied()).collect();
        answers(vec![series(&[], &points)])
    }

    fn told(check: &Check, answers: &Answers) -> (Verdict, String) {
        let judged = judge(check, answers);
        (judged.verdict, judged.why)
    }

    #[test]
    fn one_value_is_compared_with_its_limits() {
        let limit = |max, min| Check { max, min, ..check() };
        for (max, min, value, verdict, said) in [
            (Some(0.5), None, 0.12, Verdict::Pass, "0.12 is at most 0.5"),
            (Some(0.5), None, 0.5, Verdict::Pass, "0.5 is at most 0.5"),
            (Some(0.5), None, 0.73, Verdict::Fail, "0.73 is above 0.5"),
            (Some(0.5), None, 0.500_000_1, Verdict::Fail, "0.5000001 is above 0.5"),
            (None, Some(1.0), 1.0, Verdict::Pass, "1 is at least 1"),
            (None, Some(0.99), 0.0, Verdict::Fail, "0 is below 0.99"),
            (Some(2.0), Some(1.0), 1.5, Verdict::Pass, "1.5 is at most 2, 1.5 is at least 1"),
            (Some(2.0), Some(1.0), 0.001_234_56, Verdict::Fail, "0.001235 is below 1"),
            (Some(0.0), None, 0.0, Verdict::Pass, "0 is at most 0"),
            (Some(0.0), None, 3e-9, Verdict::Fail, "3.000e-9 is above 0"),
            (Some(0.5), None, f64::INFINITY, Verdict::Fail, "+Inf is above 0.5"),
            (Some(0.5), None, f64::NEG_INFINITY, Verdict::Pass, "-Inf is at most 0.5"),
            (None, Some(0.5), f64::NEG_INFINITY, Verdict::Fail, "-Inf is below 0.5"),
            (None, Some(0.5), f64::INFINITY, Verdict::Pass, "+Inf is at least 0.5"),
        ] {
            let expected = (verdict, format!("gate.errors of gitaly-a: {said}"));
            assert_eq!(told(&limit(max, min), &now(value)), expected);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_unknown_and_says_what_is_missing() {
        let failing = |target| Answers { target, ..now(0.0) };
        let old = |age_seconds, samples| Answers {
            freshness: vec![Freshness { selector: "up".to_owned(), age_seconds, samples, window_seconds: 900 }],
            ..now(0.1)
        };
        for (answers, said) in [
            (answers(vec![]), "no data: the query finds nothing; it must be at most 0.5"),
            (
                now(f64::NAN),
                "the answer is NaN: 0 was divided by 0, as when there was no request at all; it must be at most 0.5",
            ),
            (
                failing(Answer::Refused("parse error".into())),
                "Prometheus refuses the query: parse error; it must be at most 0.5",
            ),
            (failing(Answer::Failed("away".into())), "not answered: away; it must be at most 0.5"),
            (
                old(Some(250.0), 44.0),
                "the newest sample of up is 250 s old, where one comes about every 21 s; it must be at most 0.5",
            ),
            (old(None, 3.0), "the samples of up are old: none is from the last minutes; it must be at most 0.5"),
        ] {
            assert_eq!(told(&check(), &answers), (Verdict::Unknown, format!("gate.errors of gitaly-a: {said}")));
        }
        for fresh in [old(Some(40.0), 60.0), old(Some(170.0), 15.0), old(None, 0.0), old(Some(29.0), 900.0)] {
            assert_eq!(judge(&check(), &fresh).verdict, Verdict::Pass, "{fresh:?}");
        }
    }

    #[test]
    fn it_must_have_held_for_the_whole_window() {
        let check = Check { for_seconds: 300, ..check() };
        let say = |values: &[f64]| told(&check, &window(values));
        let calm = [0.1; 10];
        assert_eq!(
            say(&calm),
            (Verdict::Pass, "gate.errors of gitaly-a: 0.1 is at most 0.5 (for 5 m, 10 samples)".into())
        );
        let mut spike = calm;
        spike[3] = 0.73;
        assert_eq!(
            say(&spike),
            (Verdict::Fail, "gate.errors of gitaly-a: 0.73 is above 0.5 (for 5 m, 10 samples)".into())
        );
        assert_eq!(say(&calm[..8]).0, Verdict::Pass);
        assert_eq!(
            say(&calm[..7]),
            (
                Verdict::Unknown,
                "gate.errors of gitaly-a: only 7 samples in the last 5 m, and 8 are needed; it must be at most 0.5, \
                 for 5 m"
                    .into()
            )
        );
        assert_eq!(say(&[0.9]).0, Verdict::Fail, "nothing that is missing could undo it");
        let mut gaps = calm;
        (gaps[1], gaps[5]) = (f64::NAN, f64::NAN);
        assert_eq!(say(&gaps).0, Verdict::Pass);
        gaps[9] = f64::NAN;
        assert_eq!(say(&gaps).0, Verdict::Unknown);
        let mut ended = window(&calm);
        if let Answer::Series(series) = &mut ended.target {
            series[0].points.truncate(9);
        }
        assert_eq!(
            told(&check, &ended).1,
            "gate.errors of gitaly-a: nothing since 2026-01-05T07:59:30Z; it must be at most 0.5, for 5 m"
        );
    }

    #[test]
    fn points_are_neither_too_few_nor_too_many() {
        let of = |for_seconds, interval_seconds| {
            sampling(&Check { for_seconds, interval_seconds, ..check() }, at(0))
                .map(|s| (s.points, s.step.as_secs(), at(0).duration_since(s.from).as_secs()))
        };
        assert_eq!(of(0, 30), None);
        assert_eq!(of(300, 30), Some((10, 30, 270)));
        assert_eq!(of(20, 30), Some((5, 4, 16)));
        assert_eq!(of(1, 30), Some((1, 1, 0)));
        assert_eq!(of(86_400, 1), Some((499, 173, 173 * 498)));
        assert!(of(u64::MAX, u64::MAX).is_some());
    }

    #[test]
    fn of_several_elements_the_worst_is_named() {
        let of = |values: &[(&str, f64)]| {
            let all = values.iter().map(|(code, value)| series(&[("code", code)], &[(0, *value)])).collect();
            told(&check(), &answers(all))
        };
        assert_eq!(
            of(&[("A", 0.1), ("B", 0.9), ("C", 0.7)]),
            (Verdict::Fail, "gate.errors of gitaly-a {code=\"B\"}: 0.9 is above 0.5, the worst of 3".into())
        );
        assert_eq!(of(&[("A", 0.1), ("B", f64::NAN)]).0, Verdict::Unknown);
        assert_eq!(of(&[("A", 0.9), ("B", f64::NAN)]).0, Verdict::Fail);
        assert_eq!(
            of(&[("A", 0.1), ("B", 0.4)]),
            (Verdict::Pass, "gate.errors of gitaly-a {code=\"B\"}: 0.4 is at most 0.5, the worst of 2".into())
        );
    }

    #[test]
    fn a_baseline_is_the_mean_of_others_in_the_same_minutes() {
        let check = Check { max: None, max_ratio: Some(1.2), ..check() };
        let beside = |value: f64, others: &[Option<f64>]| {
            let mut answers = now(value);
            for (n, other) in others.iter().enumerate() {
                let points: Vec<Series> = other.iter().map(|value| series(&[("a", "b")], &[(0, *value)])).collect();
                let name = StorageName::new(format!("vm-{n}")).expect("a name");
                answers.baseline.insert(name, Answer::Series(points));
            }
            told(&check, &answers)
        };
        assert_eq!(
            beside(0.31, &[Some(0.1), Some(0.3)]),
            (Verdict::Fail, "gate.errors of gitaly-a: 0.31 is 1.55 times the baseline's 0.2, above 1.2".into())
        );
        assert_eq!(
            beside(0.2, &[Some(0.2), None]),
            (Verdict::Pass, "gate.errors of gitaly-a: 0.2 is 1 times the baseline's 0.2, at most 1.2".into())
        );
        assert_eq!(beside(f64::INFINITY, &[Some(1.0)]).0, Verdict::Fail);
        for (others, said) in [
            (vec![None], "vm-0: no data"),
            (vec![Some(0.0)], "vm-0: it is 0"),
            (vec![Some(f64::NAN)], "vm-0: it is NaN"),
            (vec![Some(f64::INFINITY)], "vm-0: it is +Inf"),
            (vec![], "no storage is named"),
        ] {
            let (verdict, why) = beside(0.2, &others);
            assert_eq!(verdict, Verdict::Unknown);
            let expected = format!("0.2 has nothing to be compared with: the baseline gives no value ({said})");
            assert!(why.contains(&expected), "{why}");
        }
        let mut by_method = answers(vec![series(&[("m", "a")], &[(0, 3.0)]), series(&[("m", "b")], &[(0, 1.0)])]);
        let others = vec![series(&[("m", "a")], &[(0, 3.0)]), series(&[("m", "b")], &[(0, 0.5)])];
        by_method.baseline.insert(StorageName::new("vm").expect("a name"), Answer::Series(others));
        let (verdict, why) = told(&check, &by_method);
        assert_eq!(verdict, Verdict::Fail);
        assert!(why.contains("{m=\"b\"}: 1 is 2 times the baseline's 0.5, above 1.2"), "{why}");
    }

    #[test]
    fn several_checks_make_one_verdict() {
        let judged = |verdict, why: &str| Judgement { verdict, why: why.to_owned() };
        let (pass, fail, unknown) =
            (judged(Verdict::Pass, "p"), judged(Verdict::Fail, "f"), judged(Verdict::Unknown, "u"));
        let real = check();
        let dry = Check { dry_run: true, ..check() };
        let folded = fold([(&real, &pass), (&dry, &fail), (&real, &unknown), (&real, &fail)]);
        assert_eq!(folded.verdict, Verdict::Fail);
        assert_eq!(folded.lines, ["f", "u", "p", "f (dry run: it would fail)"]);
        assert_eq!(fold([(&real, &pass), (&real, &unknown)]).verdict, Verdict::Unknown);
        assert_eq!(fold([(&dry, &fail), (&real, &pass)]).verdict, Verdict::Pass);
        assert_eq!(fold([]).verdict, Verdict::Pass);
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![any::<f64>(), -2.0..2.0f64, Just(f64::NAN), Just(f64::INFINITY), Just(0.5)]
    }

    proptest! {
        /// Whatever comes back, a pass needs every limit kept at every point, enough points and the newest of them; a
        /// fail needs a point beyond a limit.
        #[test]
        fn a_pass_and_a_fail_have_their_evidence(
            values in proptest::collection::vec(value(), 0..12),
            max in proptest::option::of(-1.0..1.0f64),
            min in proptest::option::of(-1.0..1.0f64),
            window_seconds in prop_oneof![Just(0u64), Just(300)],
        ) {
            prop_assume!(max.is_some() || min.is_some());
            let check = Check { max, min, for_seconds: window_seconds, ..check() };
            let values = if window_seconds == 0 { values.into_iter().take(1).collect() } else { values };
            let numbers: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
            let beyond = |value: &f64| max.is_some_and(|max| *value > max) || min.is_some_and(|min| *value < min);
            let expected = if numbers.iter().any(beyond) {
                Verdict::Fail
            } else if values.last().is_none_or(|last| last.is_nan()) || (window_seconds > 0 && numbers.len() < 8) {
                Verdict::Unknown
            } else {
                Verdict::Pass
            };
            let judged = judge(&check, &window(&values));
            prop_assert_eq!(judged.verdict, expected, "{}", judged.why);
            prop_assert!(judged.why.starts_with("gate.errors of gitaly-a") && !judged.why.contains('\n'));
        }

        /// The order of elements decides nothing, and one element more never turns unknown or fail into pass.
        #[test]
        fn elements_come_in_any_order(values in proptest::collection::vec(value(), 1..5), more in value()) {
            let of = |values: &[f64]| {
                let named = values.iter().enumerate();
                named.map(|(n, value)| series(&[("n", &n.to_string())], &[(0, *value)])).collect::<Vec<_>>()
            };
            let (all, mut turned) = (of(&values), of(&values));
            turned.reverse();
            prop_assert_eq!(judge(&check(), &answers(all.clone())), judge(&check(), &answers(turned)));
            let before = judge(&check(), &answers(all)).verdict;
            let grown = of(&[values, vec![more]].concat());
            let after = judge(&check(), &answers(grown)).verdict;
            prop_assert!(before == Verdict::Pass || after != Verdict::Pass);
            prop_assert!(before != Verdict::Fail || after == Verdict::Fail);
        }
    }
}
