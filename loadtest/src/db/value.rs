//! What the rows of a run hold: each value is a function of the run, of its key and of the number
//! of the write that made it.
//!
//! | bytes | little endian |
//! |---|---|
//! | 0..8 | the run |
//! | 8..16 | number of the key |
//! | 16..24 | serial: the number of the write among those of the key |
//! | 24.. | noise that follows from the three numbers |

use std::fmt;

use crate::noise::{Noise, mix};

/// Shortest value: the three numbers, and some noise.
pub(crate) const VALUE_BYTES_MIN: u32 = 32;

/// Makes the values of one run, all of one length, and knows them again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    run: u64,
    bytes: usize,
}

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// No row.
    Nothing,
    /// What the write of this serial put there.
    Serial(u64),
    /// What was written under another key of the run.
    Moved(u64),
    /// A value of another run.
    Foreign,
    /// Bytes that no write made.
    Damaged,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "no row"),
            Self::Serial(serial) => write!(f, "write {serial}"),
            Self::Moved(key) => write!(f, "a value of key {key}"),
            Self::Foreign => write!(f, "a value of another run"),
            Self::Damaged => write!(f, "bytes that nobody wrote"),
        }
    }
}

impl Values {
    /// Values of so many bytes, [`VALUE_BYTES_MIN`] at least. `run` is another number for each run.
    pub(crate) const fn new(run: u64, bytes: usize) -> Self {
        Self { run, bytes }
    }

    /// The key of this number.
    pub(crate) fn key(&self, number: u32) -> String {
        format!("{}{number}", self.prefix())
    }

    /// How all keys of the run begin.
    pub(crate) fn prefix(&self) -> String {
        format!("loadtest/{:016x}/", self.run)
    }

    /// The value that this write puts under this key.
    pub(crate) fn make(&self, key: u32, serial: u64) -> Vec<u8> {
        let mut value = vec![0; self.bytes];
        for (place, word) in value.chunks_mut(8).zip(words([self.run, key.into(), serial])) {
            let (word, _rest) = word.split_at(place.len());
            place.copy_from_slice(word);
        }
        value
    }

    /// What was found under a key.
    pub(crate) fn judge(&self, key: u32, found: Option<&[u8]>) -> Held {
        let Some(value) = found else { return Held::Nothing };
        let (words_found, _rest) = value.as_chunks::<8>();
        let Some(numbers) = words_found.first_chunk::<3>() else { return Held::Damaged };
        let [run, of_key, serial] = numbers.map(u64::from_le_bytes);
        let is_whole = value.len() == self.bytes
            && value
                .chunks(8)
                .zip(words([run, of_key, serial]))
                .all(|(part, word)| word.starts_with(part));
        match (is_whole, run == self.run, of_key == u64::from(key)) {
            (true, true, true) => Held::Serial(serial),
            (true, true, false) => Held::Moved(of_key),
            (true, false, _) => Held::Foreign,
            (false, ..) => Held::Damaged,
        }
    }
}

/// The words of a value, without end.
fn words(numbers: [u64; 3]) -> impl Iterator<Item = [u8; 8]> {
    let [run, key, serial] = numbers;
    let mut noise = Noise::new(mix(run ^ mix(key ^ mix(serial))));
    let noise = std::iter::from_fn(move || Some(noise.next()));
    numbers.into_iter().chain(noise).map(u64::to_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values = Values::new(7, 45);

    #[test]
    fn a_value_is_known_by_its_run_its_key_and_its_write() {
        let judge = |value: &[u8]| VALUES.judge(3, Some(value));
        assert_eq!(VALUES.judge(3, None), Held::Nothing);
        assert_eq!(judge(&VALUES.make(3, 12)), Held::Serial(12));
        assert_eq!(judge(&VALUES.make(4, 12)), Held::Moved(4));
        assert_eq!(judge(&Values::new(8, 45).make(3, 12)), Held::Foreign);
        assert_eq!(VALUES.key(3), "loadtest/0000000000000007/3");
    }

    #[test]
    fn every_changed_bit_and_every_other_length_is_seen() {
        for bytes in [32, 33, 40, 45] {
            let values = Values::new(7, bytes);
            let sound = values.make(3, 12);
            for at in 0..bytes {
                for bit in 0..8 {
                    let mut other = sound.clone();
                    other[at] ^= 1 << bit;
                    assert_eq!(values.judge(3, Some(&other)), Held::Damaged, "{bit} of {at}");
                }
                assert_eq!(values.judge(3, Some(&sound[..at])), Held::Damaged, "{at} bytes");
            }
            let longer = [&sound[..], &[0]].concat();
            assert_eq!(values.judge(3, Some(&longer)), Held::Damaged);
        }
    }

    #[test]
    fn a_value_of_two_writes_is_none() {
        let (one, two) = (VALUES.make(3, 12), VALUES.make(3, 13));
        for cut in 25..45 {
            let torn = [&one[..cut], &two[cut..]].concat();
            assert_eq!(VALUES.judge(3, Some(&torn)), Held::Damaged, "cut at {cut}");
        }
    }
}
