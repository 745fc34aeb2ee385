//! Chooses among the upstreams that can be used: in turn, by their requests in flight, or by two random ones.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::options::Balance;

/// The weight of an upstream is counted in these parts, so that one that starts slowly can have a part of it.
const PARTS: u32 = 100;

/// An upstream that can be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its slot.
    pub(super) slot: usize,
    /// Its weight.
    pub(super) weight: u32,
    /// Its requests in flight.
    pub(super) busy: usize,
    /// How many requests it could have at once.
    pub(super) limit: usize,
    /// How much of its weight counts, in percent.
    pub(super) ramp: u32,
}

/// Chooses one upstream after another.
pub(super) struct Balancer {
    balance: Balance,
    turn: AtomicUsize,
    /// What the upstream of each slot is owed, if weights differ.
    owed: Mutex<Vec<i64>>,
}

impl Balancer {
    /// For upstreams in `slots` slots.
    pub(super) fn new(balance: Balance, slots: usize) -> Balancer {
        Balancer { balance, turn: AtomicUsize::new(0), owed: Mutex::new(vec![0; slots]) }
    }

    /// Forgets what the upstream of a slot was owed: another one has it now.
    pub(super) fn forget(&self, slot: usize) {
        self.owed.lock()[slot] = 0;
    }

    /// The slot of one of the candidates; `None` if there is none.
    pub(super) fn choose(&self, candidates: &[Candidate]) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Relaxed);
        // Only usable upstreams take turns, so one that is skipped does not double its neighbour's load.
        let first = turn % candidates.len().max(1);
        let in_order = || candidates[first..].iter().chain(&candidates[..first]);
        let chosen = match self.balance {
            Balance::RoundRobin => {
                let free = |one: &&Candidate| one.busy < one.limit;
                if is_even(candidates) {
                    in_order().find(free).or_else(|| in_order().next())
                } else {
                    let some: Vec<Candidate> = in_order().filter(free).copied().collect();
                    let slot = self.by_turns(if some.is_empty() { candidates } else { &some })?;
                    candidates.iter().find(|one| one.slot == slot)
                }
            }
            Balance::LeastBusy => in_order().min_by(|a, b| a.load().total_cmp(&b.load())),
            Balance::PowerOfTwo => {
                let count = candidates.len();
                let random = scattered(turn as u64);
                let one = (random % count.max(1) as u64) as usize;
                let other =
                    (one + 1 + (random >> 32) as usize % count.saturating_sub(1).max(1)) % count.max(1);
                let pair = [candidates.get(one), candidates.get(other)].into_iter().flatten();
                pair.min_by(|a, b| a.load().total_cmp(&b.load()))
            }
        };
        chosen.map(|one| one.slot)
    }

    /// Smooth weighted round robin, as in nginx: each turn owes every upstream its weight, and the one that is
    /// owed most pays for all. So the turns of a heavy upstream are spread.
    fn by_turns(&self, candidates: &[Candidate]) -> Option<usize> {
        let mut owed = self.owed.lock();
        let mut total = 0;
        for one in candidates {
            let weight = i64::from(one.share());
            owed[one.slot] += weight;
            total += weight;
        }
        let chosen = candidates.iter().max_by_key(|one| owed[one.slot])?.slot;
        owed[chosen] -= total;
        Some(chosen)
    }
}

impl Candidate {
    /// The part of its weight that counts.
    fn share(&self) -> u32 {
        self.weight.saturating_mul(self.ramp.clamp(1, PARTS))
    }

    /// Its load if it had one more request.
    fn load(&self) -> f64 {
        (self.busy + 1) as f64 / f64::from(self.share())
    }
}

fn is_even(candidates: &[Candidate]) -> bool {
    candidates.windows(2).all(|pair| pair[0].share() == pair[1].share())
}

/// A number that looks random: splitmix64. Nothing depends on whether it can be guessed.
fn scattered(turn: u64) -> u64 {
    let mut mixed = turn.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(busy: &[usize]) -> Vec<Candidate> {
        weighted(busy, &vec![1; busy.len()])
    }

    fn weighted(busy: &[usize], weights: &[u32]) -> Vec<Candidate> {
        let one = |(slot, (busy, weight)): (usize, (&usize, &u32))| Candidate {
            slot,
            weight: *weight,
            busy: *busy,
            limit: 100,
            ramp: 100,
        };
        busy.iter().zip(weights).enumerate().map(one).collect()
    }

    /// How often each of the upstreams is chosen.
    fn counts(balancer: &Balancer, candidates: &[Candidate], times: usize) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for _ in 0..times {
            counts[balancer.choose(candidates).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn turns_follow_the_weights() {
        let even = Balancer::new(Balance::RoundRobin, 3);
        assert_eq!(counts(&even, &candidates(&[0, 0, 0]), 30), [10, 10, 10]);
        let uneven = Balancer::new(Balance::RoundRobin, 3);
        let idle = weighted(&[0, 0, 0], &[5, 1, 1]);
        assert_eq!(counts(&uneven, &idle, 70), [50, 10, 10]);
        // The heavy one does not get its turns in a row.
        let order: Vec<_> = (0..7).map(|_| uneven.choose(&idle).unwrap()).collect();
        assert!(order.windows(4).all(|some| some.iter().any(|slot| *slot != 0)), "{order:?}");
        // A full one is left out, unless all are.
        assert_eq!(counts(&uneven, &weighted(&[100, 0, 0], &[5, 1, 1]), 20)[0], 0);
        assert_eq!(counts(&even, &candidates(&[100, 100, 100]), 30), [10, 10, 10]);
        assert_eq!(even.choose(&[]), None);
    }

    #[test]
    fn one_that_starts_slowly_gets_a_part() {
        let balancer = Balancer::new(Balance::RoundRobin, 2);
        let mut some = candidates(&[0, 0]);
        some[1].ramp = 25;
        assert_eq!(counts(&balancer, &some, 100), [80, 20]);
    }

    #[test]
    fn the_least_busy_one_is_chosen_by_weight() {
        let balancer = Balancer::new(Balance::LeastBusy, 2);
        assert_eq!(balancer.choose(&weighted(&[2, 0], &[4, 1])), Some(0), "3/4 is less than 1/1");
        assert_eq!(balancer.choose(&weighted(&[5, 0], &[4, 1])), Some(1));
    }

    #[test]
    fn of_two_random_ones_the_less_busy_one_is_chosen() {
        let balancer = Balancer::new(Balance::PowerOfTwo, 4);
        let counts = counts(&balancer, &candidates(&[9, 3, 2, 1]), 6000);
        assert_eq!(counts[0], 0, "never the busiest");
        // Of the six pairs, three have the last one, two the third, and one the second.
        for (count, expected) in counts.iter().zip([0, 1000, 2000, 3000]) {
            assert!(count.abs_diff(expected) < 300, "{counts:?}");
        }
        let one = Balancer::new(Balance::PowerOfTwo, 1);
        assert_eq!(one.choose(&candidates(&[7])), Some(0));
    }
}
