//! What the sectors of a disk hold: each a function of the disk, of its own place, and of the
//! number of the write that made it.
//!
//! | bytes | little endian |
//! |---|---|
//! | 0..4 | `VLBK` |
//! | 4..8 | CRC32C of all that follows |
//! | 8..16 | the disk of the run |
//! | 16..24 | where the sector lies, in bytes from the start of the disk |
//! | 24..32 | number of the write |
//! | 32..512 | noise that follows from the three numbers |

use crate::noise::{Noise, mix};

/// Bytes of a sector.
pub(crate) const SECTOR_BYTES: usize = 512;
const MAGIC: u32 = u32::from_le_bytes(*b"VLBK");

/// Makes the sectors of one disk in one run, and knows them again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    disk: u64,
}

/// What a sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sector {
    /// Nothing but zeroes.
    Zero,
    /// What this write put there.
    Written(u64),
    /// What was written elsewhere on this disk, at so many bytes.
    Moved(u64),
    /// A sector of another disk, or of another run.
    Foreign,
    /// Bytes that no write made.
    Damaged,
}

impl Content {
    /// `disk` is another number for each disk and each run.
    pub(crate) fn new(disk: u64) -> Self {
        Self { disk }
    }

    /// Fills whole sectors that lie at `position`, as this write does.
    pub(crate) fn fill(&self, out: &mut [u8], position: u64, write: u64) {
        let (sectors, _rest) = out.as_chunks_mut::<SECTOR_BYTES>();
        for (at, sector) in (position..).step_by(SECTOR_BYTES).zip(sectors) {
            self.fill_one(sector, at, write);
        }
    }

    fn fill_one(&self, sector: &mut [u8; SECTOR_BYTES], position: u64, write: u64) {
        let mut noise = Noise::new(mix(self.disk ^ mix(position ^ mix(write))));
        let numbers = [u64::from(MAGIC), self.disk, position, write];
        let (words, _none) = sector.as_chunks_mut::<8>();
        let numbers = numbers.into_iter().chain(std::iter::from_fn(|| Some(noise.next())));
        for (word, number) in words.iter_mut().zip(numbers) {
            *word = number.to_le_bytes();
        }
        let sum = checksum(sector);
        if let Some(place) = sector.get_mut(4..8) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// What the sector at `position` holds.
    pub(crate) fn judge(&self, sector: &[u8; SECTOR_BYTES], position: u64) -> Sector {
        let (words, _none) = sector.as_chunks::<8>();
        let [first, disk, place, write] = *words.first_chunk::<4>().map_or(&[[0; 8]; 4], |w| w);
        let expected = u64::from(MAGIC) | u64::from(checksum(sector)) << 32;
        if u64::from_le_bytes(first) != expected {
            let is_zero = words.iter().all(|word| *word == [0; 8]);
            return if is_zero { Sector::Zero } else { Sector::Damaged };
        }
        if u64::from_le_bytes(disk) != self.disk {
            return Sector::Foreign;
        }
        match u64::from_le_bytes(place) {
            here if here == position => Sector::Written(u64::from_le_bytes(write)),
            elsewhere => Sector::Moved(elsewhere),
        }
    }
}

fn checksum(sector: &[u8; SECTOR_BYTES]) -> u32 {
    let (_magic_and_sum, covered) = sector.split_at(8);
    crc32c::crc32c(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(disk: u64, position: u64, write: u64) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        Content::new(disk).fill(&mut sector, position, write);
        sector
    }

    #[test]
    fn a_sector_is_known_by_its_disk_its_place_and_its_write() {
        let content = Content::new(7);
        let judge = |sector: [u8; SECTOR_BYTES]| content.judge(&sector, 4096);
        assert_eq!(judge(sector(7, 4096, 3)), Sector::Written(3));
        assert_eq!(judge(sector(7, 8192, 3)), Sector::Moved(8192));
        assert_eq!(judge(sector(8, 4096, 3)), Sector::Foreign);
        assert_eq!(judge([0; SECTOR_BYTES]), Sector::Zero);
        assert_eq!(judge([1; SECTOR_BYTES]), Sector::Damaged);
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let (content, sound) = (Content::new(7), sector(7, 4096, 3));
        for at in 0..SECTOR_BYTES {
            for bit in 0..8 {
                let mut other = sound;
                other[at] ^= 1 << bit;
                assert_eq!(content.judge(&other, 4096), Sector::Damaged, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_longer_fill_is_the_same_as_one_for_each_sector() {
        let mut all = vec![0; 4 * SECTOR_BYTES];
        Content::new(7).fill(&mut all, 1024, 9);
        let each = [1024, 1536, 2048, 2560].map(|position| sector(7, position, 9));
        assert_eq!(all, each.concat());
    }

    #[test]
    fn neighbouring_writes_differ_in_every_word_of_noise() {
        let (one, two) = (sector(7, 4096, 3), sector(7, 4096, 4));
        for at in (32..SECTOR_BYTES).step_by(8) {
            assert_ne!(one[at..at + 8], two[at..at + 8], "byte {at}");
        }
    }
}
