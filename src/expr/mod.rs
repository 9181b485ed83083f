//! The language's expressions: values, the tree with its spans, the evaluator, the functions, and predicates that are
//! compiled once and asked for every repository. Pure, and knows nothing of HCL's syntax: `config` makes the trees.

mod check;
mod differences;
mod eval;
mod expression;
mod field;
mod fold;
mod functions;
mod number;
mod operators;
mod predicate;
pub mod tree;
mod types;
mod value;

pub use check::Shape;
pub use differences::DIFFERENCES;
pub(crate) use eval::absent;
pub use eval::{Fault, Files, Names, evaluate, explain};
pub use expression::Expression;
pub use field::FieldDoc;
pub use functions::{Function, Takes, all as functions, parse_duration};
pub use number::{ArithmeticError, Number};
pub use predicate::{Field, FieldValue, Predicate, Row, Truth};
pub use types::{Attribute, Mismatch, Part, Type, convert, is_name};
pub use value::Value;
