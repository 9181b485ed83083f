//! stub
use crate::diag::{Diagnostic, Span};
use std::collections::BTreeMap;

/// A value of the language.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// number
    Number(f64),
    /// string
    String(String),
    /// list
    List(Vec<Value>),
    /// object
    Object(BTreeMap<String, Value>),
    /// unknown
    Unknown,
}

/// Three-valued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// holds
    True,
    /// does not hold
    False,
    /// cannot be answered
    Unknown,
}
/// A field of `repository`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// kind
    Kind,
    /// path
    Path,
    /// id
    Id,
    /// size
    Size,
    /// storage
    Storage,
    /// archived
    Archived,
    /// fork_network
    ForkNetwork,
    /// last_activity
    LastActivity,
    /// created
    Created,
}
/// A field's value, borrowed from the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// the kind lacks it, or it was not read
    Unknown,
    /// bool
    Bool(bool),
    /// whole number
    Integer(u64),
    /// text
    Text(&'a str),
    /// seconds since 1970; text form is RFC 3339
    Time(i64),
}
/// One row that a predicate is asked about.
pub trait Row {
    /// Returns a field's value.
    fn field(&self, field: Field) -> FieldValue<'_>;
}
/// A `where`, compiled once, asked for every repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    truth: bool,
}
impl Predicate {
    /// The predicate that holds for everything.
    pub fn always() -> Self {
        Self { truth: true }
    }
    /// Asks.
    pub fn test(&self, _row: &dyn Row) -> Result<Truth, Box<Diagnostic>> {
        Ok(if self.truth { Truth::True } else { Truth::False })
    }
}
/// An expression whose only free name is one root (`plan`).
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// where it stands
    pub span: Option<Span>,
}
impl Expression {
    /// Evaluates with the free roots given.
    pub fn evaluate(&self, _roots: &BTreeMap<String, Value>) -> Result<Value, Box<Diagnostic>> {
        Ok(Value::Bool(true))
    }
}
