//! Keeps within GitLab's request limits: waits out a limit that was met, and spaces what follows so that it is not met
//! again. Nothing is held back before GitLab has said, by a 429 or by its `RateLimit-*` headers, that there is a limit:
//! most are off by default. (GitLab docs, "User and IP rate limits", "Rate limit on Projects API", "… Groups API".)

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap};

use super::http::header;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Every request of the token's owner: the middleware's.
    All,
    /// `GET /projects`.
    Projects,
    /// `GET /projects/:id`.
    Project,
    /// `GET /groups`.
    Groups,
}

impl Class {
    /// Which endpoint's limit a call counts against, beside [`Class::All`].
    pub(super) fn of(method: &str, path: &str) -> Self {
        let mut parts = path.trim_start_matches('/').split('/');
        match (method, parts.next(), parts.next(), parts.next()) {
            ("GET", Some("projects"), None, None) => Self::Projects,
            ("GET", Some("projects"), Some(_), None) => Self::Project,
            ("GET", Some("groups"), None, None) => Self::Groups,
            _ => Self::All,
        }
    }

    /// An endpoint's own limit, requests and seconds, which no header tells.
    fn limit(self) -> Option<(u64, u64)> {
        match self {
            Self::All => None,
            Self::Projects => Some((2000, 600)),
            Self::Project => Some((400, 60)),
            Self::Groups => Some((200, 60)),
        }
    }

    /// What an operator reads.
    fn what(self) -> &'static str {
        match self {
            Self::All => "all requests",
            Self::Projects => "lists of projects",
            Self::Project => "single projects",
            Self::Groups => "lists of groups",
        }
    }
}

/// A wait for GitLab's rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What the limit counts.
    pub what: &'static str,
    /// About how long it may take until all goes on.
    pub left: Duration,
}

/// Where waits are told. Called from within calls: it must not block.
pub type Tell = Arc<dyn Fn(&Wait) + Send + Sync>;

/// Waits shorter than this are told to nobody.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// Waits are told at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(15);
/// The longest wait before a limit is tried again whose end GitLab does not tell.
const LONGEST_STEP: Duration = Duration::from_secs(30);

/// One limit, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    /// The next request may leave then.
    next: Option<Instant>,
    /// Between requests.
    space: Duration,
    /// Until when that space is kept; `None`: for good.
    until: Option<Instant>,
}

/// The limits of one GitLab.
#[derive(Default)]
pub(super) struct Pace {
    gates: Mutex<[Gate; 4]>,
    told: Mutex<Option<Instant>>,
    tell: Option<Tell>,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace")
    }
}

impl Pace {
    pub(super) fn telling(tell: Tell) -> Self {
        Self { tell: Some(tell), ..Self::default() }
    }

    fn with<T>(&self, class: Class, f: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let [all, projects, project, groups] = &mut *gates;
        f(match class {
            Class::All => all,
            Class::Projects => projects,
            Class::Project => project,
            Class::Groups => groups,
        })
    }

    /// Waits until a request of this class may leave.
    pub(super) async fn admit(&self, class: Class) {
        let endpoint = (class != Class::All).then_some(class);
        for class in [Some(Class::All), endpoint].into_iter().flatten() {
            let now = Instant::now();
            let wait = self.with(class, |gate| {
                let at = gate.next.map_or(now, |next| next.max(now));
                let space = if gate.until.is_none_or(|until| at < until) { gate.space } else { Duration::ZERO };
                gate.next = Some(at + space);
                at - now
            });
            if !wait.is_zero() {
                self.say(class, wait);
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Learns from the headers of an answer that came: what is left of the period is spread over it once it runs low.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        let Some((limit, remaining)) = number(headers, "ratelimit-limit").zip(number(headers, "ratelimit-remaining"))
        else {
            return;
        };
        let Some(left) = until_reset(headers) else { return };
        // Below a tenth of a minute's share; others may use the same token.
        let low = remaining <= (limit / 10).max(5) && !left.is_zero();
        self.with(Class::All, |gate| {
            if low {
                let parts = u32::try_from(remaining.max(1)).unwrap_or(u32::MAX);
                (gate.space, gate.until) = (left / parts, Some(Instant::now() + left));
            }
        });
    }

    /// Takes note of a 429; returns how long to wait. `attempt`: which of this call it was, from 1.
    pub(super) fn refused(&self, class: Class, headers: &HeaderMap, asked: Option<Duration>, attempt: u32) -> Duration {
        let told = asked.or_else(|| until_reset(headers));
        let (class, wait, left) = match (told, class.limit()) {
            // The middleware's: it counts everything.
            (Some(wait), _) => (Class::All, wait, wait),
            (None, limit) => {
                let step = Duration::from_secs(1 << attempt.clamp(1, 6).saturating_sub(1)).min(LONGEST_STEP);
                // Counted in periods that begin where the server's clock is a multiple of them.
                let left = limit.zip(served_at(headers)).map(|((_, period), at)| period - at % period);
                (class, step, left.map_or(step, Duration::from_secs))
            }
        };
        self.with(class, |gate| {
            let then = Instant::now() + wait.min(Duration::from_secs(86_400));
            gate.next = Some(gate.next.map_or(then, |next| next.max(then)));
            if let Some((requests, period)) = class.limit() {
                // Nine tenths of the limit: the rest is for others who use the same token.
                gate.space = Duration::from_millis(period * 1000 * 10 / (requests * 9));
                gate.until = None;
            }
        });
        self.say(class, left.max(wait));
        wait
    }

    fn say(&self, class: Class, left: Duration) {
        let Some(tell) = self.tell.as_ref().filter(|_| left >= WORTH_TELLING) else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tell(&Wait { what: class.what(), left });
        }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    header(headers, name)?.trim().parse().ok()
}

/// When the answer was sent, by the server's clock, seconds since 1970.
fn served_at(headers: &HeaderMap) -> Option<u64> {
    let date = rfc2822::parse(header(headers, DATE.as_str())?).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

/// How long the period lasts, by the server's own clock, at least a second.
fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    let reset = number(headers, "ratelimit-reset")?;
    let now = served_at(headers).or_else(|| u64::try_from(Timestamp::now().as_second()).ok())?;
    Some(Duration::from_secs(reset.saturating_sub(now).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        map
    }

    const NOON: &str = "Mon, 05 Jan 2026 12:04:10 GMT";

    #[test]
    fn each_endpoint_has_its_class() {
        for (method, path, class) in [
            ("GET", "/projects", Class::Projects),
            ("GET", "/projects/12", Class::Project),
            ("GET", "/projects/12/storage", Class::All),
            ("POST", "/projects/12/repository_storage_moves", Class::All),
            ("GET", "/groups", Class::Groups),
            ("GET", "/groups/7", Class::All),
            ("GET", "/snippets/all", Class::All),
        ] {
            assert_eq!(Class::of(method, path), class, "{method} {path}");
        }
    }

    #[test]
    fn a_limit_without_words_is_tried_again_soon_and_its_end_is_told_by_the_servers_clock() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let pace = Pace::telling(Arc::new(move |wait: &Wait| into.lock().expect("unpoisoned").push(wait.clone())));
        let waits: Vec<u64> =
            (1..=7).map(|n| pace.refused(Class::Projects, &headers(&[("date", NOON)]), None, n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        // 12:04:10 is 250 s into its period of 600 s.
        let left = Duration::from_secs(350);
        assert_eq!(*told.lock().expect("unpoisoned"), [Wait { what: "lists of projects", left }]);
        let space = |class| pace.with(class, |gate| gate.space);
        assert_eq!((space(Class::Projects), space(Class::All)), (Duration::from_millis(333), Duration::ZERO));
    }

    #[test]
    fn a_limit_that_says_when_it_ends_is_waited_for_by_everybody() {
        let pace = Pace::default();
        let wait = pace.refused(Class::Project, &headers(&[("date", NOON)]), Some(Duration::from_secs(40)), 1);
        assert_eq!(wait.as_secs(), 40);
        let reset = headers(&[("date", NOON), ("ratelimit-reset", "1767614700")]);
        assert_eq!(pace.refused(Class::Project, &reset, None, 1).as_secs(), 50);
        let next = pace.with(Class::All, |gate| gate.next).expect("set");
        assert!(next.duration_since(Instant::now()) > Duration::from_secs(45));
        assert!(pace.with(Class::Project, |gate| gate.next).is_none());
    }

    #[test]
    fn what_is_left_is_spread_over_the_rest_of_the_period() {
        let pace = Pace::default();
        let answer = |remaining: &str| {
            headers(&[
                ("date", NOON),
                ("ratelimit-limit", "120"),
                ("ratelimit-remaining", remaining),
                ("ratelimit-reset", "1767614710"),
            ])
        };
        pace.learn(&answer("100"));
        assert_eq!(pace.with(Class::All, |gate| gate.space), Duration::ZERO, "plenty is left");
        pace.learn(&answer("6"));
        assert_eq!(pace.with(Class::All, |gate| gate.space), Duration::from_secs(10));
        pace.learn(&headers(&[("ratelimit-remaining", "x")]));
    }
}
