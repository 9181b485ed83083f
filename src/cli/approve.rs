//! `approve`: a person's word for a gate, as a small file that a running or the next apply takes up.

use camino::{Utf8Path, Utf8PathBuf};

use super::args;
use super::context::{self, FOLDER};
use super::exit::Exit;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::apply::port::Approval;
use crate::diag::nearest;
use crate::live::operator;
use crate::model::{Address, Desired, Question};

/// Longer names and reasons are cut nowhere else.
const MOST: usize = 2_000;

/// Where approvals are.
pub(super) fn folder() -> Utf8PathBuf {
    Utf8Path::new(FOLDER).join(".tranship/approvals")
}

/// Runs the command.
pub(super) fn approve(terminal: &Terminal, args: &args::Approve) -> Result<Exit, Failure> {
    let project = context::load(terminal, &args.variables)?;
    let gate = find(&project.desired, &args.gate)?;
    let by = args.by.clone().unwrap_or_else(context::user);
    let reason = match &args.reason {
        Some(reason) => reason.clone(),
        None => kept_reason(operator::given(&folder(), &gate), &by),
    };
    for (option, text) in [("--by", &by), ("--reason", &reason)] {
        if text.chars().count() > MOST || text.chars().any(char::is_control) {
            let help = format!("One line of at most {MOST} characters.");
            return Err(Failure::with(Exit::Usage, format!("{option}: it cannot be kept as it is"), help));
        }
    }
    if by.trim().is_empty() {
        return Err(Failure::with(Exit::Usage, "--by: an approval has a name", "tranship approve GATE --by NAME"));
    }
    let failed = |error: std::io::Error| {
        Failure::new(format!("the approval cannot be written: {error}"), "It is a file below .tranship/approvals.")
    };
    crate::state::lock::own_folder(Utf8Path::new(FOLDER)).map_err(failed)?;
    operator::approve(&folder(), &gate, &Approval { by: by.clone(), reason }).map_err(failed)?;
    let text = match context::lock_holder() {
        Some(_) => "the apply that runs takes it up",
        None => "the next apply takes it up",
    };
    terminal.data(&format!("{gate} is approved by {by}; {text}.\n"))?;
    Ok(Exit::Done)
}

/// The reason of an approval that waits already: one without a reason does not erase it.
fn kept_reason(before: Option<Approval>, by: &str) -> String {
    match before {
        Some(before) if before.by == by || before.reason.is_empty() => before.reason,
        Some(before) => format!("{} ({})", before.reason, before.by),
        None => String::new(),
    }
}

/// The gate of that name, if a person can approve it.
fn find(desired: &Desired, text: &str) -> Result<Address, Failure> {
    let wanted = if text.starts_with("gate.") { text.to_owned() } else { format!("gate.{text}") };
    let gates: Vec<String> = desired.gates.keys().map(ToString::to_string).collect();
    let found = wanted.parse::<Address>().ok().and_then(|address| desired.gates.get(&address));
    let usage = |what: String, help: String| Failure::with(Exit::Usage, what, help);
    match found {
        Some(gate) if matches!(gate.question, Question::Approval) => Ok(gate.address.clone()),
        Some(gate) => Err(usage(
            format!("{} asks Prometheus: no person can approve it", gate.address),
            "A gate with `approval = true` waits for a person.".to_owned(),
        )),
        None => {
            let help = match nearest(&wanted, gates.iter().map(String::as_str)) {
                Some(near) => format!("Did you mean `{near}`?"),
                None if gates.is_empty() => "The configuration has no gate.".to_owned(),
                None => format!("There are {}.", gates.join(", ")),
            };
            Err(usage(format!("there is no gate {text:?} in this configuration"), help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_without_a_reason_keeps_the_one_that_waits() {
        let given = |reason: &str| Some(Approval { by: "ann".to_owned(), reason: reason.to_owned() });
        assert_eq!(kept_reason(given("looked at it"), "ann"), "looked at it");
        assert_eq!(kept_reason(given("looked at it"), "bob"), "looked at it (ann)", "whose word it is stays told");
        assert_eq!(kept_reason(given(""), "bob"), "");
        assert_eq!(kept_reason(None, "ann"), "");
    }
}
