//! The two clocks: real time, and a fleet's time that runs faster.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::apply::port::Clock;

/// Real time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A fleet's clock that runs faster: `fleet = fleet_epoch + (real - real_epoch) × speed`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScaledClock {
    /// The fleet's time at `real_epoch`.
    pub fleet_epoch: Timestamp,
    /// Real time.
    pub real_epoch: Timestamp,
    /// At least 1.
    pub speed: u32,
}

impl ScaledClock {
    /// The fleet's time at a real time. Ends at the last time that can be written rather than wrapping.
    pub fn at(&self, real: Timestamp) -> Timestamp {
        let elapsed = real.duration_since(self.real_epoch).as_nanos().saturating_mul(i128::from(self.speed.max(1)));
        let seconds = i64::try_from(elapsed.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let rest = i32::try_from(elapsed.rem_euclid(1_000_000_000)).unwrap_or(0);
        let end = if elapsed < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.fleet_epoch.checked_add(SignedDuration::new(seconds, rest)).unwrap_or(end)
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.at(Timestamp::now())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / self.speed.max(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_fleets_time_runs_at_its_speed_from_its_own_epoch() {
        let clock = ScaledClock {
            fleet_epoch: time("2026-01-01T00:00:00Z"),
            real_epoch: time("2030-06-01T12:00:00Z"),
            speed: 60,
        };
        assert_eq!(clock.at(time("2030-06-01T12:00:00Z")), time("2026-01-01T00:00:00Z"));
        assert_eq!(clock.at(time("2030-06-01T12:00:01.5Z")), time("2026-01-01T00:01:30Z"));
        assert_eq!(clock.at(time("2030-06-01T11:59:59.5Z")), time("2025-12-31T23:59:30Z"));
    }

    #[test]
    fn no_speed_makes_it_panic() {
        let clock =
            ScaledClock { fleet_epoch: Timestamp::MAX, real_epoch: time("2026-01-01T00:00:00Z"), speed: u32::MAX };
        assert_eq!(clock.at(Timestamp::MAX), Timestamp::MAX);
        let still = ScaledClock { speed: 0, ..clock };
        assert_eq!(still.at(Timestamp::MIN), still.at(Timestamp::MIN));
    }

    #[tokio::test]
    async fn sleeping_takes_a_part_of_the_time() {
        let clock = ScaledClock { fleet_epoch: Timestamp::UNIX_EPOCH, real_epoch: Timestamp::now(), speed: 1000 };
        let before = std::time::Instant::now();
        clock.sleep(Duration::from_secs(20)).await;
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(10), "{took:?}");
    }
}
