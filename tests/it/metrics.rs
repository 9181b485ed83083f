//! `apply --metrics`: what is served, what Prometheus' own tool says of it, and what cannot be served.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use tranship::apply::event::{Event, Outcome};
use tranship::model::{Address, Bytes, Container, ContainerKind, StorageName};
use tranship::ui::{Metrics, View as _};

/// A run that has something of every family.
fn sample() -> String {
    let mut metrics = Metrics::new().expect("made");
    let at = jiff::Timestamp::UNIX_EPOCH;
    let storage = |name: &str| StorageName::new(name).expect("valid");
    let container = Container { kind: ContainerKind::Project, id: 1 };
    let (source, destination) = (storage("default"), storage("pod-a"));
    let scheduled = Event::MoveScheduled {
        since: jiff::Timestamp::UNIX_EPOCH,
        container,
        path: "a/b".into(),
        source: source.clone(),
        destination: destination.clone(),
        move_id: 1,
        attempt: 1,
    };
    let verified = Event::MoveVerified {
        container,
        path: "a/b".into(),
        source,
        destination,
        bytes: Bytes(1000),
        verdict: "attested".into(),
        detail: String::new(),
        frozen_ms: 4_200,
    };
    let throttled = Event::Throttled {
        what: "pod-a as destination".into(),
        storage: Some(storage("pod-a")),
        from: 4,
        to: 2,
        why: "slow".into(),
    };
    let skipped = Event::MoveSkipped { container, path: "a/b".into(), why: "gone".into(), done: true };
    let outcome = Outcome::Done { detail: String::new() };
    let ended = Event::ActionEnded { address: Address::new("drain", "default"), outcome };
    for event in [scheduled, verified, throttled, skipped, ended] {
        metrics.event(&event, at);
    }
    metrics.text(at, &[("schedule", 3)].into()).expect("written")
}

#[test]
fn promtool_has_nothing_to_say_about_them() {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("SKIPPED: promtool check metrics: no promtool on PATH");
        return;
    };
    let text = sample();
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}

#[cfg(feature = "sandbox")]
mod served {
    use super::*;
    use tranship::apply::event::Summary;

    use crate::common::home::Home;
    use crate::laws::{Tool, spec};

    /// The sum of a family's values whose labels have that text.
    fn sum(text: &str, family: &str, labels: &str) -> f64 {
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(family) && line.contains(labels);
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number");
        text.lines().filter(of).map(value).sum()
    }

    #[tokio::test]
    async fn what_is_counted_is_what_the_summary_says() {
        let faults = [
            ("cleanup_failed", 2),
            ("push_after_move", 4),
            ("fail_move", 6),
            ("fast_move", 8),
            ("lose_reference", 10),
            ("dead_end_b", 12),
            ("push_timeout", 14),
            ("corrupt_copy", 30),
        ];
        let mut tool = Tool::new(&spec(40, &faults));
        let plan = tool.plan().await;
        tool.fleet.delete(plan.moves[0].container.id);
        let result = tool.run(&plan).await.summary;
        let mut metrics = Metrics::new().expect("made");
        let (at, events) = (tool.fleet.now(), tool.events());
        events.iter().for_each(|event| metrics.event(event, at));
        let text = metrics.text(at, &[].into()).expect("written");
        let Summary {
            done,
            failed,
            skipped,
            stale,
            not_started,
            refused,
            gates_closed,
            paused,
            attested,
            advanced,
            bracketed,
            unknown,
            moves_skipped,
            moves_moot,
            quarantined,
            lost,
            bytes,
            ..
        } = result.clone();
        let verdicts = [("attested", attested), ("advanced", advanced), ("bracketed", bracketed), ("unknown", unknown)];
        for (verdict, number) in verdicts {
            assert!(number > 0, "{verdict}: {result:?}");
            let counted = sum(&text, "tranship_moves_total", &format!("verdict=\"{verdict}\""));
            assert_eq!(counted, number as f64, "{verdict}\n{text}");
        }
        let outcomes = [
            ("done", done),
            ("failed", failed),
            ("skipped", skipped),
            ("stale", stale),
            ("not_started", not_started),
            ("refused", refused),
            ("gate_closed", gates_closed),
            ("paused", paused),
        ];
        for (outcome, number) in outcomes {
            let counted = sum(&text, "tranship_actions_total", &format!("outcome=\"{outcome}\""));
            assert_eq!(counted, number as f64, "{outcome}\n{text}");
        }
        assert!(moves_moot > 0 && quarantined > 1 && lost == 1, "{result:?}");
        let retries = events.iter().filter(|event| matches!(event, Event::MoveRetried { .. })).count();
        for (family, labels, number) in [
            ("tranship_bytes_total", "", bytes.0),
            ("tranship_moves_skipped_total", "", moves_skipped),
            ("tranship_moves_skipped_total", "done=\"true\"", moves_moot),
            ("tranship_quarantined", "", quarantined),
            ("tranship_possible_losses", "", lost),
            ("tranship_move_frozen_seconds_count", "", attested + advanced + bracketed + unknown),
            ("tranship_move_retries_total", "", retries as u64),
            ("tranship_moves_planned", "", plan.moves.len() as u64),
            ("tranship_moves_in_flight", "", 0),
            ("tranship_held", "", 0),
        ] {
            assert_eq!(sum(&text, family, labels), number as f64, "{family} {labels}\n{text}");
        }

        // Without attempts that failed, the freeze that is counted is all that was borne.
        let mut tool = Tool::new(&spec(20, &[]));
        let summary = tool.apply().await;
        let mut metrics = Metrics::new().expect("made");
        tool.events().iter().for_each(|event| metrics.event(event, tool.fleet.now()));
        let text = metrics.text(tool.fleet.now(), &[].into()).expect("written");
        let frozen = sum(&text, "tranship_move_frozen_seconds_sum", "");
        assert!((frozen * 1000.0 - summary.time.frozen_ms as f64).abs() < 1.0, "{frozen} s, {:?}", summary.time);
    }

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    fn scrape(port: u16) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    #[test]
    fn a_run_is_seen_while_it_lasts() {
        let home = Home::of_example("first-move");
        let port = free_port();
        let mut run = home
            .command(env!("CARGO_BIN_EXE_tranship"))
            .args(["apply", "--auto-approve", "--metrics", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut seen = String::new();
        while run.try_wait().expect("a process").is_none() {
            if let Some(answer) = scrape(port).filter(|answer| !answer.is_empty()) {
                seen = answer;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(run.wait().expect("ended").success());
        assert!(seen.starts_with("HTTP/1.1 200 OK"), "{seen}");
        assert!(seen.contains("text/plain; version=0.0.4"), "{seen}");
        for name in
            ["tranship_moves_planned ", "tranship_gitlab_requests_total{call=\"moves_of\"}", "tranship_slots_declared"]
        {
            assert!(seen.contains(name), "{name} is not in\n{seen}");
        }
    }

    #[test]
    fn a_port_in_use_and_a_bad_address_end_it_before_anything_is_done() {
        let home = Home::of_example("first-move");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let output = home.tranship(&["apply", "--auto-approve", "--metrics", &address]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.err.contains(&format!("the metrics cannot be served at {address}")), "{output:?}");
        assert!(output.err.contains("nothing was done") && output.err.contains("--metrics"), "{output:?}");
        assert!(!home.path().join(".tranship").exists(), "nothing was begun");
        let output = home.tranship(&["apply", "--auto-approve", "--metrics", "localhost"]);
        assert_eq!(output.code, 3, "{output:?}");
        assert!(output.err.contains("such as 127.0.0.1:9464"), "{output:?}");
    }
}
