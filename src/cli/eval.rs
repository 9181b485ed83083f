//! `eval`: an expression's value, with the names of the configuration. Asks no live system.

use std::io::Read as _;

use camino::Utf8Path;

use super::args;
use super::context::{self, FOLDER};
use super::exit::Exit;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::config::{self, Answer, Evaluated, fmt::LIMIT};
use crate::expr::json_text;
use crate::ui;

/// What is printed instead of a value that must not be shown.
const SENSITIVE: &str = "(sensitive value)";

/// Evaluates and prints.
pub(super) fn eval(terminal: &Terminal, args: &args::Eval) -> Result<Exit, Failure> {
    let (name, text) = match args.expression.as_str() {
        "-" => ("<stdin>", input()?),
        text => ("<expression>", text.to_owned()),
    };
    let inputs = context::inputs(&args.variables);
    let Evaluated { sources, answer, diagnostics } = config::eval(Utf8Path::new(FOLDER), &inputs, name, &text);
    let Some(answer) = answer else { return Err(Failure::diagnostics(diagnostics, sources)) };
    terminal.talk(&ui::diagnostics(&diagnostics, &sources, terminal.err));
    match answer {
        Answer::Value(value) if args.json => {
            let text = json_text(&value)
                .map_err(|error| Failure::new(format!("this has no form in JSON: {error}"), "Leave out --json."))?;
            terminal.data(&text)?;
        }
        Answer::Value(value) => terminal.data(&ui::value(&value))?,
        // A program that reads JSON would take the words for the value.
        Answer::Sensitive if args.json => {
            return Err(Failure::new(
                "the value is sensitive and is not printed",
                "A variable of the expression is declared with `sensitive = true`.",
            ));
        }
        Answer::Sensitive => terminal.data(SENSITIVE)?,
    }
    Ok(Exit::Done)
}

/// Reads the expression from standard input.
fn input() -> Result<String, Failure> {
    let mut text = String::new();
    match std::io::stdin().lock().take(LIMIT).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(
            format!("standard input cannot be read: {error}"),
            "An expression is UTF-8 text; it may also be typed as an argument, in quotes.",
        )),
    }
}
