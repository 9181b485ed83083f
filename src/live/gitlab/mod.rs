//! GitLab's REST API, as far as it is needed, over reqwest.
//!
//! `rest` says which call means what, `http` sends and repeats, `answer` judges what came back, `json` holds the
//! documents' shapes, `list` reads the pages of what is on a storage, `pace` keeps
//! within request limits.

mod answer;
mod http;
mod json;
mod list;
mod pace;
mod rest;

pub use http::Patience;
pub use pace::{Tell, Wait};
pub use rest::RestGitLab;
