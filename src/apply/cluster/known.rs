//! Waits until GitLab lists a storage.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Halt, Hand, Learned, Said, Step, failed};
use crate::apply::event::Outcome;
use crate::model::StorageName;

/// Between two readings of GitLab's settings.
const INTERVAL: Duration = Duration::from_secs(5);

impl Hand {
    /// Waits until GitLab lists the storage.
    pub(super) async fn await_known(&self, storage: &StorageName, seconds: u32) -> Step<(String, Option<Learned>)> {
        let until = self.now().checked_add(SignedDuration::from_secs(i64::from(seconds)));
        let until = until.unwrap_or(jiff::Timestamp::MAX);
        let (mut said, mut tries) = (Said::default(), self.tries());
        loop {
            let answer = self.ports.gitlab.weights().await;
            if let Some(weights) = self.patient(&mut tries, answer).await? {
                if weights.contains_key(storage) {
                    return Ok(("GitLab lists it".to_owned(), None));
                }
                tries = self.tries();
            }
            if self.now() >= until {
                return failed(format!(
                    "GitLab does not list {storage} after {seconds} s: declare it there (`tranship render` prints how), \
                     then apply again"
                ));
            }
            self.say(&mut said, &format!("waiting until GitLab lists {storage}"));
            if !self.pause(INTERVAL).await {
                return Err(Halt::Outcome(Outcome::NotStarted));
            }
        }
    }
}
