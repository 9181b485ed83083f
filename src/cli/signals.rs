//! Ctrl-C and TERM. The first asks for an orderly end; the second leaves at once, with the journal whole: GitLab goes
//! on by itself, and the next apply takes up from there.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::failure::Failure;

/// The token that the first signal cancels.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    /// Cancelled by the first signal.
    pub(crate) stop: CancellationToken,
}

impl Signals {
    /// Begins to listen; needs a runtime.
    pub(crate) fn listen() -> Self {
        let stop = CancellationToken::new();
        // Registered once, so that none is missed between the first and the second.
        if let Ok(mut source) = Source::new() {
            let token = stop.clone();
            tokio::spawn(async move {
                source.next().await;
                token.cancel();
                source.next().await;
                std::process::exit(i32::from(Exit::Interrupted.code()));
            });
        }
        Self { stop }
    }

    /// Does not listen: a signal ends the process.
    pub(crate) fn deaf() -> Self {
        Self { stop: CancellationToken::new() }
    }

    /// Runs what changes nothing, so that a signal may cut it short.
    pub(crate) async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::interrupted()),
            result = work => Ok(result),
        }
    }
}

/// The signals of this process.
#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
