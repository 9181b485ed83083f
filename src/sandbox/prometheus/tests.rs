//! The evaluator, on series written by hand. What it says here a real Prometheus says too: the integration tests ask both.

use promql_parser::label::Matchers;
use proptest::prelude::*;

use super::eval::{Labels, Query, Sample, Value};
use super::series::{Source, fits};

/// Series with samples at seconds.
struct Written(Vec<(Labels, Vec<(i64, f64)>)>);

fn labels(text: &str) -> Labels {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

impl Written {
    fn new(series: &[(&str, &[(i64, f64)])]) -> Self {
        let one = |(text, samples): &(&str, &[(i64, f64)])| {
            (labels(text), samples.iter().map(|(time, value)| (time * 1000, *value)).collect())
        };
        Self(series.iter().map(one).collect())
    }
}

impl Source for Written {
    fn select(&self, matchers: &Matchers, after: i64, until: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
        let within = |(labels, samples): &(Labels, Vec<(i64, f64)>)| {
            let samples: Vec<_> = samples.iter().copied().filter(|(time, _)| after < *time && *time <= until).collect();
            (fits(matchers, None, labels) && !samples.is_empty()).then(|| (labels.clone(), samples))
        };
        self.0.iter().filter_map(within).collect()
    }
}

const ENDED: u64 = 0x7ff0_0000_0000_0002;

fn written() -> Written {
    let counter: Vec<(i64, f64)> = (0..=20).map(|n| (n * 15, 30.0 * n as f64)).collect();
    let reset: Vec<(i64, f64)> = vec![(240, 100.0), (255, 115.0), (270, 5.0), (285, 20.0), (300, 35.0)];
    Written::new(&[
        ("__name__=c,i=a", &counter),
        ("__name__=c,i=b", &reset),
        ("__name__=g,i=a,z=1", &[(290, 3.0)]),
        ("__name__=g,i=b,z=1", &[(290, 5.0)]),
        ("__name__=h,i=a", &[(295, 2.0)]),
        ("__name__=old,i=a", &[(1, 7.0)]),
        ("__name__=gone,i=a", &[(280, 7.0), (295, f64::from_bits(ENDED))]),
        ("__name__=odd,i=a", &[(290, f64::NAN)]),
        ("__name__=b_bucket,le=1", &[(290, 60.0)]),
        ("__name__=b_bucket,le=2", &[(290, 90.0)]),
        ("__name__=b_bucket,le=+Inf", &[(290, 100.0)]),
    ])
}

fn shown(value: &Value) -> String {
    let element = |Sample { labels, value, .. }: &Sample| {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{{{}}} {value}", labels.join(","))
    };
    match value {
        Value::Scalar(value) => value.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Vector(elements) => elements.iter().map(element).collect::<Vec<_>>().join("; "),
        Value::Matrix(all) => format!("{} series", all.len()),
    }
}

/// At 300 s.
fn at(query: &str) -> String {
    match Query::parse(query).and_then(|query| query.at(&written(), 300_000)) {
        Ok(value) => shown(&value),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn selectors_look_back_five_minutes_and_no_further_than_an_end() {
    for (query, value) in [
        ("g", "{__name__=g,i=a,z=1} 3; {__name__=g,i=b,z=1} 5"),
        ("g{i=\"a\"}", "{__name__=g,i=a,z=1} 3"),
        ("g{i!=\"a\"}", "{__name__=g,i=b,z=1} 5"),
        ("g{i=~\"a|x\"}", "{__name__=g,i=a,z=1} 3"),
        ("g{i!~\"a|x\"}", "{__name__=g,i=b,z=1} 5"),
        ("g{i=~\".\"}", "{__name__=g,i=a,z=1} 3; {__name__=g,i=b,z=1} 5"),
        ("g{nothing=\"\",i=\"a\"}", "{__name__=g,i=a,z=1} 3"),
        ("{__name__=\"h\"}", "{__name__=h,i=a} 2"),
        ("old", "{__name__=old,i=a} 7"),
        ("old offset 2s", "{__name__=old,i=a} 7"),
        ("old offset -2s", ""),
        ("gone", ""),
        ("gone offset 10s", "{__name__=gone,i=a} 7"),
        ("nothing", ""),
    ] {
        assert_eq!(at(query), value, "{query}");
    }
}

#[test]
fn ranges_are_extrapolated_and_counters_begin_anew() {
    for (query, value) in [
        ("rate(c{i=\"a\"}[1m])", "{i=a} 2"),
        ("increase(c{i=\"a\"}[1m])", "{i=a} 120"),
        // 100 to 115, then from 0 to 35 again: 50 within 60 s, of a window of 70 s.
        ("increase(c{i=\"b\"}[70s])", "{i=b} 58.333333333333336"),
        ("irate(c{i=\"a\"}[1m])", "{i=a} 2"),
        ("delta(g{i=\"a\"}[1m])", ""),
        ("delta(c{i=\"b\"}[70s])", "{i=b} -75.83333333333333"),
        ("avg_over_time(c{i=\"b\"}[45s])", "{i=b} 20"),
        ("min_over_time(c{i=\"b\"}[45s])", "{i=b} 5"),
        ("max_over_time(c{i=\"b\"}[2m])", "{i=b} 115"),
        ("sum_over_time(c{i=\"b\"}[45s])", "{i=b} 60"),
        ("count_over_time(c{i=\"a\"}[1m])", "{i=a} 4"),
        ("last_over_time(c{i=\"a\"}[1m])", "{__name__=c,i=a} 600"),
        ("count_over_time(gone[1m])", "{i=a} 1"),
        ("rate(nothing[1m])", ""),
    ] {
        assert_eq!(at(query), value, "{query}");
    }
}

#[test]
fn operators_match_by_labels() {
    for (query, value) in [
        ("1 + 2 * 3 ^ 2 % 5", "4"),
        ("-g{i=\"a\"}", "{i=a,z=1} -3"),
        ("1 > bool 2", "0"),
        ("g > 3", "{__name__=g,i=b,z=1} 5"),
        ("g > bool 3", "{i=a,z=1} 0; {i=b,z=1} 1"),
        ("2 * g", "{i=a,z=1} 6; {i=b,z=1} 10"),
        ("g / ignoring(z) h", "{i=a} 1.5"),
        ("g / on(i) h", "{i=a} 1.5"),
        ("g / h", ""),
        ("g > on(i) h", "{i=a} 3"),
        ("g and on(i) h", "{__name__=g,i=a,z=1} 3"),
        ("g unless on(i) h", "{__name__=g,i=b,z=1} 5"),
        ("h or vector(0)", "{__name__=h,i=a} 2; {} 0"),
        ("h / 0", "{i=a} inf"),
        ("odd > 0", ""),
        ("sum(g)", "{} 8"),
        ("avg by (z) (g)", "{z=1} 4"),
        ("max without (i) (g)", "{z=1} 5"),
        ("min(g)", "{} 3"),
        ("count(g)", "{} 2"),
        ("sum(nothing)", ""),
        ("max(odd)", "{} NaN"),
    ] {
        assert_eq!(at(query), value, "{query}");
    }
}

#[test]
fn functions_mean_what_prometheus_means() {
    for (query, value) in [
        ("histogram_quantile(0.5, b_bucket)", "{} 0.8333333333333334"),
        ("histogram_quantile(0.75, b_bucket)", "{} 1.5"),
        ("histogram_quantile(0.95, b_bucket)", "{} 2"),
        ("histogram_quantile(2, b_bucket)", "{} inf"),
        ("histogram_quantile(0.5, b_bucket * 0)", "{} NaN"),
        ("histogram_quantile(0.5, b_bucket{le!=\"+Inf\"})", "{} NaN"),
        ("absent(nothing{a=\"b\",c=~\"d\"})", "{a=b} 1"),
        ("absent(g)", ""),
        ("vector(1)", "{} 1"),
        ("scalar(h)", "2"),
        ("scalar(g)", "NaN"),
        ("clamp_max(g, 4)", "{i=a,z=1} 3; {i=b,z=1} 4"),
        ("clamp_min(g, 4)", "{i=a,z=1} 4; {i=b,z=1} 5"),
        ("time()", "300"),
        ("timestamp(h)", "{i=a} 295"),
        ("timestamp(h + 0)", "{i=a} 300"),
        ("abs(-1 * h)", "{i=a} 2"),
    ] {
        assert_eq!(at(query), value, "{query}");
    }
}

#[test]
fn what_is_wrong_or_not_known_is_refused() {
    for (query, said) in [
        ("sum(", "bad_data: invalid parameter \"query\": parse error:"),
        ("sum(rate(g))", "bad_data: invalid parameter \"query\": parse error:"),
        ("topk(1, g)", "bad_data: the sandbox's Prometheus does not know the aggregation topk"),
        ("quantile(0.5, nothing)", "bad_data: the sandbox's Prometheus does not know the aggregation quantile"),
        ("label_replace(g, \"a\", \"b\", \"c\", \"d\")", "does not know the function label_replace"),
        ("max_over_time(g[5m:1m])", "does not know max_over_time over anything but a selector"),
        ("g @ 5", "does not know the modifier `@`"),
        ("g * on(i) group_left h", "does not know group_left"),
        ("h * on(z) g", "execution: found duplicate series for the match group on the right hand-side"),
        ("count_over_time({i=\"a\"}[5m])", "execution: vector cannot contain metrics with the same labelset"),
    ] {
        let told = at(query);
        assert!(told.contains(said), "{query}: {told}");
    }
}

#[test]
fn a_range_gives_a_point_a_step() {
    let over = |query: &str, from, to, step| {
        Query::parse(query).and_then(|query| query.over(&written(), from, to, step)).map_err(|fault| fault.to_string())
    };
    let Ok(Value::Matrix(found)) = over("h", 280_000, 310_000, 10_000) else { panic!("a matrix") };
    assert_eq!(found, [(labels("__name__=h,i=a"), vec![(300_000, 2.0), (310_000, 2.0)])]);
    let Ok(Value::Matrix(found)) = over("1", 0, 20_000, 10_000) else { panic!("a matrix") };
    assert_eq!(found, [(Labels::new(), vec![(0, 1.0), (10_000, 1.0), (20_000, 1.0)])]);
    for (query, from, to, step, said) in [
        ("h", 5, 4, 1, "end timestamp must not be before start time"),
        ("h", 0, 4, 0, "zero or negative query resolution"),
        ("h", 0, 100_000_000, 1, "exceeded maximum resolution of 11,000 points"),
        ("h[5m]", 0, 4, 1, "invalid expression type \"range vector\" for range query"),
    ] {
        let told = over(query, from, to, step).expect_err(said);
        assert!(told.contains(said), "{told}");
    }
}

proptest! {
    /// No text makes it panic, and what parses has a value or a refusal.
    #[test]
    fn no_query_is_too_much(text in "[a-z(){}\\[\\]0-9+*/<>=!~\", .:@-]{0,40}") {
        let _ = at(&text);
    }

    /// A counter that grows evenly has its own rate, wherever one looks.
    #[test]
    fn an_even_counter_has_an_even_rate(step in 1u32..60, slope in 1u32..1000, back in 2u32..8) {
        let samples: Vec<(i64, f64)> =
            (0..200).map(|n| (n * i64::from(step), 1e6 + (n * i64::from(step)) as f64 * f64::from(slope))).collect();
        let source = Written::new(&[("__name__=c", &samples)]);
        let query = Query::parse(&format!("rate(c[{}s])", step * back + 1)).expect("parses");
        let Ok(Value::Vector(found)) = query.at(&source, i64::from(step) * 150_000) else { panic!("a vector") };
        prop_assert!((found[0].value / f64::from(slope) - 1.0).abs() < 1e-9, "{:?}", found);
    }
}
