use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn held(serial: u64) -> Held {
    // Of other lengths, so that a mixture of two is neither.
    let digits = usize::try_from(serial).unwrap() * 7;
    Held { serial, line: format!("\"{}\"", "x".repeat(digits)) }
}

fn slot(serial: u64) -> Vec<u8> {
    held(serial).seal().unwrap()
}

fn no_slot() -> Vec<u8> {
    let mut bytes = slot(1);
    bytes[20] ^= 4;
    bytes
}

/// A disk with a cache before it that is lost when the power fails.
#[derive(Debug)]
struct Cached {
    cache: RefCell<[Vec<u8>; 2]>,
    disk: RefCell<[Vec<u8>; 2]>,
    /// What a sync would carry over.
    dirty: Cell<[bool; 2]>,
    /// Operations until the power fails.
    left: Cell<u32>,
}

impl Cached {
    fn clean(first: Vec<u8>, second: Vec<u8>) -> Self {
        let slots = [first, second];
        let (disk, cache) = (RefCell::new(slots.clone()), RefCell::new(slots));
        Self { cache, disk, dirty: Cell::default(), left: Cell::new(u32::MAX) }
    }

    /// A process that was killed has left this, not synced.
    fn unsynced(self, at: usize, slot: Vec<u8>) -> Self {
        self.write(&slot, (at * SLOT) as u64).unwrap();
        self
    }

    /// A sync of this failed, and the kernel has forgotten that it has.
    fn forgotten(self, at: usize, slot: Vec<u8>) -> Self {
        let forgetful = self.unsynced(at, slot);
        forgetful.dirty.take();
        forgetful
    }

    fn step(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        self.left.set(left);
        Ok(())
    }

    /// What may be on the disk when the power is back: of what was not synced, any part.
    fn after_power_cut(&self) -> Vec<[Vec<u8>; 2]> {
        let (cache, disk) = (self.cache.borrow(), self.disk.borrow());
        let at = match self.dirty.get() {
            [false, false] => return vec![disk.clone()],
            [true, true] => panic!("both slots at once are not on stable media"),
            [is_first, _] => usize::from(!is_first),
        };
        let by_length = (0..=SLOT).map(|cut| (cut, 0_u8));
        let by_sector = (0..=u8::MAX).map(|sectors| (0, sectors));
        let torn = by_length.chain(by_sector).map(|(cut, sectors)| {
            let mut slots = disk.clone();
            for (byte, to) in slots[at].iter_mut().enumerate() {
                if byte < cut || sectors >> (byte / 512) & 1 == 1 {
                    *to = cache[at][byte];
                }
            }
            slots
        });
        torn.collect()
    }
}

impl Medium for Cached {
    fn read(&self, slot: &mut [u8], at: u64) -> io::Result<()> {
        slot.copy_from_slice(&self.cache.borrow()[usize::from(at > 0)]);
        Ok(())
    }

    fn write(&self, slot: &[u8], at: u64) -> io::Result<()> {
        self.step()?;
        let at = usize::from(at > 0);
        self.cache.borrow_mut()[at] = slot.to_vec();
        let mut dirty = self.dirty.get();
        dirty[at] = true;
        self.dirty.set(dirty);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        for (at, is_dirty) in self.dirty.take().into_iter().enumerate() {
            if is_dirty {
                self.disk.borrow_mut()[at] = self.cache.borrow()[at].clone();
            }
        }
        Ok(())
    }
}

fn file(slots: [&[u8]; 2]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sealed");
    fs::write(&path, slots.concat()).unwrap();
    (dir, path)
}

#[test]
fn a_value_outlives_damage_at_every_byte_of_one_slot_and_with_both_damaged_it_is_refused() {
    let whole = slot(5);
    for byte in 0..SLOT {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        for slots_of in [[&damaged, &whole], [&whole, &damaged]] {
            let slots = slots(&Cached::clean(slots_of[0].clone(), slots_of[1].clone())).unwrap();
            assert_eq!(newest(&slots).unwrap(), &held(5), "{byte}");
        }
        let both = slots(&Cached::clean(damaged.clone(), damaged)).unwrap();
        assert!(matches!(newest(&both), Err(SealedError::Damaged)), "{byte}");
    }
}

#[test]
fn a_write_cut_off_at_any_byte_leaves_the_value_before_it_or_its_own() {
    // Each with the last value that was acknowledged.
    let starts: [(u64, fn() -> Cached); 8] = [
        (5, || Cached::clean(slot(5), slot(5))),
        (4, || Cached::clean(slot(4), slot(4)).unsynced(0, slot(5))),
        (4, || Cached::clean(slot(5), slot(4)).unsynced(1, slot(5))),
        (4, || Cached::clean(slot(4), slot(4)).forgotten(0, slot(5))),
        (4, || Cached::clean(slot(4), no_slot()).forgotten(1, slot(5))),
        (4, || Cached::clean(slot(5), slot(4)).forgotten(1, slot(5))),
        (5, || Cached::clean(no_slot(), slot(5))),
        (5, || Cached::clean(slot(5), no_slot())),
    ];
    for (number, (acknowledged, start)) in starts.into_iter().enumerate() {
        for power in 0..=5 {
            let medium = start();
            medium.left.set(power);
            let stored = store(&medium, held(6).line);
            assert_eq!(stored.is_ok(), power == 5, "{number}: {power}");
            for [first, second] in medium.after_power_cut() {
                let slots = slots(&Cached::clean(first, second)).unwrap();
                let found = newest(&slots).unwrap_or_else(|error| panic!("{number}: {error}"));
                assert_eq!(found, &held(found.serial), "{number}: {power}");
                let least = if stored.is_ok() { 6 } else { acknowledged };
                assert!((least..=6).contains(&found.serial), "{number}: {power}: {found:?}");
                let is_in_both = slots.iter().all(|slot| slot.as_ref() == Some(found));
                assert!(is_in_both || stored.is_err(), "{number}");
            }
        }
    }
}

#[test]
fn the_higher_serial_is_read_and_then_in_both_slots() {
    for slots_of in [[slot(5), slot(4)], [slot(4), slot(5)], [slot(5), no_slot()]] {
        let (_dir, path) = file([&slots_of[0], &slots_of[1]]);
        let value: String = read(&path).unwrap();
        assert_eq!(value, "x".repeat(35));
        assert_eq!(fs::read(&path).unwrap(), slot(5).repeat(2));
        write(&path, &"x".repeat(42)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), slot(6).repeat(2));
    }
}

#[test]
fn a_file_that_ends_too_early_is_whole_again_or_refused() {
    for length in [0, 9, SLOT - 1, SLOT, SLOT + 9, 2 * SLOT - 1] {
        let (_dir, path) = file([&slot(5), &slot(5)]);
        File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
        match read::<String>(&path) {
            Ok(_value) => assert_eq!(fs::read(&path).unwrap(), slot(5).repeat(2), "{length}"),
            Err(error) => {
                assert!(
                    matches!(error, SealedError::Damaged) && length < SLOT,
                    "{length}: {error}"
                );
                write(&path, &"none").unwrap_err();
            }
        }
    }
}

#[test]
fn a_write_needs_no_room_but_what_the_file_has() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sealed");
    create(&path, &"first").unwrap();
    let room = |path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ino(), metadata.len(), metadata.blocks())
    };
    let before = room(&path);
    assert!(before.2 * 512 >= 2 * SLOT as u64);
    for value in ["second", "third", &"long".repeat(900)] {
        write(&path, &value).unwrap();
        assert_eq!(read::<String>(&path).unwrap(), value);
    }
    assert_eq!(room(&path), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let long = write(&path, &"x".repeat(SLOT)).unwrap_err();
    assert!(matches!(long, SealedError::Long), "{long}");
    assert_eq!(read::<String>(&path).unwrap(), "long".repeat(900));
}
