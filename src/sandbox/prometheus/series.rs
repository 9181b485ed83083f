//! What Prometheus has scraped of the fleet. A pure function of the scrape's facts, so that one sample has one value
//! whenever it is asked for: counters only grow, and restart at nothing.

use promql_parser::label::Matchers;

use super::eval::Labels;

/// Between two scrapes, milliseconds of the fleet's clock.
pub(super) const INTERVAL: i64 = 15_000;
/// Requests of a move to the Gitalys at its two ends, slower than others.
const OF_MOVE: f64 = 30.0;
/// Errors a second while a fault has them rise.
const ERRORS: f64 = 5.0;
/// What Prometheus writes when a series has ended: the next sample is not awaited.
const ENDED: u64 = 0x7ff0_0000_0000_0002;

/// Where samples come from.
pub trait Source {
    /// The series that the matchers select, each with its samples after `after` and not after `until` (milliseconds
    /// since 1970), oldest first; [`is_end`] tells a series' end.
    fn select(&self, matchers: &Matchers, after: i64, until: i64) -> Vec<(Labels, Vec<(i64, f64)>)>;
}

/// True for the mark of a series' end.
pub(super) fn is_end(value: f64) -> bool {
    value.to_bits() == ENDED
}

/// What is known of one storage's Gitaly.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// What tells it from others: `instance`, `job` …
    pub labels: Labels,
    /// Its share of the fleet's requests: its name's.
    pub seed: u64,
    /// When it was first scraped. Times are milliseconds since 1970.
    pub from: i64,
    /// When moves from or to it began, in order.
    pub moves: Vec<i64>,
    /// When a fault has more requests fail.
    pub errors: Vec<(i64, i64)>,
    /// When a fault keeps it from being found.
    pub gaps: Vec<(i64, i64)>,
    /// When it does not answer.
    pub down: Vec<(i64, i64)>,
    /// Bytes used and free.
    pub disk: Option<(u64, u64)>,
}

/// All that was scraped until now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrape {
    /// Nothing is newer.
    pub now: i64,
    /// Each Gitaly.
    pub servers: Vec<Server>,
}

/// What one series counts or measures.
#[derive(Debug, Clone, Copy)]
enum What {
    Up,
    Handled(Method, Code),
    Bucket(Method, usize),
    Seconds(Method),
    Handling(Method),
    Disk { free: bool },
}

/// An RPC, with its share of the requests, thousandths.
#[derive(Debug, Clone, Copy)]
struct Method {
    service: &'static str,
    name: &'static str,
    kind: &'static str,
    share: f64,
    /// Moves make these, and faults have them fail.
    of_moves: bool,
}

const METHODS: [Method; 4] = [
    Method { service: "gitaly.CommitService", name: "FindCommit", kind: "unary", share: 0.6, of_moves: false },
    Method { service: "gitaly.RefService", name: "RefExists", kind: "unary", share: 0.3, of_moves: true },
    Method {
        service: "gitaly.SmartHTTPService",
        name: "InfoRefsUploadPack",
        kind: "server_stream",
        share: 0.08,
        of_moves: false,
    },
    Method { service: "gitaly.RepositoryService", name: "RepositoryInfo", kind: "unary", share: 0.02, of_moves: false },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Ok,
    NotFound,
    Internal,
}

/// Upper bounds of Gitaly's buckets, seconds.
const BOUNDS: [&str; 12] = ["0.001", "0.005", "0.025", "0.1", "0.5", "1", "10", "30", "60", "300", "1500", "+Inf"];
/// Which share of ordinary requests is within each, and of those that meet a move.
const ORDINARY: [f64; 12] = [0.05, 0.35, 0.8, 0.96, 0.995, 0.999, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const SLOWED: [f64; 12] = [0.0, 0.05, 0.2, 0.5, 0.8, 0.92, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Their means, seconds.
const MEANS: (f64, f64) = (0.03, 0.4);

impl Server {
    /// Requests a second, ordinarily.
    fn pace(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 16")]
        let more = (self.seed % 16) as f64;
        5.0 + more
    }

    /// Ordinary requests until a time, with an hour's swell.
    fn ordinary(&self, time: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds within a run")]
        let (age, clock, phase) = ((time - self.from) as f64 / 1000.0, time as f64 / 1000.0, (self.seed % 3600) as f64);
        let swell = |at: f64| (std::f64::consts::TAU * (at + phase) / 3600.0).sin() * 100.0;
        (self.pace() * (age + swell(clock) - swell(clock - age))).max(0.0)
    }

    /// Requests that met a move.
    fn slowed(&self, time: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of moves")]
        let moves = self.moves.partition_point(|began| *began <= time) as f64;
        moves * OF_MOVE
    }

    /// Requests that failed by a fault.
    fn failed(&self, time: i64) -> f64 {
        let overlap = |(from, until): &(i64, i64)| (time.min(*until) - from).max(0);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds within a run")]
        let seconds = self.errors.iter().map(overlap).sum::<i64>() as f64 / 1000.0;
        seconds * ERRORS
    }

    fn count(&self, method: Method, code: Code, time: i64) -> f64 {
        let ordinary = self.ordinary(time) * method.share;
        let moves = |extra: f64| if method.of_moves { extra } else { 0.0 };
        match code {
            Code::Ok => (ordinary * 0.988).floor() + moves(self.slowed(time)),
            Code::NotFound => (ordinary * 0.01).floor(),
            Code::Internal => (ordinary * 0.002).floor() + moves(self.failed(time)).floor(),
        }
    }

    fn value(&self, what: What, time: i64) -> Option<f64> {
        let within = |spans: &[(i64, i64)]| spans.iter().any(|(from, until)| *from <= time && time < *until);
        if within(&self.gaps) {
            return None;
        }
        if within(&self.down) {
            return matches!(what, What::Up).then_some(0.0);
        }
        let all = |method: Method| -> (f64, f64) {
            let failed = if method.of_moves { self.failed(time) } else { 0.0 };
            let slowed = if method.of_moves { self.slowed(time) } else { 0.0 };
            ((self.ordinary(time) * method.share + failed).floor(), slowed)
        };
        Some(match what {
            What::Up => 1.0,
            What::Handled(method, code) => self.count(method, code, time),
            What::Bucket(method, n) => {
                let (ordinary, slowed) = all(method);
                let share = |shares: &[f64; 12]| shares.get(n).copied().unwrap_or(1.0);
                (ordinary * share(&ORDINARY)).floor() + (slowed * share(&SLOWED)).floor()
            }
            What::Handling(method) => {
                let (ordinary, slowed) = all(method);
                ordinary + slowed
            }
            What::Seconds(method) => {
                let (ordinary, slowed) = all(method);
                ordinary * MEANS.0 + slowed * MEANS.1
            }
            What::Disk { free } => {
                #[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing else")]
                let bytes = |bytes: u64| bytes as f64;
                let (used, left) = self.disk?;
                if free { bytes(left) } else { bytes(used) + bytes(left) }
            }
        })
    }

    /// All of its series.
    fn series(&self) -> Vec<(Labels, What)> {
        let of = |name: &str, more: &[&[(&str, &str)]]| {
            let mut labels = self.labels.clone();
            labels.extend(more.concat().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
            labels.insert("__name__".to_owned(), name.to_owned());
            labels
        };
        let mut all = vec![(of("up", &[]), What::Up)];
        for method in METHODS {
            let rpc = [("grpc_service", method.service), ("grpc_method", method.name), ("grpc_type", method.kind)];
            for (code, name) in [(Code::Ok, "OK"), (Code::NotFound, "NotFound"), (Code::Internal, "Internal")] {
                let labels = of("grpc_server_handled_total", &[&rpc, &[("grpc_code", name)]]);
                all.push((labels, What::Handled(method, code)));
            }
            for (n, bound) in BOUNDS.iter().enumerate() {
                let labels = of("grpc_server_handling_seconds_bucket", &[&rpc, &[("le", bound)]]);
                all.push((labels, What::Bucket(method, n)));
            }
            all.push((of("grpc_server_handling_seconds_count", &[&rpc]), What::Handling(method)));
            all.push((of("grpc_server_handling_seconds_sum", &[&rpc]), What::Seconds(method)));
        }
        let mount = [("mountpoint", "/var/opt/gitlab/git-data"), ("fstype", "ext4")];
        all.push((of("node_filesystem_size_bytes", &[&mount]), What::Disk { free: false }));
        all.push((of("node_filesystem_avail_bytes", &[&mount]), What::Disk { free: true }));
        all
    }
}

/// True when labels fit; a label that is absent counts as empty.
pub(super) fn fits(matchers: &Matchers, name: Option<&str>, labels: &Labels) -> bool {
    let value = |label: &str| labels.get(label).map_or("", String::as_str);
    let all = |list: &[promql_parser::label::Matcher]| list.iter().all(|m| m.is_match(value(&m.name)));
    name.is_none_or(|name| value("__name__") == name)
        && all(&matchers.matchers)
        && (matchers.or_matchers.is_empty() || matchers.or_matchers.iter().any(|list| all(list)))
}

impl Source for Scrape {
    fn select(&self, matchers: &Matchers, after: i64, until: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
        let until = until.min(self.now);
        let mut found = Vec::new();
        for server in &self.servers {
            for (labels, what) in server.series() {
                if !fits(matchers, None, &labels) {
                    continue;
                }
                let mut samples = Vec::new();
                let mut time = (after.max(server.from - 1).div_euclid(INTERVAL) + 1) * INTERVAL;
                while time <= until {
                    samples.push((time, server.value(what, time).unwrap_or(f64::from_bits(ENDED))));
                    time += INTERVAL;
                }
                if samples.iter().any(|(_, value)| !is_end(*value)) {
                    found.push((labels, samples));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            labels: [("instance".to_owned(), "a:9236".to_owned())].into(),
            seed: 7,
            from: 0,
            moves: vec![100_000, 130_000],
            errors: vec![(200_000, 260_000)],
            gaps: vec![(600_000, 660_000)],
            down: vec![(700_000, 720_000)],
            disk: Some((10, 30)),
        }
    }

    #[test]
    fn counters_only_grow_and_one_time_has_one_value() {
        let server = server();
        for (labels, what) in server.series() {
            let values: Vec<Option<f64>> = (0..100).map(|n| server.value(what, n * INTERVAL)).collect();
            assert_eq!(values, (0..100).map(|n| server.value(what, n * INTERVAL)).collect::<Vec<_>>());
            if matches!(what, What::Handled(..) | What::Bucket(..) | What::Seconds(_) | What::Handling(_)) {
                assert!(values.iter().flatten().is_sorted(), "{labels:?}");
                assert!(values.iter().flatten().all(|value| *value >= 0.0), "{labels:?}");
            }
        }
    }

    #[test]
    fn buckets_add_up_to_their_count() {
        let server = server();
        for method in METHODS {
            for time in [0, 60_000, 150_000, 500_000] {
                let buckets: Vec<Option<f64>> =
                    (0..BOUNDS.len()).map(|n| server.value(What::Bucket(method, n), time)).collect();
                assert!(buckets.is_sorted());
                assert_eq!(buckets.last().copied().flatten(), server.value(What::Handling(method), time));
            }
        }
    }

    #[test]
    fn faults_show_and_pass() {
        let server = server();
        let errors = |time| server.count(METHODS[1], Code::Internal, time);
        assert!(errors(260_000) - errors(200_000) >= 300.0);
        assert!(errors(190_000) - errors(130_000) < 5.0);
        assert_eq!(server.value(What::Up, 600_000), None);
        assert_eq!(
            (server.value(What::Up, 705_000), server.value(What::Disk { free: true }, 705_000)),
            (Some(0.0), None)
        );
        assert_eq!(server.value(What::Up, 720_000), Some(1.0));
    }
}
