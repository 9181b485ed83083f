//! Gates against Prometheus: the same cases, asked of a real one that scrapes a small exporter here, of the sandbox's over
//! sockets, and of the fleet in memory. A real one is Debian's `prometheus` on PATH; with CI set it must be there.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tranship::apply::gate::{ask, ask_all, fold};
use tranship::apply::port::{Clock, Metrics as _, PortErrorKind, Ports};
use tranship::live::prometheus::HttpMetrics;
use tranship::live::{PrometheusTarget, SystemClock};
use tranship::model::{Address, Container, ContainerKind, SandboxConnection, SandboxFault};
use tranship::plan::{Check, Verdict};
use tranship::sandbox::memory::MemoryFleet;
use tranship::sandbox::{self, Endpoints};

use crate::laws::{name, spec};
use crate::live_fake::{Http, Reply, json, skipped, status};

/// What stands for labels in the cases' queries.
const OF_TARGET: &str = "SEL";

fn check(query: &str) -> Check {
    Check {
        gate: Address::new("gate", "g"),
        target: name("pod-a"),
        query: query.to_owned(),
        max: None,
        min: None,
        for_seconds: 0,
        baseline: BTreeMap::new(),
        max_ratio: None,
        dry_run: false,
        interval_seconds: 1,
        deadline_seconds: 60,
    }
}

/// A Prometheus that has scraped two servers, and how one asks about them.
struct Seen {
    ports: Ports,
    /// Labels of the server that is asked about, and of the one it is compared with.
    target: String,
    other: String,
    /// Seconds for which samples have come by now, and a span that reaches further back than they.
    known: u64,
    beyond: u64,
    /// A range with several scrapes in it.
    range: &'static str,
}

impl Seen {
    fn check(&self, query: &str) -> Check {
        check(&query.replace(OF_TARGET, &self.target).replace("RANGE", self.range))
    }

    async fn told(&self, check: &Check) -> (Verdict, String) {
        let judged = ask(&self.ports, check, self.ports.clock.now()).await;
        (judged.verdict, judged.why)
    }

    /// All cases.
    async fn hold(&self) {
        let requests = "sum(rate(grpc_server_handled_total{SEL,grpc_code=\"OK\"}[RANGE]))";
        let pass = Check { min: Some(0.1), max: Some(1e6), ..self.check(requests) };
        let (verdict, why) = self.told(&pass).await;
        assert_eq!(verdict, Verdict::Pass, "{why}");
        assert!(why.starts_with("gate.g of pod-a: ") && why.ends_with("is at least 0.1"), "{why}");

        let fail = Check { min: Some(1e6), ..self.check(requests) };
        let (verdict, why) = self.told(&fail).await;
        assert_eq!(verdict, Verdict::Fail, "{why}");
        assert!(why.ends_with("is below 1000000"), "{why}");

        let empty = Check { max: Some(1.0), ..self.check("grpc_server_handled_total{SEL,grpc_code=\"Nothing\"}") };
        let nothing = "gate.g of pod-a: no data: the query finds nothing; it must be at most 1";
        assert_eq!(self.told(&empty).await, (Verdict::Unknown, nothing.to_owned()));

        let nan = Check { max: Some(1.0), ..self.check("sum(up{SEL} - 1) / sum(up{SEL} - 1)") };
        let (verdict, why) = self.told(&nan).await;
        assert_eq!(verdict, Verdict::Unknown, "{why}");
        assert!(why.contains("the answer is NaN"), "{why}");

        let infinite = Check { max: Some(1.0), ..self.check("up{SEL} / 0") };
        let (verdict, why) = self.told(&infinite).await;
        assert_eq!((verdict, why.as_str()), (Verdict::Fail, "gate.g of pod-a: +Inf is above 1"));

        let several = Check { max: Some(-1.0), ..self.check("grpc_server_handled_total{SEL}") };
        let (verdict, why) = self.told(&several).await;
        assert_eq!(verdict, Verdict::Fail, "{why}");
        assert!(why.contains("grpc_code=\"") && why.contains(", the worst of "), "{why}");

        let quantile = "histogram_quantile(0.5, sum by (le) (rate(grpc_server_handling_seconds_bucket{SEL}[RANGE])))";
        let quantile = Check { min: Some(1e-9), max: Some(10.0), ..self.check(quantile) };
        let (verdict, why) = self.told(&quantile).await;
        assert_eq!(verdict, Verdict::Pass, "{why}");

        for wrong in ["sum(rate(up{SEL})", "sum(rate(up{SEL}))", "\"text\"", "up{SEL} * on(x) group_right up{SEL} @"] {
            let refused = Check { max: Some(1.0), ..self.check(wrong) };
            let (verdict, why) = self.told(&refused).await;
            assert_eq!(verdict, Verdict::Unknown, "{why}");
            assert!(why.contains("Prometheus refuses the query: "), "{why}");
            // The port's own word for it.
            let error = self.port().query(&refused.query, self.ports.clock.now()).await.expect_err("refused");
            assert_eq!(error.kind, PortErrorKind::Refused, "{error}");
        }

        let beyond = Check { min: Some(1.0), for_seconds: self.beyond, ..self.check("min(up{SEL})") };
        let (verdict, why) = self.told(&beyond).await;
        assert_eq!(verdict, Verdict::Unknown, "{why}");
        assert!(why.contains("samples in the last") && why.contains("are needed"), "{why}");

        let within = Check { for_seconds: self.known, ..beyond };
        let (verdict, why) = self.told(&within).await;
        assert_eq!(verdict, Verdict::Pass, "{why}");
        assert!(why.starts_with("gate.g of pod-a: 1 is at least 1 (for "), "{why}");

        let compared = |max_ratio: f64, against: &str| Check {
            max_ratio: Some(max_ratio),
            baseline: BTreeMap::from([(
                name("default"),
                requests.replace(OF_TARGET, against).replace("RANGE", self.range),
            )]),
            ..self.check(requests)
        };
        let (verdict, why) = self.told(&compared(1e3, &self.other)).await;
        assert_eq!(verdict, Verdict::Pass, "{why}");
        assert!(why.contains(" times the baseline's ") && why.ends_with(", at most 1000"), "{why}");
        let (verdict, why) = self.told(&compared(1e-3, &self.other)).await;
        assert_eq!(verdict, Verdict::Fail, "{why}");
        let (verdict, why) = self.told(&compared(1e3, "job=\"nobody\"")).await;
        assert_eq!(verdict, Verdict::Unknown, "{why}");
        assert!(why.contains("the baseline gives no value (default: no data)"), "{why}");

        let dry = Check { dry_run: true, ..fail.clone() };
        let checks = [pass, dry, empty];
        let judged = ask_all(&self.ports, &checks, self.ports.clock.now()).await;
        let folded = fold(checks.iter().zip(&judged));
        assert_eq!(folded.verdict, Verdict::Unknown, "{folded:?}");
        assert!(folded.lines[2].ends_with("(dry run: it would fail)"), "{folded:?}");

        // One series, and numbers as they are.
        let now = self.ports.clock.now();
        let scalar = self.port().query("1.5", now).await.expect("a scalar");
        assert_eq!((scalar.len(), scalar[0].labels.len(), scalar[0].points[0].1), (1, 0, 1.5));
        let from = now - SignedDuration::from_secs(4);
        let range = self.port().range("vector(2)", from, now, Duration::from_secs(2)).await.expect("a matrix");
        assert_eq!(range[0].points.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2.0, 2.0, 2.0]);
    }

    fn port(&self) -> &dyn tranship::apply::port::Metrics {
        self.ports.metrics.as_deref().expect("there is one")
    }
}

#[tokio::test]
async fn the_fleet_in_memory_answers_gates() {
    let (ports, fleet) = MemoryFleet::new(&spec(4, &[]));
    let labels = BTreeMap::from([("instance".to_owned(), "pod-a:9236".to_owned())]);
    fleet.set_labels(BTreeMap::from([(name("pod-a"), labels)]));
    let seen = Seen {
        ports,
        target: "instance=\"pod-a:9236\"".to_owned(),
        other: "storage=\"default\"".to_owned(),
        known: 3600,
        beyond: 6 * 3600,
        range: "5m",
    };
    seen.hold().await;
}

/// A fleet in this process, over sockets.
async fn sandbox(connection: SandboxConnection) -> (tempfile::TempDir, Endpoints) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = camino::Utf8Path::from_path(folder.path()).expect("UTF-8").join("fleet");
    let (tell, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut tell = Some(tell);
        let mut announce = move |endpoints: &Endpoints| {
            if let Some(tell) = tell.take() {
                drop(tell.send(endpoints.clone()));
            }
        };
        drop(sandbox::serve(&dir, Some(connection), Some(Duration::from_secs(30)), &mut announce).await);
    });
    (folder, told.await.expect("it came up"))
}

fn http(url: &str) -> HttpMetrics {
    HttpMetrics::new(&PrometheusTarget { url: url.to_owned(), token: None, ca: None }).expect("usable").hasty()
}

/// Ports with these metrics and this clock; the rest is a fleet that nobody asks.
fn ports(metrics: HttpMetrics, clock: Arc<dyn Clock>) -> Ports {
    let (ports, _) = MemoryFleet::new(&spec(0, &[]));
    Ports { metrics: Some(Arc::new(metrics)), clock, ..ports }
}

#[tokio::test]
async fn the_sandbox_answers_gates_over_sockets() {
    let (_folder, endpoints) = sandbox(SandboxConnection { speed: 60, ..spec(4, &[]) }).await;
    let clock = tranship::live::ScaledClock {
        fleet_epoch: endpoints.fleet_epoch,
        real_epoch: endpoints.real_epoch,
        speed: endpoints.speed,
    };
    let labels = BTreeMap::from([("instance".to_owned(), "pod-a:9236".to_owned())]);
    sandbox::label(&endpoints, BTreeMap::from([(name("pod-a"), labels)])).await.expect("told");
    let seen = Seen {
        ports: ports(http(&endpoints.prometheus_url), Arc::new(clock)),
        target: "instance=\"pod-a:9236\"".to_owned(),
        other: "storage=\"default\"".to_owned(),
        known: 3600,
        beyond: 6 * 3600,
        range: "5m",
    };
    seen.hold().await;
    // What goes by POST is read too.
    let long = format!("sum({})", vec!["sum(up{storage=\"default\"})"; 100].join(" + "));
    let found = seen.port().query(&long, seen.ports.clock.now()).await.expect("answered");
    assert_eq!(found[0].points[0].1, 100.0);
}

#[tokio::test]
async fn faults_spoil_metrics_for_a_while() {
    let fault = |kind: &str, nth, count| SandboxFault { kind: kind.to_owned(), nth, count };
    let faults = vec![fault("metrics_errors", 1, 10), fault("metrics_gap", 2, 7), fault("metrics_away", 3, 2)];
    let (ports, fleet) = MemoryFleet::new(&SandboxConnection { faults, ..spec(8, &[]) });
    let errors = "sum(rate(grpc_server_handled_total{storage=\"pod-a\",grpc_code!~\"OK|NotFound\"}[5m]))";
    let gate = Check { max: Some(0.5), ..check(errors) };
    let held = Check { for_seconds: 300, interval_seconds: 30, ..gate.clone() };
    let told = async |check: &Check| ask(&ports, check, ports.clock.now()).await;
    assert_eq!(told(&held).await.verdict, Verdict::Pass);
    let mut ids = fleet.projects().into_iter().filter(|p| p.storage.as_str() == "default").map(|p| p.id);
    let mut go = async || {
        let container = Container { kind: ContainerKind::Project, id: ids.next().expect("enough") };
        ports.gitlab.schedule(container, &name("pod-a")).await.expect("scheduled");
    };
    go().await;
    fleet.advance(Duration::from_secs(300));
    let judged = told(&gate).await;
    assert_eq!(judged.verdict, Verdict::Fail, "{}", judged.why);
    let other = Check { query: errors.replace("pod-a", "pod-b"), ..gate.clone() };
    assert_eq!(told(&other).await.verdict, Verdict::Pass, "its destination alone");
    fleet.advance(Duration::from_secs(3600));
    assert_eq!(told(&held).await.verdict, Verdict::Pass, "it passes");

    go().await;
    fleet.advance(Duration::from_secs(60));
    let up = Check { min: Some(1.0), ..check("up{storage=\"pod-a\"}") };
    let lately = told(&gate).await;
    assert_eq!(lately.verdict, Verdict::Unknown, "{}", lately.why);
    assert!(lately.why.contains("old"), "{}", lately.why);
    assert!(told(&up).await.why.contains("no data"), "{}", told(&up).await.why);
    assert_eq!(told(&held).await.verdict, Verdict::Unknown);
    fleet.advance(Duration::from_secs(3600));
    assert_eq!(told(&held).await.verdict, Verdict::Pass);

    go().await;
    let judged = told(&gate).await;
    assert_eq!(judged.verdict, Verdict::Unknown);
    assert!(judged.why.contains("not answered: Prometheus answered 503"), "{}", judged.why);
    fleet.advance(Duration::from_secs(121));
    assert_eq!(told(&gate).await.verdict, Verdict::Pass);
    drop(fleet);
}

// ---- the adapter against scripted answers ----

const CANARY: &str = "prometheus-canary-91c";

#[tokio::test]
async fn the_token_travels_in_its_header_and_nowhere_else() {
    let fake = Http::start(|_, n| match n {
        0 => json(r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["partial"]}"#),
        1 => status(400, &format!(r#"{{"status":"error","errorType":"bad_data","error":"no {CANARY}"}}"#)),
        _ => status(401, &format!("who is {CANARY}?")),
    })
    .await;
    let token = Some(SecretString::from(CANARY));
    let metrics = HttpMetrics::new(&PrometheusTarget { url: format!("{}/under/", fake.url), token, ca: None });
    let metrics = metrics.expect("usable").hasty();
    let now = Timestamp::from_second(1_767_600_000).expect("a time");
    assert_eq!(metrics.query("up", now).await.expect("answered"), []);
    assert_eq!(metrics.warnings(), ["partial"]);
    for kind in [PortErrorKind::Refused, PortErrorKind::Unauthenticated] {
        let error = metrics.query("up", now).await.expect_err("refused");
        assert_eq!(error.kind, kind);
        assert!(!format!("{error:?} {metrics:?}").contains(CANARY), "{error:?}");
    }
    let seen = fake.seen();
    assert_eq!(seen.len(), 3, "neither is repeated");
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {CANARY}"));
    assert_eq!(seen[0].target, "/under/api/v1/query?query=up&time=1767600000.000");
    for bad in ["ftp://x", "no url", "http://user:pass@x", "http://x/?a=b"] {
        let error = HttpMetrics::new(&PrometheusTarget { url: bad.to_owned(), token: None, ca: None }).expect_err(bad);
        assert!(error.call.contains("prometheus.url") && !error.message.contains("pass@"), "{error}");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_repeated_and_other_is_told() {
    let good = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#;
    let now = Timestamp::UNIX_EPOCH;
    for first in [503, 502, 429] {
        let fake = Http::start(move |_, n| if n < 2 { status(first, "busy") } else { json(good) }).await;
        assert_eq!(http(&fake.url).query("2", now).await.expect("at last")[0].points[0].1, 2.0);
        assert_eq!(fake.seen().len(), 3);
    }
    let fake = Http::start(move |_, n| match n {
        0 => Reply::Nothing,
        1 => Reply::Cut(good.to_owned()),
        _ => json(good),
    })
    .await;
    assert!(http(&fake.url).query("2", now).await.is_ok());
    let begun = Instant::now();
    let away = Http::start(|_, _| status(503, "")).await;
    let error = http(&away.url).query("2", now).await.expect_err("away");
    assert!(error.is_transient() && away.seen().len() > 2 && begun.elapsed() < Duration::from_secs(10), "{error}");
    let gone = http("http://127.0.0.1:1").query("2", now).await.expect_err("nobody");
    assert!(gone.is_transient() && gone.message.contains("nothing listens there"), "{gone}");
    let page = Http::start(|_, _| status(200, "<html>Sign in</html>")).await;
    let error = http(&page.url).query("2", now).await.expect_err("a page");
    assert_eq!((error.kind, page.seen().len()), (PortErrorKind::Protocol, 1));
    assert!(error.help.expect("help").contains("prometheus.url"));
    let large = Http::start(|_, _| json("x".repeat(9 << 20))).await;
    let error = http(&large.url).query("2", now).await.expect_err("large");
    assert!(error.message.contains("larger than 8 MiB"), "{error}");
}

// ---- a real Prometheus ----

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What an exporter shows for a server: counters that grow with real time.
fn exposition(begun: Instant, pace: f64) -> String {
    use std::fmt::Write as _;
    let requests = begun.elapsed().as_secs_f64() * pace;
    let mut text = String::new();
    for (code, share) in [("OK", 0.98), ("NotFound", 0.015), ("Internal", 0.005)] {
        let _ = writeln!(
            text,
            "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"FindCommit\"}} {}",
            requests * share
        );
    }
    for (bound, share) in [("0.005", 0.3), ("0.1", 0.9), ("1", 0.99), ("+Inf", 1.0)] {
        let _ = writeln!(text, "grpc_server_handling_seconds_bucket{{le=\"{bound}\"}} {}", requests * share);
    }
    let lately = Timestamp::now().as_millisecond() - 100_000;
    let _ = writeln!(text, "late {requests} {lately}");
    text
}

/// Serves the metrics of two servers, at `/a` and `/b`, until it is dropped.
async fn exporter() -> Http {
    let begun = Instant::now();
    Http::start(move |seen, _| Reply::Full(200, "", exposition(begun, if seen.path() == "/a" { 20.0 } else { 10.0 })))
        .await
}

/// Starts a Prometheus that scrapes an exporter every second; `None` where there is none.
fn prometheus(folder: &std::path::Path, exporter: &str) -> Option<(Running, String)> {
    let version = Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set, and there is no prometheus on PATH: tests/run installs it"
        );
        skipped("a real Prometheus: no prometheus on PATH");
        return None;
    }
    let host = exporter.strip_prefix("http://").expect("http");
    let job = |name: &str, path: &str| {
        format!(
            "  - job_name: gitaly\n    metrics_path: {path}\n    static_configs:\n      - targets: ['{host}']\n    \
             relabel_configs:\n      - target_label: instance\n        replacement: {name}:9236\n"
        )
        .replace("job_name: gitaly", &format!("job_name: gitaly-{name}"))
    };
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n{}{}",
        job("a", "/a"),
        job("b", "/b")
    );
    fs_err::write(folder.join("prometheus.yml"), config).expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let log = fs_err::File::create(folder.join("log")).expect("a log");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log.into_parts().0))
        .spawn()
        .expect("it starts");
    Some((Running(child), format!("http://127.0.0.1:{port}")))
}

/// Waits, at most a minute, until a Prometheus is ready.
fn ready(url: &str, folder: &std::path::Path) {
    let address = url.strip_prefix("http://").expect("http").to_owned();
    let asked = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(format!("GET /-/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let begun = Instant::now();
    while !asked().is_ok_and(|text| text.starts_with("HTTP/1.1 200")) {
        let log = fs_err::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(60), "Prometheus does not become ready:\n{log}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_answers_gates() {
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = exporter().await;
    let Some((running, url)) = prometheus(folder.path(), &exporter.url) else { return };
    let path = folder.path().to_owned();
    let at = url.clone();
    tokio::task::spawn_blocking(move || ready(&at, &path)).await.expect("ready");
    let seen = Seen {
        ports: ports(http(&url), Arc::new(SystemClock)),
        target: "instance=\"a:9236\"".to_owned(),
        other: "instance=\"b:9236\"".to_owned(),
        known: 8,
        beyond: 1200,
        range: "5s",
    };
    // Too few samples, then enough.
    let up = Check { min: Some(1.0), for_seconds: 8, ..seen.check("min(up{SEL})") };
    let begun = Instant::now();
    let mut first = None;
    loop {
        let judged = ask(&seen.ports, &up, seen.ports.clock.now()).await;
        first.get_or_insert(judged.clone());
        match judged.verdict {
            Verdict::Pass => break,
            Verdict::Unknown => {}
            Verdict::Fail => panic!("{}", judged.why),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", judged.why);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(first.map(|judged| judged.verdict), Some(Verdict::Unknown), "it had just been started");
    seen.hold().await;
    // Samples that come as they should, and are old all the same.
    let late = Check { min: Some(0.0), ..check("late{instance=\"a:9236\"}") };
    let begun = Instant::now();
    let judged = loop {
        let judged = ask(&seen.ports, &late, seen.ports.clock.now()).await;
        if judged.why.contains("old, where one comes") || begun.elapsed() > Duration::from_secs(60) {
            break judged;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(judged.verdict, Verdict::Unknown, "{}", judged.why);
    assert!(judged.why.contains("the newest sample of late{instance=\"a:9236\"} is 1"), "{}", judged.why);
    // Away.
    drop(running);
    let judged = ask(&seen.ports, &up, seen.ports.clock.now()).await;
    assert_eq!(judged.verdict, Verdict::Unknown);
    assert!(judged.why.contains("not answered: "), "{}", judged.why);
}
