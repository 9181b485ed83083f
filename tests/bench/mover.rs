//! How near placement and order come to what is possible, with the planner's own code: the fullest target over its
//! bound, and the makespan over its bound for moves in the order of ids, small first, large first, and two-ended, with
//! destinations decided before the first move. Prints figures and targets; judges nothing.
//!
//! Simulated, with invented constants: only ratios carry over. A move costs `a` seconds beside its bytes, then copies
//! at most `r` bytes a second; where bandwidth is shared, all copies off a storage share its `B`, and all copies towards
//! one. Sizes come from the generators of the facts: *standard* (99.7 % log-normal, median 0.25 MB, sigma 2.4, and 0.3 %
//! Pareto, x_m 200 MB, alpha 0.9, cap 150 GB), *light* (log-normal alone) and *brutal* (alpha 0.7). `cargo bench --bench
//! mover`, or `… -- placement`, `… -- slots`, `… -- shared` for one part.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation's figures"
)]

use tranship::plan::balance::{Bins, Free, Unit};
use tranship::plan::order::{BANDWIDTH, Job, May, Order, big_lanes};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wants = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wants("placement") {
        placement();
    }
    if wants("slots") {
        slots();
    }
    if wants("shared") {
        shared();
    }
}

/// Where sizes come from.
#[derive(Clone, Copy, PartialEq)]
enum Generator {
    Standard,
    Light,
    Brutal,
}

impl Generator {
    const ALL: [(&'static str, Self); 3] =
        [("standard", Self::Standard), ("light", Self::Light), ("brutal", Self::Brutal)];

    fn size(self, random: &mut Random) -> u64 {
        let alpha = if self == Self::Brutal { 0.7 } else { 0.9 };
        let bytes = if self != Self::Light && random.unit() < 0.003 {
            200e6 * random.unit().powf(-1.0 / alpha)
        } else {
            let normal = (-2.0 * random.unit().ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos();
            0.25e6 * (2.4 * normal).exp()
        };
        bytes.min(150e9) as u64
    }
}

/// Moves in the order of ids.
struct Fleet {
    sources: u32,
    destinations: u32,
    moves: Vec<Move>,
}

#[derive(Clone, Copy)]
struct Move {
    bytes: u64,
    from: u32,
    to: u32,
}

impl Fleet {
    /// Draws repositories onto sources and places them. `skewed`: each source has half of what the one before has.
    fn new(generator: Generator, number: usize, sources: u32, destinations: u32, skewed: bool, seed: u64) -> Self {
        let mut random = Random(seed);
        let from = |random: &mut Random| {
            if !skewed {
                return (random.next() % u64::from(sources)) as u32;
            }
            (0..sources).find(|_| random.unit() < 0.5).unwrap_or(0)
        };
        let mut moves: Vec<Move> =
            (0..number).map(|_| Move { bytes: generator.size(&mut random), from: from(&mut random), to: 0 }).collect();
        let (units, ids, _) = place(&moves, destinations);
        for (unit, id) in units.iter().zip(ids) {
            moves[id].to = unit.bin;
        }
        Self { sources, destinations, moves }
    }
}

/// Places repositories, as the planner does: largest first, then small ones once more for even counts.
fn place(moves: &[Move], destinations: u32) -> (Vec<Unit>, Vec<usize>, Bins) {
    let mut ids: Vec<usize> = (0..moves.len()).collect();
    ids.sort_unstable_by_key(|id| (std::cmp::Reverse(moves[*id].bytes), *id));
    let free = Free { soft: 1 << 60, hard: 1 << 60 };
    let mut bins = Bins::new(vec![Some(free); destinations as usize], vec![(0..destinations).collect()]);
    let mut units: Vec<Unit> = Vec::with_capacity(ids.len());
    for id in &ids {
        let need = moves[*id].bytes + moves[*id].bytes.div_ceil(10);
        let bin = bins.put(0, need, 1, None).unwrap_or(0);
        units.push(Unit { set: 0, need, members: 1, bin, fixed: false });
    }
    bins.even(&mut units);
    (units, ids, bins)
}

fn placement() {
    println!("placement: fullest target over its bound (target: 1.01), and repositories per target");
    println!(
        "{:>10} {:>12} {:>8} {:>10} {:>22}",
        "generator", "repositories", "targets", "fullest", "repositories each"
    );
    for (name, generator) in Generator::ALL {
        for (number, targets) in [(4_000, 5), (20_000, 6), (100_000, 8), (1_000_000, 20)] {
            let (mut worst, mut fewest, mut most) = (0f64, u64::MAX, 0);
            let seeds = if number == 1_000_000 { 1 } else { 5 };
            for seed in 1..=seeds {
                let fleet = Fleet::new(generator, number, 1, 1, false, seed);
                let (units, _, bins) = place(&fleet.moves, targets);
                for spread in bins.spreads(&units) {
                    worst = worst.max(spread.level as f64 / spread.bound as f64);
                    (fewest, most) = (fewest.min(spread.members.0), most.max(spread.members.1));
                }
            }
            println!("{name:>10} {number:>12} {targets:>8} {worst:>10.4} {:>22}", format!("{fewest} to {most}"));
        }
    }
    let costs = Costs { fixed: 4.0, rate: 60e6, bandwidth: None, slots: 4 };
    let mut random = Random(1);
    let size = |n: u32| Move { bytes: Generator::Standard.size(&mut random), from: n % 20, to: 0 };
    let mut fleet = Fleet { sources: 20, destinations: 20, moves: (0..1_000_000).map(size).collect() };
    let before = cpu();
    let (units, ids, _) = place(&fleet.moves, 20);
    units.iter().zip(ids).for_each(|(unit, id)| fleet.moves[id].to = unit.bin);
    let placed = cpu();
    for source in 0..20 {
        let mut waiting = waiting(&fleet, &costs, Rule::TwoEnded, source);
        while take(&fleet, &costs, &mut waiting, &[0; 20], &[0; 20]).is_some() {}
    }
    let (place, order) = (placed - before, cpu() - placed);
    println!(
        "1,000,000 repositories, 20 to 20: placed in {place:.2} s, ordered in {order:.2} s of CPU (target: 3 s together)"
    );
    println!();
}

/// CPU seconds of this process so far; 0 where the system does not say.
fn cpu() -> f64 {
    // The scheduler's own count, in nanoseconds: the first field.
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0) / 1e9
}

/// The orders that are compared.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Ids,
    SmallFirst,
    LargeFirst,
    TwoEnded,
}

impl Rule {
    const ALL: [(&'static str, Self); 4] = [
        ("id order", Self::Ids),
        ("small first", Self::SmallFirst),
        ("large first", Self::LargeFirst),
        ("two-ended", Self::TwoEnded),
    ];
}

/// What moves cost and what storages give.
#[derive(Clone, Copy)]
struct Costs {
    /// Seconds beside the bytes.
    fixed: f64,
    /// Bytes per second of one copy.
    rate: f64,
    /// Bytes per second of a storage, each way; `None`: nothing is shared.
    bandwidth: Option<f64>,
    /// Moves at once from or to a storage.
    slots: usize,
}

impl Costs {
    fn seconds(&self, bytes: u64) -> f64 {
        self.fixed + bytes as f64 / self.rate
    }
}

/// One source's moves that have not begun.
enum Waiting {
    /// By destination, the next one last.
    Lists(Vec<Vec<usize>>, f64),
    /// The planner's order, and which move each of its places is.
    Order(Order, Vec<usize>),
}

/// No way of ordering the moves could end sooner.
fn bound(fleet: &Fleet, costs: &Costs) -> f64 {
    let mut most: f64 = 0.0;
    #[expect(clippy::type_complexity, reason = "both ends of moves, alike")]
    let ends: [(u32, fn(&Move) -> u32); 2] = [(fleet.sources, |m| m.from), (fleet.destinations, |m| m.to)];
    for (number, end) in ends {
        for storage in 0..number {
            let own = || fleet.moves.iter().filter(|one| end(one) == storage);
            let work: f64 = own().map(|one| costs.seconds(one.bytes)).sum();
            most = most.max(work / costs.slots as f64);
            if let Some(bandwidth) = costs.bandwidth {
                most = most.max(own().map(|one| one.bytes as f64).sum::<f64>() / bandwidth);
            }
        }
    }
    fleet.moves.iter().map(|one| costs.seconds(one.bytes)).fold(most, f64::max)
}

fn waiting(fleet: &Fleet, costs: &Costs, rule: Rule, source: u32) -> Waiting {
    let mut ids: Vec<usize> = (0..fleet.moves.len()).filter(|id| fleet.moves[*id].from == source).collect();
    match rule {
        Rule::Ids => {}
        Rule::SmallFirst => ids.sort_by_key(|id| fleet.moves[*id].bytes),
        Rule::LargeFirst | Rule::TwoEnded => ids.sort_by_key(|id| std::cmp::Reverse(fleet.moves[*id].bytes)),
    }
    if rule == Rule::TwoEnded {
        let milliseconds = |id: &usize| (costs.seconds(fleet.moves[*id].bytes) * 1000.0) as u64;
        let jobs = ids.iter().map(|id| Job { to: fleet.moves[*id].to, work: milliseconds(id) }).collect();
        let bandwidth = costs.bandwidth.map_or(BANDWIDTH, |bandwidth| bandwidth as u64);
        let lanes = big_lanes(costs.slots as u32, bandwidth, costs.rate as u64);
        return Waiting::Order(Order::new(jobs, lanes), ids);
    }
    let left = ids.iter().map(|id| costs.seconds(fleet.moves[*id].bytes)).sum();
    let mut lists = vec![Vec::new(); fleet.destinations as usize];
    for (rank, id) in ids.iter().enumerate().rev() {
        lists[fleet.moves[*id].to as usize].push(rank);
    }
    // Ranks, so that the first of all destinations is found; ids beside them.
    let lists = lists.into_iter().map(|list| list.into_iter().map(|rank| (rank << 32) | ids[rank]).collect()).collect();
    Waiting::Lists(lists, left)
}

/// A move under way.
struct Flight {
    id: usize,
    place: usize,
    /// Seconds of the fixed part that are left, then bytes.
    fixed: f64,
    bytes: f64,
    rate: f64,
}

/// Seconds until the last move has ended.
fn makespan(fleet: &Fleet, costs: &Costs, rule: Rule) -> f64 {
    let mut sources: Vec<Waiting> = (0..fleet.sources).map(|s| waiting(fleet, costs, rule, s)).collect();
    let (mut out, mut into) = (vec![0usize; fleet.sources as usize], vec![0usize; fleet.destinations as usize]);
    let mut crowd = vec![0usize; fleet.destinations as usize];
    let mut flights: Vec<Flight> = Vec::new();
    let mut big = vec![false; fleet.moves.len()];
    let mut now = 0.0;
    loop {
        let mut asked = vec![false; sources.len()];
        // The source with most left is served first.
        while let Some(source) = next(&sources, &asked) {
            let free = out[source] < costs.slots;
            let found = free.then(|| take(fleet, costs, &mut sources[source], &into, &crowd)).flatten();
            let Some((id, place, large)) = found else {
                asked[source] = true;
                continue;
            };
            let one = fleet.moves[id];
            out[source] += 1;
            into[one.to as usize] += 1;
            crowd[one.to as usize] += usize::from(large);
            big[id] = large;
            flights.push(Flight { id, place, fixed: costs.fixed, bytes: one.bytes as f64, rate: 0.0 });
        }
        if flights.is_empty() {
            return now;
        }
        share(fleet, costs, &mut flights);
        let end = |f: &Flight| if f.fixed > 0.0 { f.fixed } else { f.bytes / f.rate };
        let step = flights.iter().map(end).fold(f64::INFINITY, f64::min);
        now += step;
        let mut at = 0;
        while at < flights.len() {
            let flight = &mut flights[at];
            let done = end(flight) <= step * (1.0 + 1e-12);
            if flight.fixed > 0.0 {
                flight.fixed = if done { 0.0 } else { flight.fixed - step };
            } else {
                flight.bytes = if done { 0.0 } else { flight.bytes - step * flight.rate };
            }
            if flight.fixed > 0.0 || flight.bytes > 0.0 {
                at += 1;
                continue;
            }
            let flight = flights.swap_remove(at);
            let one = fleet.moves[flight.id];
            out[one.from as usize] -= 1;
            into[one.to as usize] -= 1;
            crowd[one.to as usize] -= usize::from(big[flight.id]);
            if let Waiting::Order(order, _) = &mut sources[one.from as usize] {
                order.end(flight.place);
            }
        }
    }
}

fn next(sources: &[Waiting], asked: &[bool]) -> Option<usize> {
    let left = |at: &usize| match &sources[*at] {
        Waiting::Lists(_, left) => *left,
        Waiting::Order(order, _) => order.left() as f64,
    };
    (0..sources.len()).filter(|at| !asked[*at]).max_by(|a, b| left(a).total_cmp(&left(b)).then(b.cmp(a)))
}

/// The next move off a source: its id, its place in the source's order, and whether it is a big one.
fn take(
    fleet: &Fleet,
    costs: &Costs,
    source: &mut Waiting,
    into: &[usize],
    crowd: &[usize],
) -> Option<(usize, usize, bool)> {
    match source {
        Waiting::Lists(lists, left) => {
            let open = (0..lists.len()).filter(|to| into[*to] < costs.slots);
            let to = open.filter_map(|to| Some((*lists[to].last()?, to))).min()?.1;
            let id = lists[to].pop()? & 0xffff_ffff;
            *left -= costs.seconds(fleet.moves[id].bytes);
            Some((id, 0, false))
        }
        Waiting::Order(order, ids) => {
            let may = |place: usize| {
                if into[fleet.moves[ids[place]].to as usize] < costs.slots { May::Now } else { May::NotThere }
            };
            let pick = order.pick(|to| crowd[to as usize], may)?;
            order.begin(pick);
            Some((ids[pick.at], pick.at, pick.big))
        }
    }
}

/// Gives each copy its rate: shares grow alike until a copy has its most or an end has no more to give.
fn share(fleet: &Fleet, costs: &Costs, flights: &mut [Flight]) {
    let Some(bandwidth) = costs.bandwidth else {
        flights.iter_mut().for_each(|flight| flight.rate = costs.rate);
        return;
    };
    let ends = |flight: &Flight| {
        let one = fleet.moves[flight.id];
        [one.from as usize, (fleet.sources + one.to) as usize]
    };
    let mut left = vec![bandwidth; (fleet.sources + fleet.destinations) as usize];
    let mut open: Vec<usize> = (0..flights.len()).filter(|at| flights[*at].fixed <= 0.0).collect();
    let mut level = 0.0;
    while !open.is_empty() {
        let mut users = vec![0usize; left.len()];
        open.iter().for_each(|at| ends(&flights[*at]).into_iter().for_each(|end| users[end] += 1));
        let step = (0..left.len()).filter(|end| users[*end] > 0).map(|end| left[end] / users[end] as f64);
        let step = step.fold(costs.rate - level, f64::min);
        level += step;
        (0..left.len()).for_each(|end| left[end] -= step * users[end] as f64);
        let full = level >= costs.rate * (1.0 - 1e-9);
        open.retain(|at| {
            let stops = full || ends(&flights[*at]).into_iter().any(|end| left[end] <= bandwidth * 1e-9);
            if stops {
                flights[*at].rate = level;
            }
            !stops
        });
    }
}

/// Ratios of one setting: by rule, mean and worst over seeds.
fn ratios(fleets: &[Fleet], costs: &Costs) -> [(f64, f64); 4] {
    Rule::ALL.map(|(_, rule)| {
        let all: Vec<f64> = fleets.iter().map(|fleet| makespan(fleet, costs, rule) / bound(fleet, costs)).collect();
        (all.iter().sum::<f64>() / all.len() as f64, all.iter().copied().fold(0.0, f64::max))
    })
}

fn slots() {
    println!(
        "slot model: makespan over its bound, mean (worst of 5 seeds); a = 4 s, 30 MB/s (target: two-ended at most 1.01)"
    );
    print!("{:>10} {:>28}", "generator", "fleet");
    Rule::ALL.iter().for_each(|(name, _)| print!(" {name:>15}"));
    println!();
    let settings = [
        (100_000, 8, 8, 10, false),
        (100_000, 8, 8, 5, false),
        (100_000, 8, 8, 5, true),
        (20_000, 3, 6, 4, false),
        (2_000, 2, 4, 4, false),
    ];
    for (name, generator) in Generator::ALL {
        for (number, sources, destinations, slots, skewed) in settings {
            let costs = Costs { fixed: 4.0, rate: 30e6, bandwidth: None, slots };
            let fleets: Vec<Fleet> =
                (1..=5).map(|seed| Fleet::new(generator, number, sources, destinations, skewed, seed)).collect();
            let skew = if skewed { ", skewed" } else { "" };
            print!("{name:>10} {:>28}", format!("{number}, {sources} to {destinations}, {slots} slots{skew}"));
            for (mean, worst) in ratios(&fleets, &costs) {
                print!(" {:>15}", format!("{mean:.3} ({worst:.3})"));
            }
            println!();
        }
    }
    println!();
}

fn shared() {
    println!(
        "shared bandwidth: makespan over its bound in 36 settings (a 1, 3, 8 s; r 30, 60, 120 and B 120, 400 MB/s; 8, 16 \
         slots), 4,000 repositories, 3 to 5, each the mean of 3 seeds; unsaturated: slots do not ask for more than the \
         bandwidth (target: two-ended at most 1.05 there, and never above id order)"
    );
    for (name, generator) in Generator::ALL {
        let fleets: Vec<Fleet> = (1..=3).map(|seed| Fleet::new(generator, 4_000, 3, 5, false, seed)).collect();
        let bytes = |fleet: &Fleet| fleet.moves.iter().map(|one| one.bytes as f64).sum::<f64>();
        let mean = fleets.iter().map(bytes).sum::<f64>() / fleets.iter().map(|f| f.moves.len() as f64).sum::<f64>();
        let mut all: Vec<([f64; 4], bool)> = Vec::new();
        let mut worst = (0.0, String::new());
        for fixed in [1.0, 3.0, 8.0] {
            for rate in [30e6, 60e6, 120e6] {
                for bandwidth in [120e6, 400e6] {
                    for slots in [8, 16] {
                        let costs = Costs { fixed, rate, bandwidth: Some(bandwidth), slots };
                        // So many moves at once, each of the mean size, copy as much as the bandwidth gives.
                        let saturating = bandwidth * costs.seconds(mean as u64) / mean;
                        let row = ratios(&fleets, &costs).map(|(mean, _)| mean);
                        if row[Rule::ALL.len() - 1] > worst.0 {
                            let (rate, bandwidth) = (rate / 1e6, bandwidth / 1e6);
                            let setting = format!(
                                "a {fixed} s, r {rate} and B {bandwidth} MB/s, {slots} slots; {saturating:.1} would fill B"
                            );
                            worst = (row[Rule::ALL.len() - 1], setting);
                        }
                        all.push((row, slots as f64 <= saturating));
                    }
                }
            }
        }
        print!("{name:>10} {:>24}", "");
        Rule::ALL.iter().for_each(|(name, _)| print!(" {name:>12}"));
        println!();
        let line = |title: &str, figure: &dyn Fn(usize) -> String| {
            print!("{:>10} {title:>24}", "");
            (0..Rule::ALL.len()).for_each(|rule| print!(" {:>12}", figure(rule)));
            println!();
        };
        let most = |figures: &mut dyn Iterator<Item = f64>| format!("{:.3}", figures.fold(0.0, f64::max));
        let within = all.iter().filter(|(_, within)| *within).count();
        line("worst", &|rule| most(&mut all.iter().map(|(row, _)| row[rule])));
        let title = format!("worst of {within} unsaturated");
        line(&title, &|rule| most(&mut all.iter().filter(|(_, within)| *within).map(|(row, _)| row[rule])));
        line("mean", &|rule| format!("{:.3}", all.iter().map(|(row, _)| row[rule]).sum::<f64>() / all.len() as f64));
        line("settings at most 1.01", &|rule| all.iter().filter(|(row, _)| row[rule] <= 1.01).count().to_string());
        println!("{:>10} {:>24} {}", "", "two-ended is worst at", worst.1);
        line("most above id order", &|rule| most(&mut all.iter().map(|(row, _)| row[rule] - row[0])));
    }
}

/// SplitMix64: small, seeded, good enough to draw sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}
