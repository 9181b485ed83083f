//! GitLab's REST API, as far as it is needed, over reqwest.
//!
//! `rest` says which call means what, `http` sends and repeats, `answer` judges what came back, `json` holds the
//! documents' shapes, `count` counts what GitLab only lists by offset.

mod answer;
mod count;
mod http;
mod json;
mod rest;

pub use http::Patience;
pub use rest::RestGitLab;
