//! Functions that read files below the configuration's folder.

use std::collections::BTreeMap;

use super::Takes::{Object, Text};
use super::{Function, Wrong, row};
use crate::diag::{line_and_column, line_at};
use crate::expr::tree::Node;
use crate::expr::{Files, Names, Value, is_name};

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
                let names = Within { values: a.entries(1), files };
                a.env.elsewhere(&node, &names).map_err(|fault| {
                    let at = fault.span.map(|span| (line_and_column(&text, span.start), line_at(&text, span.start)));
                    let (place, line) = at.unwrap_or_default();
                    Wrong::argument(0, format!("{}{place}: {fault}\n{}", a.text(0), files.shown(line)))
                })
            },
        ),
    ]
};

/// What a template may name and read.
struct Within<'a> {
    values: &'a BTreeMap<String, Value>,
    files: &'a dyn Files,
}

impl Names for Within<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    fn roots(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }
}

impl Files for Within<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        self.files.read(path)
    }

    fn exists(&self, path: &str) -> Result<bool, String> {
        self.files.exists(path)
    }

    /// A template that read itself would never end.
    fn template(&self, _path: &str, _text: &str) -> Result<Node, String> {
        Err("a template cannot fill in another one; fill that in outside and pass it on as a value.".to_owned())
    }
}

/// Steps that looking for a file costs, as it takes some microseconds.
const READ: u64 = 100;
