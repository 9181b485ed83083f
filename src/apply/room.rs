//! Slots and room: what may be in flight at once, and what a destination's disk still takes. Pure.

use std::collections::BTreeMap;

use super::pace::{End, Role};
use crate::model::{Bytes, DiskSpace, StorageName};
use crate::plan::room::RoomLevel;
use crate::plan::{Plan, need};

/// Slots in use, globally and per storage.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    used: usize,
    storages: BTreeMap<StorageName, Used>,
}

/// Slots of one storage: declared for both roles together, found for each apart.
#[derive(Debug)]
struct Used {
    most: usize,
    out: usize,
    into: usize,
    out_most: usize,
    into_most: usize,
}

/// What limits us from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Moves of others that have not ended.
    pub(crate) foreign: usize,
    /// Moves of all that GitLab's workers take at once, as far as that was found.
    pub(crate) workers: usize,
}

/// What keeps a move from beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    /// The moves that may be outstanding in all, as declared.
    All,
    /// The same, less what others have under way.
    Foreign,
    /// GitLab's workers.
    Workers,
    /// A storage's declared limit.
    Declared,
    /// What was found for an end, below what is declared.
    Found(End),
}

impl Slots {
    pub(crate) fn new(plan: &Plan) -> Self {
        let used = |most: u32| Used {
            most: most as usize,
            out: 0,
            into: 0,
            out_most: most as usize,
            into_most: most as usize,
        };
        let storages = plan.storages.iter().map(|(name, s)| (name.clone(), used(s.max_moves))).collect();
        Self { most: plan.max_moves as usize, used: 0, storages }
    }

    /// Sets what was found for one end.
    pub(crate) fn set_limit(&mut self, end: &End, most: u32) {
        if let Some(used) = self.storages.get_mut(&end.storage) {
            let limit = match end.role {
                Role::Source => &mut used.out_most,
                Role::Destination => &mut used.into_most,
            };
            *limit = most as usize;
        }
    }

    /// What keeps a move between these from beginning now; `None`: nothing.
    pub(crate) fn binding(&self, source: &StorageName, destination: &StorageName, outside: Outside) -> Option<Binding> {
        if self.used >= self.most {
            return Some(Binding::All);
        }
        for (storage, role) in [(source, Role::Source), (destination, Role::Destination)] {
            let Some(Used { most, out, into, out_most, into_most }) = self.storages.get(storage) else { continue };
            let (used, found) = match role {
                Role::Source => (out, out_most),
                Role::Destination => (into, into_most),
            };
            if used >= found && found < most {
                return Some(Binding::Found(End { storage: storage.clone(), role }));
            }
            if out + into >= *most {
                return Some(Binding::Declared);
            }
        }
        // Law 9: only what a worker can take at once. Where others' moves never end, more workers are tried in time.
        if self.used >= outside.workers.saturating_sub(outside.foreign) {
            return Some(Binding::Workers);
        }
        // What is declared is a person's figure: one slot stays ours where a worker is known to be free.
        (self.used >= self.most.saturating_sub(outside.foreign).max(1)).then_some(Binding::Foreign)
    }

    pub(crate) fn take(&mut self, source: &StorageName, destination: &StorageName) {
        self.used += 1;
        if let Some(used) = self.storages.get_mut(source) {
            used.out += 1;
        }
        if let Some(used) = self.storages.get_mut(destination) {
            used.into += 1;
        }
    }

    pub(crate) fn give(&mut self, source: &StorageName, destination: &StorageName) {
        self.used = self.used.saturating_sub(1);
        if let Some(used) = self.storages.get_mut(source) {
            used.out = used.out.saturating_sub(1);
        }
        if let Some(used) = self.storages.get_mut(destination) {
            used.into = used.into.saturating_sub(1);
        }
    }
}

/// What a destination's disk still takes (law 8).
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Ceiling in thousandths, and bytes that new repositories will bring.
    limits: BTreeMap<StorageName, (u16, u64)>,
    disks: BTreeMap<StorageName, Disk>,
}

#[derive(Debug, Clone, Copy)]
struct Disk {
    used: u64,
    capacity: u64,
    ceiling: u64,
    /// Of moves in flight, and of those that ended since the disk was measured.
    reserved: u64,
    /// Of moves that ended since it was last asked for: the answer may not show them yet.
    landed: u64,
}

impl Room {
    pub(crate) fn new(plan: &Plan) -> Self {
        let limits = plan.storages.iter().map(|(name, s)| (name.clone(), (s.disk_ceiling_permille, s.growth.0)));
        Self { limits: limits.collect(), disks: BTreeMap::new() }
    }

    /// A disk is about to be measured.
    pub(crate) fn asked(&mut self, name: &StorageName) {
        if let Some(disk) = self.disks.get_mut(name) {
            disk.landed = 0;
        }
    }

    /// Takes a measurement. What is in flight stays reserved; what ended before it is in the measured bytes. Room for new
    /// repositories is kept below the ceiling.
    pub(crate) fn measured(&mut self, name: &StorageName, space: DiskSpace, in_flight: u64) {
        let (permille, growth) = self.limits.get(name).copied().unwrap_or((850, 0));
        let capacity = space.used.0.saturating_add(space.available.0);
        let ceiling = u64::try_from(u128::from(capacity) * u128::from(permille) / 1000).unwrap_or(u64::MAX);
        let landed = self.disks.get(name).map_or(0, |disk| disk.landed);
        let reserved = in_flight.saturating_add(landed);
        let ceiling = ceiling.saturating_sub(growth);
        self.disks.insert(name.clone(), Disk { used: space.used.0, capacity, ceiling, reserved, landed: 0 });
    }

    /// True when it was measured in this run.
    pub(crate) fn knows(&self, name: &StorageName) -> bool {
        self.disks.contains_key(name)
    }

    /// How full it was when it was measured.
    pub(crate) fn level(&self, name: &StorageName) -> RoomLevel {
        let permille = self.limits.get(name).map_or(850, |(permille, _)| *permille);
        let disk = self.disks.get(name);
        disk.map_or(RoomLevel::Open, |disk| RoomLevel::of(Bytes(disk.used), Bytes(disk.capacity), permille))
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

    /// A move ended well. True when so much came since the last measurement, a hundredth of the disk, that another is
    /// due: what others write there is seen by nothing else.
    pub(crate) fn landed(&mut self, name: &StorageName, bytes: Bytes) -> bool {
        let Some(disk) = self.disks.get_mut(name) else { return false };
        disk.landed = disk.landed.saturating_add(need(bytes).0);
        disk.landed > disk.capacity / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_binds_and_one_slot_stays_ours() {
        let name = |text: &str| StorageName::new(text).expect("valid");
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let used = |most| Used { most, out: 0, into: 0, out_most: most, into_most: most };
        let storages = [(a.clone(), used(4)), (b.clone(), used(2)), (c.clone(), used(4))];
        let mut slots = Slots { most: 4, used: 0, storages: storages.into_iter().collect() };
        let free = Outside { foreign: 0, workers: 100 };
        assert_eq!(slots.binding(&a, &b, free), None);
        assert_eq!(slots.binding(&a, &b, Outside { foreign: 4, workers: 4 }), Some(Binding::Workers), "none is free");
        assert_eq!(slots.binding(&a, &b, Outside { foreign: 50, workers: 51 }), None, "one stays ours");
        slots.take(&a, &b);
        assert_eq!(slots.binding(&a, &b, Outside { foreign: 50, workers: 100 }), Some(Binding::Foreign));
        assert_eq!(slots.binding(&a, &b, Outside { foreign: 0, workers: 1 }), Some(Binding::Workers));
        slots.take(&a, &b);
        assert_eq!(slots.binding(&a, &b, free), Some(Binding::Declared));
        assert_eq!(slots.binding(&b, &a, free), Some(Binding::Declared), "a storage's limit is for both roles");
        let end = End { storage: a.clone(), role: Role::Source };
        slots.set_limit(&end, 2);
        assert_eq!(slots.binding(&a, &c, free), Some(Binding::Found(end.clone())));
        assert_eq!(slots.binding(&c, &a, free), None, "as destination it has slots");
        slots.give(&a, &b);
        assert_eq!(slots.binding(&a, &c, free), None);
        slots.set_limit(&end, 0);
        assert_eq!(slots.binding(&a, &c, free), Some(Binding::Found(end)), "paused");
    }

    #[test]
    fn law_8_what_is_in_flight_counts() {
        let name = StorageName::new("b").expect("valid");
        let mut room = Room::default();
        assert!(!room.fits(&name, Bytes(1)), "a disk that was never measured takes nothing");
        room.limits.insert(name.clone(), (500, 0));
        let space = DiskSpace { available: Bytes(900), used: Bytes(100) };
        room.measured(&name, space, 0);
        assert!(room.fits(&name, Bytes(360)));
        room.reserve(&name, Bytes(300));
        assert!(!room.fits(&name, Bytes(100)));
        room.release(&name, Bytes(300));
        assert!(room.fits(&name, Bytes(360)));
        assert!(!room.fits(&name, Bytes(370)), "need is inflated by a tenth");
        // What new repositories will bring is no room for moves.
        room.limits.insert(name.clone(), (500, 40));
        room.measured(&name, space, 0);
        assert_eq!(room.free(&name), 360);
    }

    #[test]
    fn what_ends_while_a_disk_is_measured_still_counts() {
        let name = StorageName::new("b").expect("valid");
        let mut room = Room::default();
        room.measured(&name, DiskSpace { available: Bytes(10_000), used: Bytes(0) }, 0);
        room.reserve(&name, Bytes(100));
        room.reserve(&name, Bytes(90));
        assert!(room.landed(&name, Bytes(100)), "110 of 10,000: another measurement is due");
        room.asked(&name);
        assert!(!room.landed(&name, Bytes(90)));
        // The answer shows the first, and perhaps not the second; nothing is in flight.
        room.measured(&name, DiskSpace { available: Bytes(9_890), used: Bytes(110) }, 0);
        assert_eq!(room.free(&name), 8_500 - 110 - 99);
    }

    #[test]
    fn levels_are_those_of_what_was_measured() {
        let name = StorageName::new("b").expect("valid");
        let mut room = Room::default();
        assert_eq!(room.level(&name), RoomLevel::Open);
        for (used, level) in
            [(700, RoomLevel::Open), (800, RoomLevel::Soft), (900, RoomLevel::Hard), (930, RoomLevel::Panic)]
        {
            room.measured(&name, DiskSpace { available: Bytes(1000 - used), used: Bytes(used) }, 0);
            assert_eq!(room.level(&name), level);
        }
    }
}
