//! What stands before every request to GitLab: its middleware's limit, the endpoints' own limits, and errors that were
//! ordered (doc/administration/settings/user_and_ip_rate_limits.md, lib/api/helpers/rate_limiter.rb).

use jiff::{SignedDuration, Timestamp};

use super::World;
use super::edition::Ability;

/// What the `RateLimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests a minute.
    pub limit: u64,
    /// Requests in the present period.
    pub observed: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When the next period begins.
    pub reset: Timestamp,
    /// Seconds until then, at least 1.
    pub retry_after: u64,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 500.
    Error,
    /// 429 of the middleware: plain text, `Retry-After`.
    Middleware(Quota),
    /// 429 of the endpoint: JSON, without `Retry-After`.
    Endpoint,
}

/// What the middleware makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The request is not answered.
    pub refused: Option<Refusal>,
    /// What the headers of its answer say.
    pub quota: Option<Quota>,
}

/// True for the endpoints that have a limit of their own.
fn limited_endpoint(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    matches!((parts.next(), parts.next(), parts.next()), (Some("projects"), _, None) | (Some("groups"), None, None))
}

/// Requests in the present period.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    period: i64,
    seen: u64,
    /// Requests while every third is answered 500.
    troubled: u64,
}

/// How long `server_errors` lasts, by the fleet's clock.
const TROUBLE: SignedDuration = SignedDuration::from_mins(10);

impl World {
    /// Counts a request (`path` without `/api/v4`). Limits go by `asked`, the clock of whoever asks, who waits the seconds
    /// that he is told; trouble lasts by `now`, the fleet's.
    pub fn admit(&mut self, method: &str, path: &str, asked: Timestamp, now: Timestamp) -> Admission {
        let quota = self.quota(asked);
        let spent = quota.filter(|(_, spent)| *spent);
        let told = quota.map(|(quota, _)| quota).filter(|_| self.release.can(Ability::LimitsTold));
        // Each counts every request that could meet it, also one that another has already struck.
        let mut error = self.strikes("server_error");
        if self.strikes("server_errors") {
            let gitlab = now.checked_add(TROUBLE).ok();
            self.note(super::Change::Outages(super::Outages { gitlab, ..self.outages.clone() }));
        }
        if self.outages.gitlab.is_some_and(|until| now < until) {
            self.tally.troubled += 1;
            error |= self.tally.troubled.is_multiple_of(3);
        }
        let limited = self.strikes("rate_limit");
        let endpoint = method == "GET" && limited_endpoint(path) && self.strikes("projects_limit");
        let refused = if error {
            Some(Refusal::Error)
        } else if limited {
            let reset = asked.checked_add(SignedDuration::from_secs(1)).unwrap_or(asked);
            Some(Refusal::Middleware(Quota { limit: 120, observed: 121, remaining: 0, reset, retry_after: 1 }))
        } else if let Some((quota, _)) = spent {
            Some(Refusal::Middleware(quota))
        } else {
            endpoint.then_some(Refusal::Endpoint)
        };
        Admission { refused, quota: told }
    }

    /// What is left of an ordered budget, and whether this request is too much.
    fn quota(&mut self, now: Timestamp) -> Option<(Quota, bool)> {
        let fault = self.spec.faults.iter().find(|f| f.kind == "request_budget")?;
        let (allowed, seconds) = (u64::from(fault.nth), i64::from(fault.count.max(1)));
        let period = now.as_second().div_euclid(seconds);
        if self.tally.period != period {
            self.tally = Tally { period, seen: 0, ..self.tally };
        }
        self.tally.seen += 1;
        let reset = Timestamp::from_second((period + 1).saturating_mul(seconds)).unwrap_or(now);
        let quota = Quota {
            limit: (allowed * 60).div_ceil(seconds.unsigned_abs()),
            observed: self.tally.seen,
            remaining: allowed.saturating_sub(self.tally.seen),
            reset,
            retry_after: (reset.as_second() - now.as_second()).max(1).unsigned_abs(),
        };
        Some((quota, self.tally.seen > allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SandboxConnection, SandboxFault, SandboxPods};

    #[test]
    fn trouble_ends_by_the_fleets_clock_and_a_budget_is_spent_by_the_clients() {
        let fault = |kind: &str, nth, count| SandboxFault { kind: kind.to_owned(), nth, count };
        let world = |faults| {
            let spec = SandboxConnection {
                name: "test".to_owned(),
                repositories: 0,
                snippets: 0,
                group_wikis: 0,
                fork_networks: 0,
                real_limit: 0,
                seed: 7,
                speed: 60,
                workers: 1,
                gitlab_version: "18.2.0-ee".to_owned(),
                gitaly_version: "18.2.0".to_owned(),
                storages: Vec::new(),
                pods: SandboxPods::default(),
                faults,
            };
            World::new(spec, Timestamp::UNIX_EPOCH)
        };
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let refused = |world: &mut World, asked, now| {
            (0..3).filter(|_| world.admit("GET", "/version", at(asked), at(now)).refused.is_some()).count()
        };
        let mut troubled = world(vec![fault("server_errors", 1, 1)]);
        assert_eq!(refused(&mut troubled, 0, 0), 1);
        assert_eq!(refused(&mut troubled, 60, 9), 1, "an hour of the client's is nothing to the fleet");
        assert_eq!(refused(&mut troubled, 60, 10), 0);
        let mut short = world(vec![fault("request_budget", 1, 60)]);
        assert_eq!(refused(&mut short, 0, 0), 2);
        assert_eq!(refused(&mut short, 0, 60), 3, "an hour of the fleet's is nothing to the client");
        assert_eq!(refused(&mut short, 1, 60), 2);
    }
}
