//! Which request is next: sizes, places, kinds.

use rand::{Rng, rngs::StdRng};
use serde::Serialize;

use super::checker::Span;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Read,
    Write,
    /// A write that is answered when on stable media.
    WriteFua,
    WriteZeroes,
    Trim,
    Flush,
}

/// The shares of a load, in per cent of what is named.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Shares {
    /// Of the requests: reads; the others write.
    pub(crate) read_percent: u32,
    /// Of the writes: with FUA.
    pub(crate) fua_percent: u32,
    /// Of the writes: zeroes without a payload.
    pub(crate) zeroes_percent: u32,
    /// Of the writes: trims.
    pub(crate) trim_percent: u32,
    /// A flush after so many other requests of a client; none is 0.
    pub(crate) flush_every: u32,
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pattern {
    Random,
    /// One after the other, and again from the start.
    Sequential,
}

/// Places that are tried for one request, where the first are under way.
const TRIES_MAX: u32 = 8;

/// Chooses the requests of one client.
#[derive(Debug)]
pub(crate) struct Mix {
    shares: Shares,
    pattern: Pattern,
    sizes: Vec<u32>,
    blocks: u32,
    chance: StdRng,
    next_block: u32,
    since_flush: u32,
}

impl Mix {
    /// `sizes` of requests are in blocks, each as likely as the others; the client's part of the
    /// disk has so many `blocks`, no fewer than the largest request.
    pub(crate) fn new(
        shares: Shares,
        pattern: Pattern,
        sizes: Vec<u32>,
        blocks: u32,
        chance: StdRng,
    ) -> Self {
        Self { shares, pattern, sizes, blocks, chance, next_block: 0, since_flush: 0 }
    }

    /// The kind of the next request; a flush waits until it `may_flush`. Only what
    /// [`begun`](Self::begun) is told of counts.
    pub(crate) fn kind(&mut self, may_flush: bool) -> Kind {
        let Shares { read_percent, fua_percent, zeroes_percent, trim_percent, flush_every } =
            self.shares;
        if may_flush && flush_every > 0 && self.since_flush >= flush_every {
            return Kind::Flush;
        }
        if self.chance.random_range(0..100) < read_percent {
            return Kind::Read;
        }
        let of_writes: u32 = self.chance.random_range(0..100);
        if of_writes < fua_percent {
            Kind::WriteFua
        } else if of_writes < fua_percent + zeroes_percent {
            Kind::WriteZeroes
        } else if of_writes < fua_percent + zeroes_percent + trim_percent {
            Kind::Trim
        } else {
            Kind::Write
        }
    }

    /// Blocks for the next request of which `is_free` says so; none if those tried are under way.
    pub(crate) fn place(&mut self, is_free: impl Fn(Span) -> bool) -> Option<Span> {
        let size = self.chance.random_range(0..self.sizes.len());
        let count = self.sizes.get(size).copied()?;
        let last = self.blocks.checked_sub(count)?;
        match self.pattern {
            Pattern::Sequential => {
                let first = if self.next_block > last { 0 } else { self.next_block };
                let span = Span { first, count };
                is_free(span).then(|| {
                    self.next_block = first + count;
                    span
                })
            }
            Pattern::Random => (0..TRIES_MAX).find_map(|_try| {
                let first = self.chance.random_range(0..=last);
                Some(Span { first, count }).filter(|span| is_free(*span))
            }),
        }
    }

    /// Such a request was begun.
    pub(crate) fn begun(&mut self, kind: Kind) {
        self.since_flush = if kind == Kind::Flush { 0 } else { self.since_flush + 1 };
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn mix(shares: Shares, pattern: Pattern, sizes: &[u32], blocks: u32) -> Mix {
        Mix::new(shares, pattern, sizes.to_vec(), blocks, StdRng::seed_from_u64(1))
    }

    const SHARES: Shares = Shares {
        read_percent: 40,
        fua_percent: 10,
        zeroes_percent: 20,
        trim_percent: 30,
        flush_every: 9,
    };

    #[test]
    fn kinds_come_in_their_shares() {
        let mut mix = mix(SHARES, Pattern::Random, &[1], 1);
        let mut counts = [0; 6];
        for _ in 0..100_000 {
            let kind = mix.kind(true);
            mix.begun(kind);
            counts[kind as usize] += 1;
        }
        assert_eq!(counts[Kind::Flush as usize], 10_000);
        let near = |kind: Kind, expected: i32| {
            assert!((counts[kind as usize] - expected).abs() < 1000, "{kind:?}: {counts:?}");
        };
        near(Kind::Read, 36_000);
        near(Kind::WriteFua, 5_400);
        near(Kind::WriteZeroes, 10_800);
        near(Kind::Trim, 16_200);
        near(Kind::Write, 21_600);
    }

    #[test]
    fn a_sequence_goes_through_all_blocks_and_begins_again() {
        let mut mix = mix(SHARES, Pattern::Sequential, &[3], 8);
        let mut next = || mix.place(|_any| true).unwrap().first;
        assert_eq!([next(), next(), next(), next()], [0, 3, 0, 3]);
        assert_eq!(mix.place(|_none| false), None);
        assert_eq!(mix.place(|_any| true), Some(Span { first: 0, count: 3 }), "not passed over");
    }

    #[test]
    fn random_places_are_free_ones_and_reach_from_the_first_to_the_last_block() {
        let mut mix = mix(SHARES, Pattern::Random, &[1, 4], 8);
        let mut seen = [false; 8];
        for _ in 0..1000 {
            let Span { first, count } = mix.place(|span| span.first != 2).unwrap();
            assert!(first != 2 && (count == 1 || count == 4));
            seen[first as usize..(first + count) as usize].fill(true);
        }
        assert_eq!(seen, [true; 8]);
    }
}
