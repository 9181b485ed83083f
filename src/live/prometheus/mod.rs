//! Prometheus' HTTP API, as far as gates, signals and vetoes need it, over reqwest: instant queries and range queries.
//!
//! `http` sends and repeats, `answer` judges and reads what came back.
//! (prometheus.io/docs/prometheus/latest/querying/api; Thanos, Mimir and VictoriaMetrics answer alike.)

mod answer;
mod http;

pub use http::HttpMetrics;
