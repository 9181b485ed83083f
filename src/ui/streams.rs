//! The only place of this folder that writes to streams: views for people on standard error, JSON lines on standard
//! output. A closed pipe ends the writing, not the run.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::progress::{Progress, Said};
use super::text::Paint;
use super::words::{self, Gravity};
use super::{Style, View};
use crate::apply::event::Event;

/// For people, on standard error: a bar on a terminal, plain lines elsewhere.
pub fn people(style: Style) -> Box<dyn View> {
    let paint = Paint::new(style);
    if style.tty {
        Box::new(Bar {
            paint,
            progress: Progress::new(),
            bar: None,
            target: ProgressDrawTarget::stderr,
            out: std::io::stderr(),
        })
    } else {
        Box::new(Plain { paint, progress: Progress::new(), out: std::io::stderr() })
    }
}

fn painted(paint: Paint, gravity: Gravity, text: &str) -> String {
    match gravity {
        Gravity::Info => text.to_owned(),
        Gravity::Warn => paint.warning(text),
        Gravity::Error => paint.danger(text),
    }
}

/// Plain lines.
struct Plain<W> {
    paint: Paint,
    progress: Progress,
    out: W,
}

impl<W: Write + Send> View for Plain<W> {
    fn event(&mut self, event: &Event, at: Timestamp) {
        for said in self.progress.take(event, at) {
            let line = match said {
                Said::Line { gravity, text } => painted(self.paint, gravity, &text),
                Said::Totals(text) => text,
            };
            // Standard error is gone: nobody is left to tell.
            let _ = writeln!(self.out, "{line}");
        }
    }
}

/// A bar at the foot, lines above it.
struct Bar<W> {
    paint: Paint,
    progress: Progress,
    bar: Option<ProgressBar>,
    target: fn() -> ProgressDrawTarget,
    out: W,
}

impl<W: Write + Send> View for Bar<W> {
    fn event(&mut self, event: &Event, at: Timestamp) {
        let said = self.progress.take(event, at);
        // A run may have rounds: each begins anew.
        if let Event::RunStarted { moves, .. } = event
            && *moves > 0
        {
            let bar = ProgressBar::with_draw_target(Some(*moves), (self.target)());
            if let Ok(look) = ProgressStyle::with_template("[{bar:24}] {wide_msg}") {
                bar.set_style(look.progress_chars("=> "));
            }
            self.bar = Some(bar);
        }
        let lines = said.into_iter().filter_map(|said| match said {
            Said::Line { gravity, text } => Some(painted(self.paint, gravity, &text)),
            // The bar shows them.
            Said::Totals(_) => None,
        });
        let write = || {
            for line in lines {
                let _ = writeln!(self.out, "{line}");
            }
        };
        match &self.bar {
            None => write(),
            Some(bar) => {
                bar.suspend(write);
                bar.set_position(self.progress.handled().min(self.progress.moves()));
                bar.set_message(self.progress.totals());
                if matches!(event, Event::RunEnded { .. }) {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

/// JSON lines on standard output, in the shape of Terraform's stream (`@level`, `@message`, `@module`, `@timestamp`, `type`).
pub fn json_lines() -> Box<dyn View> {
    Box::new(JsonLines { out: std::io::stdout(), closed: false })
}

struct JsonLines<W> {
    out: W,
    closed: bool,
}

impl<W: Write + Send> View for JsonLines<W> {
    fn event(&mut self, event: &Event, at: Timestamp) {
        if self.closed {
            return;
        }
        let line = json_line(event, at);
        self.closed = writeln!(self.out, "{line}").and_then(|()| self.out.flush()).is_err();
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@level")]
    level: &'static str,
    #[serde(rename = "@message")]
    message: String,
    #[serde(rename = "@module")]
    module: &'static str,
    #[serde(rename = "@timestamp")]
    timestamp: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

/// One event as one line of JSON, without its line end; `at` is the fleet's clock.
pub fn json_line(event: &Event, at: Timestamp) -> String {
    let line = Line {
        level: words::gravity(event).as_str(),
        message: words::event(event),
        module: "tranship.ui",
        timestamp: at,
        event,
    };
    // Maps with text keys and numbers only: this cannot fail, and an empty line is better than a panic.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one line, then is closed.
    struct Closed(Vec<u8>);

    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.contains(&b'\n') {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn waiting() -> Event {
        Event::Waiting { what: "\u{1b}[2Jsoak".into() }
    }

    #[test]
    fn plain_lines_hold_no_escape_code() {
        let paint = Paint::new(Style { color: false, width: 80, tty: false });
        let mut view = Plain { paint, progress: Progress::new(), out: Vec::new() };
        view.event(&waiting(), Timestamp::UNIX_EPOCH);
        view.event(&Event::Warning { message: "late".into() }, Timestamp::UNIX_EPOCH);
        assert_eq!(String::from_utf8_lossy(&view.out), "waiting: \\u{1b}[2Jsoak\nwarning: late\n");
    }

    #[test]
    fn a_bar_follows_the_moves_and_the_lines_stand_above_it() {
        let paint = Paint::new(Style { color: true, width: 80, tty: true });
        let (progress, target) = (Progress::new(), ProgressDrawTarget::hidden);
        let mut view = Bar { paint, progress, bar: None, target, out: Vec::new() };
        let bytes = crate::model::Bytes(1);
        let started = Event::RunStarted { run: "r".into(), actions: 1, moves: 2, bytes, expected_seconds: 1 };
        view.event(&started, Timestamp::UNIX_EPOCH);
        let container = crate::ui::samples::project(1);
        let skipped = Event::MoveSkipped { container, path: "a/b".into(), why: "no room".into(), done: false };
        view.event(&skipped, Timestamp::UNIX_EPOCH);
        let bar = view.bar.as_ref().expect("a bar");
        assert_eq!((bar.position(), bar.length()), (1, Some(2)));
        assert_eq!(bar.message(), "moved 0/2 repositories · 1 not moved · 0/1 B");
        let written = String::from_utf8_lossy(&view.out).into_owned();
        let lines: Vec<String> = written.lines().map(|l| console::strip_ansi_codes(l).into_owned()).collect();
        assert_eq!(
            lines,
            ["run r: 1 action, 2 repositories to move (1 B), about 1 s", "skipped project-1 a/b: no room"]
        );
        let summary = crate::apply::event::Summary::default();
        view.event(&Event::RunEnded { summary }, Timestamp::UNIX_EPOCH);
        assert!(view.bar.as_ref().is_some_and(ProgressBar::is_finished));
    }

    #[test]
    fn a_closed_pipe_ends_the_writing_and_not_the_run() {
        let mut view = JsonLines { out: Closed(Vec::new()), closed: false };
        for _ in 0..3 {
            view.event(&waiting(), Timestamp::UNIX_EPOCH);
        }
        assert!(view.closed);
        let written = String::from_utf8_lossy(&view.out.0).into_owned();
        let value: serde_json::Value = serde_json::from_str(written.trim_end()).expect("one whole line");
        assert_eq!((&value["type"], &value["@level"]), (&"waiting".into(), &"info".into()));
    }
}
