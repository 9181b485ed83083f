//! `apply --metrics ADDR`: serves what a run says to Prometheus, at `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use super::failure::Failure;
use crate::apply::counted::{Counted, Counts};
use crate::apply::port::{Clock, Ports};
use crate::ui::Metrics;

/// An address to serve at, as it is typed.
pub(super) fn parse(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port, such as 127.0.0.1:9464 ([::1]:9464 for IPv6); names are not resolved"
            .to_owned()
    })
}

/// A port that is ours, before anything is done.
pub(super) struct Listener {
    listener: tokio::net::TcpListener,
}

impl Listener {
    /// Takes the port.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            Failure::new(
                format!("the metrics cannot be served at {address}: {error}; nothing was done"),
                "Choose another address, or stop what listens there: --metrics 127.0.0.1:9464",
            )
        })?;
        Ok(Self { listener })
    }

    /// Where it listens; the system chooses a port for 0.
    pub(super) fn url(&self) -> Option<String> {
        self.listener.local_addr().ok().map(|address| format!("http://{address}/metrics"))
    }

    /// Serves from now on, until the process ends. Requests made through the ports are counted from here on.
    pub(super) fn serve(self, ports: &mut Ports) -> Result<Metrics, Failure> {
        let metrics = Metrics::new().map_err(|error| Failure::new(error, ""))?;
        let (counted, counts) = Counted::new(Arc::clone(&ports.gitlab));
        ports.gitlab = counted;
        let shown = Shown { metrics: metrics.clone(), counts, clock: Arc::clone(&ports.clock) };
        let page = move || {
            let shown = shown.clone();
            async move { shown.page() }
        };
        let router = axum::Router::new().route("/metrics", get(page));
        tokio::spawn(async move {
            // A scraper that goes away ends its own connection only.
            drop(axum::serve(self.listener, router).await);
        });
        Ok(metrics)
    }
}

#[derive(Clone)]
struct Shown {
    metrics: Metrics,
    counts: Counts,
    clock: Arc<dyn Clock>,
}

impl Shown {
    fn page(&self) -> axum::response::Response {
        match self.metrics.text(self.clock.now(), &self.counts.by_call()) {
            Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        }
    }
}
