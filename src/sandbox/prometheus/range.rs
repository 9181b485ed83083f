//! Functions over a range of samples, and quantiles of histograms, with Prometheus' meaning: what lies between the
//! samples and the ends of the range is extrapolated, within reason (prometheus.io, "rate()", "histogram_quantile()").

use std::collections::BTreeMap;

use super::eval::{Labels, Sample, nameless};

/// A function of a range vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Rate,
    Increase,
    Delta,
    Irate,
    Average,
    Least,
    Most,
    Sum,
    Count,
    Last,
}

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "delta" => Self::Delta,
            "irate" => Self::Irate,
            "avg_over_time" => Self::Average,
            "min_over_time" => Self::Least,
            "max_over_time" => Self::Most,
            "sum_over_time" => Self::Sum,
            "count_over_time" => Self::Count,
            "last_over_time" => Self::Last,
            _ => return None,
        })
    }

    /// True where the result is still the metric.
    pub(super) fn keeps_name(self) -> bool {
        self == Self::Last
    }

    /// Its value over the samples within a span of time (milliseconds, its beginning left out); `None`: too few.
    pub(super) fn of(self, samples: &[(i64, f64)], span: (i64, i64)) -> Option<f64> {
        let values = || samples.iter().map(|(_, value)| *value);
        let last = samples.last()?.1;
        #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
        let count = samples.len() as f64;
        let number = |a: f64, b: f64, better: fn(f64, f64) -> bool| if a.is_nan() || better(b, a) { b } else { a };
        Some(match self {
            Self::Rate => extrapolated(samples, span, true)? / seconds(span.1 - span.0),
            Self::Increase => extrapolated(samples, span, true)?,
            Self::Delta => extrapolated(samples, span, false)?,
            Self::Irate => {
                let [.., (before, old), (now, new)] = samples else { return None };
                let grown = if new < old { *new } else { new - old };
                grown / seconds(now - before)
            }
            Self::Average => values().sum::<f64>() / count,
            Self::Least => values().fold(f64::NAN, |a, b| number(a, b, |b, a| b < a)),
            Self::Most => values().fold(f64::NAN, |a, b| number(a, b, |b, a| b > a)),
            Self::Sum => values().sum(),
            Self::Count => count,
            Self::Last => last,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a range")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// How much the samples grew, scaled up to the whole span: where they reach (about) to an end of it, to that end, else by
/// half of what usually lies between two. A counter is not thought back to below 0, and one that fell began anew.
fn extrapolated(samples: &[(i64, f64)], span: (i64, i64), counter: bool) -> Option<f64> {
    let ([(first, from), ..], [.., (last, to)]) = (samples, samples) else { return None };
    if samples.len() < 2 || first == last {
        return None;
    }
    let mut grown = to - from;
    if counter {
        let resets = samples.windows(2).filter_map(|pair| match pair {
            [(_, old), (_, new)] if new < old => Some(*old),
            _ => None,
        });
        grown += resets.sum::<f64>();
    }
    let sampled = seconds(last - first);
    #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
    let usual = sampled / (samples.len() - 1) as f64;
    let mut before = seconds(first - span.0);
    let after = seconds(span.1 - last);
    if counter && grown > 0.0 && *from >= 0.0 {
        before = before.min(sampled * from / grown);
    }
    let reach = |gap: f64| if gap < usual * 1.1 { gap } else { usual / 2.0 };
    Some(grown * (sampled + reach(before) + reach(after)) / sampled)
}

/// The quantile of each histogram among the elements, which are its buckets.
pub(super) fn quantiles(quantile: f64, elements: Vec<Sample>, time: i64) -> Vec<Sample> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for Sample { mut labels, value, .. } in elements {
        let Some(bound) = labels.remove("le").as_deref().and_then(bound) else { continue };
        histograms.entry(nameless(labels)).or_default().push((bound, value));
    }
    let of = |(labels, buckets)| Sample { labels, value: self::quantile(quantile, buckets), time };
    histograms.into_iter().map(of).collect()
}

fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

fn quantile(quantile: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Scrapes of several servers do not come at one moment: a bucket has at least what the one below has.
    let mut most = 0.0_f64;
    for (_, count) in &mut buckets {
        most = most.max(*count);
        *count = most;
    }
    let [rest @ .., (highest, all)] = buckets.as_slice() else { return f64::NAN };
    if *highest != f64::INFINITY || rest.is_empty() || *all == 0.0 || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    let rank = quantile * all;
    let place = rest.partition_point(|(_, count)| *count < rank);
    let Some((end, count)) = rest.get(place) else {
        // Above all that has an end: the last one is all that can be said.
        return rest.last().map_or(f64::NAN, |(end, _)| *end);
    };
    if place == 0 && *end <= 0.0 {
        return *end;
    }
    let (begin, below) = place.checked_sub(1).and_then(|n| rest.get(n)).copied().unwrap_or((0.0, 0.0));
    begin + (end - begin) * (rank - below) / (count - below)
}
