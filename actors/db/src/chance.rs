//! Where random choices come from: the system, but where a simulation says what they are.

use std::cell::RefCell;
use std::convert::Infallible;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rand_core::TryRng;

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// While it lives, the random choices of the database on this thread follow from a seed.
///
/// For a simulation, all of whose nodes run on one thread. Nobody else makes one: replicas are told
/// apart by numbers that are drawn at random.
#[derive(Debug)]
pub struct Seeded {
    before: Option<StdRng>,
}

impl Seeded {
    /// From here on.
    #[must_use]
    pub fn from(seed: u64) -> Self {
        Self { before: SEEDED.replace(Some(StdRng::seed_from_u64(seed))) }
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(self.before.take());
    }
}

/// The generator of this thread.
#[derive(Clone, Copy, Debug)]
pub struct Chance;

impl Chance {
    fn with<T>(draw: impl FnOnce(&mut dyn RngCore) -> T) -> T {
        SEEDED.with_borrow_mut(|seeded| match seeded {
            Some(seeded) => draw(seeded),
            None => draw(&mut rand::rng()),
        })
    }
}

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        Self::with(|rng| rng.next_u32())
    }

    fn next_u64(&mut self) -> u64 {
        Self::with(|rng| rng.next_u64())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        Self::with(|rng| rng.fill_bytes(bytes));
    }
}

/// The shape that the consensus library takes.
impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_is_drawn_until_it_is_dropped() {
        let draw = || [Chance.next_u64(), Chance.next_u64()];
        let seeded = || {
            let _seeded = Seeded::from(7);
            draw()
        };
        assert_eq!(seeded(), seeded());
        assert_ne!(draw(), draw());
        assert_ne!(draw(), seeded());
    }
}
