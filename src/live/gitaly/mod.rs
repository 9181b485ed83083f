//! Gitaly's gRPC, as far as it is needed, over tonic.
//!
//! `grpc` says which call means what, `link` holds one connection per server and repeats reads, `auth` mints the token
//! of each call, `status` judges what came back.

mod auth;
mod grpc;
mod link;
mod status;

pub use auth::bearer;
pub use grpc::GrpcGitaly;
