//! What was answered to vetoes. Three-valued: what cannot be answered holds too, and says so.

use crate::apply::port::Series;

/// An answer to one veto.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It lets go.
    Free,
    /// It holds, with the reason.
    Held(String),
    /// It could not be asked, or its answer says nothing.
    Unknown(String),
}

impl Answer {
    /// Why a veto of that name holds; `None`: it lets go.
    pub(crate) fn holds(&self, name: &str) -> Option<String> {
        match self {
            Self::Free => None,
            Self::Held(why) => Some(format!("veto {name}: {why}")),
            Self::Unknown(why) => Some(format!("veto {name} holds, as it cannot be answered: {why}")),
        }
    }
}

/// What a query's answer means: any element other than 0 holds. An empty vector lets go: `ALERTS{…}` is empty when
/// nothing is wrong.
pub(crate) fn of_series(series: &[Series]) -> Answer {
    let mut unknown = None;
    for one in series {
        let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let name = if labels.is_empty() { "the answer".to_owned() } else { format!("{{{}}}", labels.join(",")) };
        match one.points.last() {
            Some((_, value)) if value.is_nan() => unknown = Some(format!("{name} is NaN")),
            Some((_, value)) if *value != 0.0 => return Answer::Held(format!("{name} is {value}")),
            Some(_) => {}
            None => unknown = Some(format!("{name} has no value")),
        }
    }
    unknown.map_or(Answer::Free, Answer::Unknown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    #[test]
    fn any_element_other_than_0_holds_and_nan_says_nothing() {
        let one = |value: f64| Series {
            labels: BTreeMap::from([("alertname".to_owned(), "Disk".to_owned())]),
            points: vec![(Timestamp::UNIX_EPOCH, value)],
        };
        assert_eq!(of_series(&[]), Answer::Free);
        assert_eq!(of_series(&[one(0.0)]), Answer::Free);
        assert_eq!(of_series(&[one(0.0), one(1.0)]), Answer::Held("{alertname=\"Disk\"} is 1".into()));
        assert_eq!(of_series(&[one(f64::NAN), one(0.0)]), Answer::Unknown("{alertname=\"Disk\"} is NaN".into()));
        assert_eq!(of_series(&[one(f64::NAN), one(2.0)]), Answer::Held("{alertname=\"Disk\"} is 2".into()));
    }
}
