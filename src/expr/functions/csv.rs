//! CSV as RFC 4180 has it. Our own, as the usual library takes broken quotes for text where Terraform refuses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Arguments;
use crate::expr::Value;

/// Reads a text whose first line names the columns.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(super) fn decode(a: &Arguments<'_>, text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text, line: 1 };
    let Some((_, names)) = reader.record()? else { return Err("its first line must name the columns.".to_owned()) };
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return Err("its first line names a column twice.".to_owned());
    }
    let mut rows = Vec::new();
    while let Some((line, fields)) = reader.record()? {
        if fields.len() != names.len() {
            return Err(format!(
                "line {line} has {} fields, and the first line names {} columns.",
                fields.len(),
                names.len()
            ));
        }
        a.spend(fields.len() as u64).map_err(|wrong| wrong.message)?;
        let row: BTreeMap<String, Value> = names.iter().cloned().zip(fields.into_iter().map(Value::from)).collect();
        rows.push(Value::Object(Arc::new(row)));
    }
    Ok(rows.into())
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// The next line that is not empty, with its number: its fields.
    fn record(&mut self) -> Result<Option<(usize, Vec<String>)>, String> {
        while let Some(rest) = self.rest.strip_prefix('\n').or_else(|| self.rest.strip_prefix("\r\n")) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (begin, mut fields) = (self.line, Vec::new());
        loop {
            fields.push(if self.rest.starts_with('"') { self.quoted()? } else { self.plain()? });
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            let rest = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
            self.line += usize::from(rest.is_some());
            self.rest = rest.unwrap_or(self.rest);
            return Ok(Some((begin, fields)));
        }
    }

    fn plain(&mut self) -> Result<String, String> {
        let size = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (mut field, _) = self.rest.split_at(size);
        if self.rest.get(size..).is_some_and(|rest| rest.starts_with('\n')) || size == self.rest.len() {
            field = field.strip_suffix('\r').unwrap_or(field);
        }
        if field.contains('"') {
            return Err(format!("line {} has a quote within a field that does not begin with one.", self.line));
        }
        self.rest = self.rest.get(field.len()..).unwrap_or("");
        if self.rest == "\r" {
            self.rest = "";
        }
        Ok(field.to_owned())
    }

    fn quoted(&mut self) -> Result<String, String> {
        let begin = self.line;
        let mut field = String::new();
        self.rest = self.rest.get(1..).unwrap_or("");
        loop {
            let Some((part, rest)) = self.rest.split_once('"') else {
                return Err(format!("the quote that opens in line {begin} is not closed."));
            };
            self.line += part.matches('\n').count();
            field.push_str(&part.replace("\r\n", "\n"));
            self.rest = rest;
            if let Some(rest) = self.rest.strip_prefix('"') {
                field.push('"');
                self.rest = rest;
            } else if self.rest.is_empty() || self.rest.starts_with([',', '\n']) || self.rest.starts_with("\r\n") {
                return Ok(field);
            } else if self.rest == "\r" {
                self.rest = "";
                return Ok(field);
            } else {
                return Err(format!(
                    "line {} goes on after a closing quote; a quote itself is written twice.",
                    self.line
                ));
            }
        }
    }
}
