//! What the integration tests share: a cluster, a temporary home with `tranship` on PATH, scripts with their expected
//! output, and the one redactor.

pub(crate) mod cluster;
#[cfg(feature = "sandbox")]
pub(crate) mod heard;
pub(crate) mod home;
#[cfg(feature = "sandbox")]
pub(crate) mod memory_cluster;
#[cfg(feature = "sandbox")]
pub(crate) mod pods;
pub(crate) mod redact;
pub(crate) mod script;

use camino::Utf8PathBuf;

/// The project's folder.
pub(crate) fn project() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
