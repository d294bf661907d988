use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::redirect::Moment;
use crate::redirect::limits::StoreLimits;
use crate::redirect::message::{Call, Word};
use crate::redirect::name::{ConnId, ViosId};
use crate::redirect::store::{Effect, Input, Store};

const LU: LuId = LuId(7);
const SIZE: u64 = 1 << 20;
const NUMBER: u128 = 0xfeed << 100 | 5;

fn volume() -> (TempDir, Opened) {
    let dir = TempDir::new().unwrap();
    Volume::create(dir.path(), NUMBER).unwrap();
    let opened = Volume::open(dir.path(), 1).unwrap();
    (dir, opened)
}

fn with_lu() -> (TempDir, Opened, Record) {
    let (dir, opened) = volume();
    let identity = opened.start.identity;
    let record = opened.volume.create_lu(LU, SIZE, identity, Epoch::NONE, 0).unwrap();
    (dir, opened, record)
}

fn why(error: &VolumeError) -> String {
    match error {
        VolumeError::Damaged { why, .. } => why.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_volume_is_found_again_as_it_was_left() {
    let (dir, opened, mut record) = with_lu();
    let identity = Identity { losses: 3, ..opened.start.identity };
    record.highest = Epoch { owner: OwnerId(u64::MAX), seq: u64::MAX - 1 };
    record.holder = Holder(u64::MAX);
    record.settled = identity;
    record.is_clean = true;
    opened.volume.store_record(LU, &record).unwrap();
    opened.volume.store_identity(identity).unwrap();
    drop(opened);

    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(again.start, Start { identity, was_syncing: false, seed: 2 });
    assert_eq!(again.records, BTreeMap::from([(LU, record)]));
    assert_eq!(fs::metadata(again.volume.data(LU)).unwrap().len(), SIZE);
}

#[test]
fn a_volume_has_one_process_at_a_time() {
    let (dir, opened) = volume();
    let second = Volume::open(dir.path(), 2).unwrap_err();
    assert!(matches!(second, VolumeError::InUse { .. }), "{second}");
    drop(opened);
    Volume::open(dir.path(), 2).unwrap();
}

#[test]
fn nothing_is_made_over_what_is_there() {
    let (dir, opened, _record) = with_lu();
    let again = Volume::create(dir.path(), 1).unwrap_err();
    assert!(matches!(again, VolumeError::Exists { .. }), "{again}");
    let identity = opened.start.identity;
    let again = opened.volume.create_lu(LU, SIZE, identity, Epoch::NONE, 0).unwrap_err();
    assert!(matches!(again, VolumeError::LuExists { lu: LU }), "{again}");
    for size in [0, LU_BYTES_MAX + 1] {
        let refused = opened.volume.create_lu(LuId(8), size, identity, Epoch::NONE, 0).unwrap_err();
        assert!(matches!(refused, VolumeError::LuSize { .. }), "{refused}");
    }
    let elsewhere = Volume::open(&dir.path().join("none"), 1).unwrap_err();
    assert!(matches!(elsewhere, VolumeError::Missing { .. }), "{elsewhere}");
}

#[test]
fn an_lu_whose_creation_was_cut_off_is_none_and_can_be_created_anew() {
    let (dir, opened, _record) = with_lu();
    fs::remove_file(opened.volume.lu_dir(LU).join(RECORD)).unwrap();
    drop(opened);
    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(again.records, BTreeMap::new());
    again.volume.create_lu(LU, SIZE, again.start.identity, Epoch::NONE, 0).unwrap();
}

#[test]
fn a_note_is_found_by_the_next_process_of_the_same_boot_only() {
    let (dir, opened) = volume();
    opened.volume.note(true).unwrap();
    drop(opened);
    let second = Volume::open(dir.path(), 2).unwrap();
    assert!(second.start.was_syncing);
    second.volume.note(false).unwrap();
    drop(second);
    assert!(!Volume::open(dir.path(), 3).unwrap().start.was_syncing);

    let of_another_boot = note(boot_id().unwrap() ^ 1, true);
    fs::write(dir.path().join(NOTE), of_another_boot).unwrap();
    assert!(!Volume::open(dir.path(), 4).unwrap().start.was_syncing);
}

#[test]
fn damage_is_refused_and_never_guessed_at() {
    let (dir, opened, record) = with_lu();
    let path = opened.volume.lu_dir(LU).join(RECORD);
    drop(opened);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[9] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(again.records, BTreeMap::from([(LU, record)]), "one slot of two");
    drop(again);
    assert_eq!(fs::read(&path).unwrap(), whole, "it is whole again");
    damaged[whole.len() / 2 + 9] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let error = Volume::open(dir.path(), 2).unwrap_err();
    assert_eq!(why(&error), "neither of its two slots is whole");
    fs::write(&path, &whole).unwrap();

    let other = RecordFile::new(LuId(8), &record);
    sealed::write(&path, &other).unwrap();
    let error = Volume::open(dir.path(), 2).unwrap_err();
    assert_eq!(why(&error), "it is the record of another LU");

    let newer = RecordFile { format: FORMAT + 1, ..RecordFile::new(LU, &record) };
    sealed::write(&path, &newer).unwrap();
    let error = Volume::open(dir.path(), 2).unwrap_err();
    assert!(matches!(error, VolumeError::Newer { format: 2, .. }), "{error}");

    sealed::write(&path, &RecordFile::new(LU, &record)).unwrap();
    fs::create_dir(dir.path().join(LUS).join("stray")).unwrap();
    let error = Volume::open(dir.path(), 2).unwrap_err();
    assert_eq!(why(&error), "its name is no LU's number");
}

/// Carries out what a store wants of its volume; gives what it says.
fn carry_out(store: &mut Store, volume: &Volume) -> Vec<Word> {
    let mut words = Vec::new();
    while let Some(effect) = store.poll() {
        match effect {
            Effect::Send { word, .. } => words.push(word),
            Effect::StoreRecord { sync, lu, record } => {
                volume.store_record(lu, &record).unwrap();
                store.handle(Moment::START, Input::Stored { sync });
            }
            Effect::StoreIdentity { sync, identity } => {
                volume.store_identity(identity).unwrap();
                store.handle(Moment::START, Input::Stored { sync });
            }
            Effect::Note { is_syncing } => volume.note(is_syncing).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    words
}

fn open_call(seq: u64) -> Input {
    let epoch = Epoch { owner: OwnerId(1), seq };
    let call = Call::Open { epoch, holder: Holder(5), hop: 0, avoid: None };
    Input::Received { conn: ConnId(1), exit: ViosId(1), lu: LU, call }
}

#[test]
fn a_session_that_was_opened_is_refused_by_the_next_process_too() {
    let (dir, opened, _record) = with_lu();
    drop(opened);
    let mut lives = Vec::new();
    for (seed, seq, is_opened) in [(1, 2, true), (2, 2, false), (3, 1, false), (4, 3, true)] {
        let Opened { volume, start, records } = Volume::open(dir.path(), seed).unwrap();
        let mut store = Store::new(StoreLimits::default(), start, records).unwrap();
        store.handle(Moment::START.after(Duration::from_secs(1)), open_call(seq));
        match carry_out(&mut store, &volume)[..] {
            [Word::Opened { life, size, .. }] => {
                assert!(is_opened && size == SIZE, "{seq}");
                lives.push(life);
            }
            [Word::Refused { highest, .. }] => assert!(!is_opened && highest.seq == 2, "{seq}"),
            ref other => panic!("{other:?}"),
        }
    }
    assert_ne!(lives[0], lives[1]);
}

#[test]
fn a_process_that_died_during_a_sync_leaves_another_identity() {
    let (dir, opened, _record) = with_lu();
    opened.volume.note(true).unwrap();
    drop(opened);
    let Opened { volume, start, records } = Volume::open(dir.path(), 2).unwrap();
    let before = start.identity;
    let mut store = Store::new(StoreLimits::default(), start, records).unwrap();
    carry_out_start(&mut store, &volume);
    drop(volume);
    let again = Volume::open(dir.path(), 3).unwrap();
    assert_eq!(again.start.identity, Identity { losses: before.losses + 1, ..before });
    assert!(!again.start.was_syncing);
}

fn carry_out_start(store: &mut Store, volume: &Volume) {
    while let Some(effect) = store.poll() {
        match effect {
            Effect::StoreIdentity { sync, identity } => {
                volume.store_identity(identity).unwrap();
                store.handle(Moment::START, Input::Stored { sync });
            }
            Effect::Note { is_syncing } => volume.note(is_syncing).unwrap(),
            Effect::Tell(_event) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn user(node: &str) -> LuUser {
    LuUser { node: node.parse().unwrap(), client: Some("1/lpar1".into()) }
}

fn next_owner(volume: &Volume, lu: LuId, used: OwnerId) -> Result<OwnerId, VolumeError> {
    let last = volume.last_owner(lu)?;
    Ok(volume.next_owner(lu, used, &last, user("p1"))?.expect("nobody else draws"))
}

#[test]
fn of_two_that_draw_a_number_at_once_one_has_it_and_is_named_to_the_other() {
    let (_dir, opened, _record) = with_lu();
    let nobody = opened.volume.last_owner(LU).unwrap();
    assert_eq!(nobody, LastOwner { owner: OwnerId(0), user: None });
    let first = opened.volume.next_owner(LU, OwnerId(0), &nobody, user("p1")).unwrap();
    assert_eq!(first, Some(OwnerId(1)));
    assert_eq!(opened.volume.next_owner(LU, OwnerId(0), &nobody, user("p2")).unwrap(), None);
    let last = LastOwner { owner: OwnerId(1), user: Some(user("p1")) };
    assert_eq!(opened.volume.last_owner(LU).unwrap(), last);
}

#[test]
fn an_lu_keeps_its_birth_and_what_is_discarded_was_never_there() {
    let (dir, opened, _record) = with_lu();
    let identity = opened.start.identity;
    opened.volume.create_lu(LuId(8), SIZE, identity, Epoch::NONE, 77).unwrap();
    next_owner(&opened.volume, LuId(8), OwnerId(0)).unwrap();
    assert_eq!(opened.volume.birth(LuId(8)).unwrap(), 77);
    assert_eq!(opened.volume.birth(LU).unwrap(), 0);
    opened.volume.discard(LuId(8)).unwrap();
    opened.volume.discard(LuId(9)).unwrap();
    opened.volume.create_lu(LuId(8), SIZE, identity, Epoch::NONE, 78).unwrap();
    assert_eq!(opened.volume.last_owner(LuId(8)).unwrap().owner, OwnerId(0));
    drop(opened);
    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(again.records.keys().copied().collect::<Vec<_>>(), [LU, LuId(8)]);
    assert_eq!(again.volume.birth(LuId(8)).unwrap(), 78);
}

#[test]
fn an_owners_number_is_above_all_that_were_drawn_or_used() {
    let (dir, opened, _record) = with_lu();
    assert_eq!(next_owner(&opened.volume, LU, OwnerId(0)).unwrap(), OwnerId(1));
    assert_eq!(next_owner(&opened.volume, LU, OwnerId(1)).unwrap(), OwnerId(2));
    drop(opened);
    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(next_owner(&again.volume, LU, OwnerId(9)).unwrap(), OwnerId(10));
    assert_eq!(next_owner(&again.volume, LU, OwnerId(9)).unwrap(), OwnerId(11));
    next_owner(&again.volume, LuId(8), OwnerId(0)).unwrap_err();
    let used_up = next_owner(&again.volume, LU, OwnerId(u64::MAX)).unwrap_err();
    assert_eq!(why(&used_up), "no number is left");
}

#[test]
fn a_damaged_owners_number_is_refused_and_none_is_guessed() {
    let (_dir, opened, _record) = with_lu();
    next_owner(&opened.volume, LU, OwnerId(0)).unwrap();
    let path = opened.volume.lu_dir(LU).join(OWNER);
    let text = fs::read_to_string(&path).unwrap().replace("\"owner\":1", "\"owner\":0");
    fs::write(&path, text).unwrap();
    let error = next_owner(&opened.volume, LU, OwnerId(0)).unwrap_err();
    assert_eq!(why(&error), "neither of its two slots is whole");
    fs::remove_file(&path).unwrap();
    next_owner(&opened.volume, LU, OwnerId(0)).unwrap_err();
}

#[test]
fn an_lu_has_its_old_size_until_its_record_has_the_new_one_and_can_be_grown_again() {
    let (dir, opened, mut record) = with_lu();
    opened.volume.grow_data(LU, 3 * SIZE).unwrap();
    drop(opened);
    let again = Volume::open(dir.path(), 2).unwrap();
    assert_eq!(again.records, BTreeMap::from([(LU, record)]));
    // What there is more of than is asked for now is not taken away.
    again.volume.grow_data(LU, 2 * SIZE).unwrap();
    assert_eq!(fs::metadata(again.volume.data(LU)).unwrap().len(), 3 * SIZE);
    record.size = 2 * SIZE;
    again.volume.store_record(LU, &record).unwrap();
    drop(again);
    assert_eq!(Volume::open(dir.path(), 3).unwrap().records, BTreeMap::from([(LU, record)]));
}
