//! Numbers that a seed decides: the same seed, the same lab.

use std::ops::RangeInclusive;

/// A source of them: SplitMix64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The numbers of one seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The next one, in `range`; which of a range that is tiny against 2⁶⁴ is as good as even.
    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    /// `count` different ones, in `range`.
    pub(super) fn several(&mut self, count: u64, range: RangeInclusive<u64>) -> Vec<u64> {
        let mut left: Vec<u64> = range.collect();
        let mut taken = Vec::new();
        while taken.len() < count as usize && !left.is_empty() {
            let at = self.within(0..=left.len() as u64 - 1);
            taken.push(left.swap_remove(at as usize));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_them_and_another_differs() {
        let roll = |seed| {
            let mut dice = Dice::of(seed);
            [(); 8].map(|()| dice.within(3..=1_000))
        };
        assert_eq!(roll(1), roll(1));
        assert_ne!(roll(1), roll(2));
        assert!(roll(7).iter().all(|number| (3..=1_000).contains(number)));
        let mut several = Dice::of(1).several(5, 1..=6);
        several.sort_unstable();
        several.dedup();
        assert_eq!(several.len(), 5);
        assert_eq!(Dice::of(1).several(9, 1..=3).len(), 3);
    }
}
