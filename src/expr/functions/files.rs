//! Functions that read files below the configuration's folder.

use super::Takes::{Object, Text};
use super::{Function, Wrong, row};
use crate::diag::line_and_column;
use crate::expr::{Value, is_name};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("file", &[("path", Text)], "The text of a file below the configuration's folder.", |a| {
            let files = a.env.names.files().ok_or("files cannot be read here.")?;
            a.spend(READ)?;
            files.read(a.text(0)).map(Value::from).map_err(|m| Wrong::argument(0, m))
        }),
        row("fileexists", &[("path", Text)], "True when there is such a file below the configuration's folder.", |a| {
            let files = a.env.names.files().ok_or("files cannot be read here.")?;
            a.spend(READ)?;
            files.exists(a.text(0)).map(Value::from).map_err(|m| Wrong::argument(0, m))
        }),
        row(
            "templatefile",
            &[("path", Text), ("values", Object)],
            "A file below the configuration's folder as a template, with the object's entries as its names.",
            |a| {
                let files = a.env.names.files().ok_or("files cannot be read here.")?;
                if let Some(key) = a.entries(1).keys().find(|key| !is_name(key)) {
                    return Err(Wrong::argument(1, format!("{key:?} cannot be a name in a template.")));
                }
                a.spend(READ)?;
                let text = files.read(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                a.spend(text.len() as u64)?;
                let node = files.template(a.text(0), &text).map_err(|m| Wrong::argument(0, m))?;
                a.env.elsewhere(&node, a.entries(1)).map_err(|fault| {
                    let place = fault.span.map(|span| line_and_column(&text, span.start)).unwrap_or_default();
                    Wrong::argument(0, format!("{}{place}: {fault}", a.text(0)))
                })
            },
        ),
    ]
};

/// Steps that looking for a file costs, as it takes some microseconds.
const READ: u64 = 100;
