//! Standard output is for data, standard error for talk. Colour, width, and the one question that is ever asked.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::args::{Color, Global};
use super::failure::{Failure, Reason};
use crate::ui::{self, Style};

/// Both streams, and how to draw on each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// For standard output.
    pub(crate) out: Style,
    /// For standard error.
    pub(crate) err: Style,
    /// How much to say.
    pub(crate) verbose: u8,
    interactive: bool,
}

/// The width of what is no terminal: fixed, so that the same input gives the same bytes.
const WIDTH: usize = 100;

impl Terminal {
    /// Looks at the streams and the environment.
    pub(crate) fn detect(global: &Global) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let color = if global.no_color { Color::Never } else { global.color };
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let style = |tty: bool, size: Option<(u16, u16)>| Style {
            color: colored(color, tty, variable),
            width: size.filter(|_| tty).map_or(WIDTH, |(_, columns)| usize::from(columns).max(40)),
            tty: tty && !dumb,
        };
        let out = style(io::stdout().is_terminal(), console::Term::stdout().size_checked());
        let err = style(io::stderr().is_terminal(), console::Term::stderr().size_checked());
        // For whoever draws with `console` itself.
        console::set_colors_enabled(out.color);
        console::set_colors_enabled_stderr(err.color);
        let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { out, err, verbose: global.verbose, interactive }
    }

    /// True when somebody is there to answer.
    pub(crate) fn interactive(&self) -> bool {
        self.interactive
    }

    /// Writes data, as lines. A reader that has seen enough and closed the pipe is no error.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        written(write(&mut io::stdout().lock(), text))
    }

    /// Writes data as it is, whether it ends with a line's end or not.
    pub(crate) fn exactly(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Talks. When nobody can hear it, the work goes on.
    pub(crate) fn talk(&self, text: &str) {
        let _ = write(&mut io::stderr().lock(), text);
    }

    /// Tells what ended the command.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.talk(&match &failure.reason {
            Reason::Diagnostics(pair) => ui::diagnostics(&pair.0, &pair.1, self.err),
            Reason::Messages(messages) => ui::failure(messages, self.err),
        });
    }

    /// Asks a question on standard error and reads a line; `None` at the end of input.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        self.prompt(question);
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(count) if count > 0 => Some(line.trim().to_owned()),
            _ => None,
        }
    }

    fn prompt(&self, question: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    }
}

/// Whether data could be written.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("standard output cannot be written: {error}"), ""))
        }
        _ => Ok(()),
    }
}

/// Writes a text that ends with a line's end, empty ones apart.
fn write(to: &mut impl io::Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Decides on colour: what was typed, then NO_COLOR, then CLICOLOR_FORCE, then TERM=dumb, then the stream.
fn colored(asked: Color, tty: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    match asked {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") => true,
        Color::Auto => tty && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_on_colour_unless_it_was_typed() {
        let with = |asked, tty, set: &'static [(&'static str, &'static str)]| {
            colored(asked, tty, |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(with(Color::Auto, true, &[]));
        assert!(!with(Color::Auto, false, &[]));
        assert!(!with(Color::Auto, true, &[("NO_COLOR", "1")]));
        assert!(with(Color::Auto, true, &[("NO_COLOR", "")]), "an empty NO_COLOR says nothing");
        assert!(!with(Color::Auto, true, &[("TERM", "dumb")]));
        assert!(with(Color::Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(Color::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(Color::Auto, true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(with(Color::Always, false, &[("NO_COLOR", "1")]));
        assert!(!with(Color::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn a_text_ends_with_one_line_end() {
        for (text, written) in [("a", "a\n"), ("a\n", "a\n"), ("", "")] {
            let mut out = Vec::new();
            write(&mut out, text).expect("a vector");
            assert_eq!(out, written.as_bytes());
        }
    }
}
