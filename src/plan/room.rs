//! How full a disk is, in four steps around its ceiling (safe-migration §9): states that are shown, not errors.

use serde::{Deserialize, Serialize};

use crate::model::Bytes;

/// Points below the ceiling, in thousandths of the disk, from which on a plan assigns nothing that fits elsewhere: a
/// disk that is filled to its ceiling has nothing left for what users push meanwhile. At ten times that nothing would be
/// placed at all; at a tenth, a day's pushes would stop a wave.
pub const SOFT_BELOW: u16 = 100;

/// Points above the ceiling at which something else fills the disk, and fast: moves are not what was planned any more.
pub const PANIC_ABOVE: u16 = 70;

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomLevel {
    /// Below the soft level.
    #[default]
    Open,
    /// At the soft level: plans assign there only what fits nowhere else.
    Soft,
    /// At the ceiling: moves there wait.
    Hard,
    /// Well above it: the wave stops.
    Panic,
}

impl RoomLevel {
    /// The level of a disk with so much used; `ceiling` in thousandths.
    pub fn of(used: Bytes, capacity: Bytes, ceiling: u16) -> Self {
        let at = |permille: u16| {
            u128::from(used.0) * 1000 >= u128::from(capacity.0) * u128::from(permille.min(1000)) && capacity.0 > 0
        };
        if ceiling.saturating_add(PANIC_ABOVE) <= 1000 && at(ceiling + PANIC_ABOVE) {
            Self::Panic
        } else if at(ceiling) {
            Self::Hard
        } else if at(ceiling.saturating_sub(SOFT_BELOW)) {
            Self::Soft
        } else {
            Self::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_stand_around_the_ceiling() {
        use RoomLevel::{Hard, Open, Panic, Soft};
        for (used, ceiling, level) in [
            (749, 850, Open),
            (750, 850, Soft),
            (849, 850, Soft),
            (850, 850, Hard),
            (919, 850, Hard),
            (920, 850, Panic),
            (1000, 950, Hard),
            (0, 50, Soft),
        ] {
            assert_eq!(RoomLevel::of(Bytes(used), Bytes(1000), ceiling), level, "{used} of {ceiling}");
        }
        assert_eq!(RoomLevel::of(Bytes(0), Bytes(0), 850), Open);
    }
}
