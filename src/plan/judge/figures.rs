//! Values, times and labels as a judgement says them.

use jiff::Timestamp;

use crate::model::Series;

pub(super) fn counted(points: usize) -> String {
    if points == 1 { "1 sample".to_owned() } else { format!("{points} samples") }
}

/// An element's labels as in PromQL.
pub(super) fn name(series: &Series) -> String {
    let label = |(name, value): (&String, &String)| format!("{name}=\"{}\"", value.escape_debug());
    format!("{{{}}}", series.labels.iter().map(label).collect::<Vec<_>>().join(","))
}

pub(super) fn clock(time: Timestamp) -> String {
    time.round(jiff::Unit::Second).unwrap_or(time).to_string()
}

/// Seconds in the largest unit that divides them.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s > 0 && s % 60 == 0 => format!("{} m", s / 60),
        s => format!("{s} s"),
    }
}

/// A number with four digits that count.
pub(super) fn figure(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    let before = [1.0, 10.0, 100.0, 1000.0].iter().filter(|bound| size >= **bound).count();
    // A small number needs its leading zeros beside.
    let zeros = [0.1, 0.01, 0.001].iter().filter(|bound| size < **bound && size > 0.0).count();
    let text = format!("{value:.*}", 4 - before + zeros);
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// A value and its limit, with as many digits as it takes to tell them apart.
pub(super) fn pair(value: f64, bound: f64) -> (String, String) {
    let (short, limit) = (figure(value), figure(bound));
    if short == limit && value != bound { (value.to_string(), bound.to_string()) } else { (short, limit) }
}
