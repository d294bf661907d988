//! Random choices from a seed.

use std::convert::Infallible;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rand_core::TryRng;

/// A seeded generator, in the shape that foca takes: the same seed gives the same choices.
#[derive(Debug)]
pub(super) struct Chance(StdRng);

impl Chance {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Another generator, whose choices don't depend on how often this one is asked from now on.
    pub(super) fn fork(&mut self) -> Self {
        Self::from_seed(self.0.next_u64())
    }

    /// A number below `bound`, or 0 when that is 0. A cluster is small enough for the bias of a
    /// remainder not to matter.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let draw = usize::try_from(self.0.next_u32()).unwrap_or(0);
        draw.checked_rem(bound).unwrap_or(0)
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}
