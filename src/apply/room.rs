//! Slots and room: what may be in flight at once, and what a destination's disk still takes. Pure.

use std::collections::BTreeMap;

use crate::model::{Bytes, DiskSpace, StorageName};
use crate::plan::{Plan, need};

/// Slots in use, globally and per storage.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    used: usize,
    storages: BTreeMap<StorageName, (usize, usize)>,
}

impl Slots {
    pub(crate) fn new(plan: &Plan) -> Self {
        let storages = plan.storages.iter().map(|(name, s)| (name.clone(), (s.max_moves as usize, 0))).collect();
        Self { most: plan.max_moves as usize, used: 0, storages }
    }

    /// True when a move between these can begin now, with `foreign` workers busy for others.
    pub(crate) fn free(&self, source: &StorageName, destination: &StorageName, foreign: usize) -> bool {
        // One slot stays ours, or a busy GitLab would starve us for ever; law 9's wait is then a worker's queue of one.
        let most = self.most.saturating_sub(foreign).max(1);
        let free = |name| self.storages.get(name).is_none_or(|(most, used)| used < most);
        self.used < most && free(source) && free(destination)
    }

    pub(crate) fn take(&mut self, source: &StorageName, destination: &StorageName) {
        self.used += 1;
        for name in [source, destination] {
            if let Some((_, used)) = self.storages.get_mut(name) {
                *used += 1;
            }
        }
    }

    pub(crate) fn give(&mut self, source: &StorageName, destination: &StorageName) {
        self.used = self.used.saturating_sub(1);
        for name in [source, destination] {
            if let Some((_, used)) = self.storages.get_mut(name) {
                *used = used.saturating_sub(1);
            }
        }
    }
}

/// What a destination's disk still takes (law 8).
#[derive(Debug, Default)]
pub(crate) struct Room {
    disks: BTreeMap<StorageName, Disk>,
}

#[derive(Debug, Clone, Copy)]
struct Disk {
    used: u64,
    ceiling: u64,
    /// Of moves in flight, and of those that ended since the disk was measured.
    reserved: u64,
}

impl Room {
    /// Takes a measurement. What is in flight stays reserved; what ended before it is in the measured bytes.
    pub(crate) fn measured(&mut self, name: &StorageName, space: DiskSpace, permille: u16, in_flight: u64) {
        let capacity = u128::from(space.used.0) + u128::from(space.available.0);
        let ceiling = u64::try_from(capacity * u128::from(permille) / 1000).unwrap_or(u64::MAX);
        self.disks.insert(name.clone(), Disk { used: space.used.0, ceiling, reserved: in_flight });
    }

    /// True when it was measured in this run.
    pub(crate) fn knows(&self, name: &StorageName) -> bool {
        self.disks.contains_key(name)
    }

    /// Bytes that are still free below the ceiling; 0 for a disk that was never measured.
    pub(crate) fn free(&self, name: &StorageName) -> u64 {
        self.disks.get(name).map_or(0, |d| d.ceiling.saturating_sub(d.used.saturating_add(d.reserved)))
    }

    /// True when a move of that many bytes fits, with inflation.
    pub(crate) fn fits(&self, name: &StorageName, bytes: Bytes) -> bool {
        need(bytes).0 <= self.free(name)
    }

    pub(crate) fn reserve(&mut self, name: &StorageName, bytes: Bytes) {
        if let Some(disk) = self.disks.get_mut(name) {
            disk.reserved = disk.reserved.saturating_add(need(bytes).0);
        }
    }

    /// A move failed: what it would have brought is free again.
    pub(crate) fn release(&mut self, name: &StorageName, bytes: Bytes) {
        if let Some(disk) = self.disks.get_mut(name) {
            disk.reserved = disk.reserved.saturating_sub(need(bytes).0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_8_what_is_in_flight_counts() {
        let name = StorageName::new("b").expect("valid");
        let mut room = Room::default();
        assert!(!room.fits(&name, Bytes(1)), "a disk that was never measured takes nothing");
        room.measured(&name, DiskSpace { available: Bytes(900), used: Bytes(100) }, 500, 0);
        assert!(room.fits(&name, Bytes(360)));
        room.reserve(&name, Bytes(300));
        assert!(!room.fits(&name, Bytes(100)));
        room.release(&name, Bytes(300));
        assert!(room.fits(&name, Bytes(360)));
        assert!(!room.fits(&name, Bytes(370)), "need is inflated by a tenth");
    }
}
