//! Bodies that are told apart: noise of the run, and the number of the message at the start.

use bytes::Bytes;
use rand::{RngCore, SeedableRng, rngs::StdRng};

/// Seed of the noise: the same bytes in every run.
const SEED: u64 = 0x7669_6f64_7563_7431;
/// Bytes of a message's number.
const NUMBER_BYTES: usize = 8;

/// Makes the bodies of one run, all of one length, and knows them again.
#[derive(Debug)]
pub(crate) struct Bodies {
    noise: Vec<u8>,
}

impl Bodies {
    /// Bodies of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let mut noise = vec![0; size];
        StdRng::seed_from_u64(SEED).fill_bytes(&mut noise);
        Self { noise }
    }

    /// The body of a message. Below 8 bytes it holds the low bytes of the number only.
    pub(crate) fn make(&self, number: u64) -> Bytes {
        let mut body = self.noise.clone();
        for (byte, of_number) in body.iter_mut().zip(number.to_le_bytes()) {
            *byte = of_number;
        }
        body.into()
    }

    /// Whether these are the bytes of [`make`](Self::make).
    pub(crate) fn is(&self, number: u64, body: &[u8]) -> bool {
        let start = NUMBER_BYTES.min(self.noise.len());
        let is_noise = body.get(start..) == self.noise.get(start..);
        is_noise && body.iter().zip(number.to_le_bytes()).all(|(is, expected)| *is == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_its_number_its_length_and_every_byte() {
        for size in [0, 1, 7, 8, 9, 100] {
            let bodies = Bodies::new(size);
            let body = bodies.make(7);
            assert_eq!(body.len(), size);
            assert!(bodies.is(7, &body));
            assert_eq!(bodies.is(8, &body), size == 0);
            assert!(!bodies.is(7, &[&body[..], &[0]].concat()));
            for at in 0..size {
                let mut other = body.to_vec();
                other[at] ^= 1;
                assert!(!bodies.is(7, &other), "byte {at} of {size}");
                assert!(!bodies.is(7, &body[..at]), "{at} of {size} bytes");
            }
        }
    }
}
