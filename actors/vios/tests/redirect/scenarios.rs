//! The page's scenarios, step by step, as far as they concern the machines. At every step all
//! properties are checked; the last line of each test says what its client got.

use bytes::Bytes;
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::{AdapterId, ClientId, Holder, OwnerId, ViosId};
use vioduct_vios::redirect::owner::{self, End, OwnerEvent};
use vioduct_vios::redirect::{Epoch, store};

use super::plan::{Budget, MS, Plan, read, write};
use super::world::{LU, Step, Wire, World};

/// The first of each VIOS.
const ADAPTER: AdapterId = AdapterId(0);

/// A world, and somebody who moves it.
struct Stage {
    plan: Plan,
    world: World,
}

impl Stage {
    fn new(vioses: u32) -> Self {
        Self::with_adapters(vioses, 1)
    }

    fn with_adapters(vioses: u32, adapters: u8) -> Self {
        Self::with(|plan| {
            plan.vioses = vioses;
            plan.near = vioses as usize;
            plan.adapters = adapters;
        })
    }

    fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::small(Vec::new());
        change(&mut plan);
        plan.cells = 4;
        plan.owner.requests_max = 16;
        plan.seq_max = u64::MAX;
        let most = u8::MAX;
        plan.budget = Budget { ticks: most, ..Budget::default() };
        Self { world: World::new(&plan), plan }
    }

    /// All is set up, and the first owner serves.
    fn served(vioses: u32) -> Self {
        let mut stage = Self::new(vioses);
        stage.quiet();
        assert!(stage.owner(0).is_serving());
        stage
    }

    fn owner(&self, seat: usize) -> &owner::Owner {
        self.world.seats[seat].as_ref().unwrap()
    }

    fn step(&mut self, step: Step) {
        let budget = &mut self.world.budget;
        *budget = Budget {
            cuts: 1,
            store_kills: 1,
            power_cuts: 1,
            owner_kills: 1,
            attaches: 1,
            relay_kills: 1,
            fabric_losses: 1,
            fsync_failures: 1,
            op_failures: 1,
            losses: 1,
            closes: 1,
            ..*budget
        };
        self.world.apply(&self.plan, step);
        assert_eq!(self.world.oracle.broken, None, "{step:?}");
    }

    fn ask(&mut self, seat: usize, request: &Request) -> u64 {
        let tag = self.world.at as u64;
        self.world.ask(&self.plan, seat, request);
        self.world.settle(&self.plan);
        tag
    }

    /// All that flows, flows, but for such steps.
    fn quiet_but(&mut self, is_held: impl Fn(&World, Step) -> bool) {
        loop {
            let mut steps = Vec::new();
            self.world.flow_steps(&self.plan, &mut steps);
            let is_tick = |step: Step| matches!(step, Step::Tick(_));
            let mut steps = steps.into_iter().filter(|step| !is_tick(*step));
            let Some(step) = steps.find(|step| !is_held(&self.world, *step)) else {
                return;
            };
            self.step(step);
        }
    }

    /// All that flows, flows; owners that wait to open again do so.
    fn quiet(&mut self) {
        for _ in 0..32 {
            self.quiet_but(|_, _| false);
            let waits = |owner: &owner::Owner| owner.end().is_none() && !owner.is_serving();
            let mut seats = self.world.seats.iter();
            let Some(seat) = seats.position(|owner| owner.as_ref().is_some_and(waits)) else {
                return;
            };
            self.step(Step::Tick(seat));
        }
        panic!("an owner does not get to serve");
    }

    fn answer(&self, seat: usize, tag: u64) -> Option<&Result<Reply, Failure>> {
        self.world.answers.0.get(&(seat, tag))
    }

    fn asked(&mut self, seat: usize, request: &Request) -> Result<Reply, Failure> {
        let tag = self.ask(seat, request);
        self.quiet();
        self.answer(seat, tag).cloned().expect("it is answered")
    }

    /// What the disk shows, and what it would after a power cut.
    fn shown(&self) -> (Vec<u8>, Vec<u8>) {
        let cells = &self.world.disk.cells;
        (cells.iter().map(|c| c.cache).collect(), cells.iter().map(|c| c.durable).collect())
    }

    fn last_conn(&self) -> usize {
        self.world.conns.len() - 1
    }

    fn saw(&self, event: impl Fn(&OwnerEvent) -> bool) -> bool {
        self.world.events.0.iter().any(event)
    }
}

const DONE: Result<Reply, Failure> = Ok(Reply::Done);
const EIO: Result<Reply, Failure> = Err(Failure::Io);

fn is_perform(_: &World, step: Step) -> bool {
    matches!(step, Step::Perform(_))
}

fn data(bytes: &'static [u8]) -> Result<Reply, Failure> {
    Ok(Reply::Data(Bytes::from_static(bytes)))
}

fn long_write(offset: u64, length: usize) -> Request {
    Request::Write { offset, data: Bytes::from(vec![0; length]), fua: false }
}

#[test]
fn zombie_write_one_stuck_in_the_device_is_waited_for_and_never_lands_after_newer_ones() {
    let mut stage = Stage::served(1);
    let stuck = stage.ask(0, &write(0));
    stage.quiet_but(is_perform);
    assert_eq!(stage.world.device.len(), 1);
    let cut = stage.last_conn();
    stage.step(Step::Cut(cut));
    stage.quiet_but(is_perform);
    assert!(!stage.owner(0).is_serving(), "the session waits for the device");
    assert_eq!(stage.answer(0, stuck), None);
    stage.step(Step::Perform(0));
    for _ in 0..100 {
        assert_eq!(stage.asked(0, &write(0)), DONE);
    }
    assert_eq!(stage.asked(0, &read(0, 1)), data(&[101]));
}

#[test]
fn zombie_in_kernel_a_store_is_not_started_while_a_dead_ones_request_is_in_the_kernel() {
    let mut stage = Stage::served(1);
    stage.ask(0, &write(0));
    stage.quiet_but(is_perform);
    stage.step(Step::KillStore);
    stage.quiet_but(is_perform);
    assert!(stage.world.store.is_none(), "its lock is not free");
    stage.quiet();
    assert_eq!(stage.asked(0, &write(0)), DONE);
    assert_eq!(stage.asked(0, &read(0, 1)), data(&[2]));
}

#[test]
fn hidden_power_cut_what_was_acknowledged_is_written_again_before_anything_is_read() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &long_write(0, 3)), DONE);
    assert_eq!(stage.asked(0, &write(1)), DONE);
    stage.step(Step::CutPower(0));
    assert_eq!(stage.shown().0, [0, 0, 0, 0]);
    assert_eq!(stage.asked(0, &read(0, 4)), data(&[1, 2, 1, 0]));
    assert_eq!(stage.asked(0, &Request::Flush), DONE);
    assert_eq!(stage.shown().1, [1, 2, 1, 0]);
    assert_eq!(stage.owner(0).dirty().ranges(), 0);
}

#[test]
fn forgotten_epoch_the_storage_remembers_the_newer_owner_over_its_restart() {
    let mut stage = Stage::served(1);
    stage.step(Step::Attach);
    stage.quiet_but(|_, step| matches!(step, Step::Deliver(Wire::ToOwner(_, 0))));
    stage.step(Step::KillStore);
    stage.quiet();
    assert!(stage.owner(1).is_serving());
    assert!(matches!(stage.owner(0).end(), Some(End::Superseded { .. })));
}

#[test]
fn lost_opened_the_next_open_goes_by_the_other_entry_and_above() {
    let mut stage = Stage::new(2);
    // The storage has opened, and its word is on its way when the exit dies.
    stage.quiet_but(|world, step| match step {
        Step::Up(conn) => matches!(world.conns[conn].up.front(), Some(Word::Opened { .. })),
        _ => false,
    });
    let first = stage.world.store.as_ref().unwrap().open_epoch(LU).unwrap();
    stage.step(Step::KillRelay(0));
    stage.quiet_but(|_, step| matches!(step, Step::StartRelay(_)));
    assert!(stage.owner(0).is_serving());
    assert!(stage.owner(0).epoch() > first);
    assert_eq!(stage.asked(0, &write(0)), DONE);
}

#[test]
fn late_open_one_that_comes_after_two_newer_ones_changes_nothing() {
    let mut stage = Stage::served(2);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    let late = Epoch { owner: OwnerId(1), seq: 2 };
    for _ in 0..3 {
        let cut = stage.world.conns.iter().position(|conn| !conn.is_cut_above).unwrap();
        stage.step(Step::Cut(cut));
        stage.quiet();
    }
    let open = stage.world.store.as_ref().unwrap().open_epoch(LU).unwrap();
    assert!(open.seq >= 3);
    let conn = stage.last_conn();
    let call = Call::Open { epoch: late, holder: Holder(100), hop: 0, avoid: None };
    stage.world.arrive(&stage.plan, conn, call);
    assert_eq!(stage.world.store.as_ref().unwrap().open_epoch(LU), Some(open));
    assert_eq!(stage.asked(0, &read(0, 1)), data(&[1]));
}

#[test]
fn owner_dies_dirty_the_loss_with_the_storages_power_is_told_once_and_then_settled() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    stage.step(Step::KillOwner(0));
    stage.step(Step::CutPower(0));
    stage.step(Step::Attach);
    stage.quiet();
    assert!(stage.saw(|event| matches!(event, OwnerEvent::DoubleLoss { .. })));
    // The successor dies before it could tell anybody: the next one knows it all the same.
    stage.step(Step::KillOwner(1));
    stage.step(Step::Attach);
    assert_eq!(stage.asked(2, &Request::Flush), EIO);
    assert_eq!(stage.asked(2, &Request::Flush), DONE);
    stage.step(Step::KillOwner(2));
    stage.step(Step::Attach);
    assert_eq!(stage.asked(3, &Request::Flush), DONE);
}

#[test]
fn owner_dies_alone_and_its_successor_makes_its_writes_durable_before_it_serves() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    stage.step(Step::KillOwner(0));
    stage.step(Step::Attach);
    stage.quiet();
    assert_eq!(stage.shown().1, [1, 0, 0, 0]);
    assert_eq!(stage.asked(1, &Request::Flush), DONE);
}

#[test]
fn frozen_owner_that_resumes_has_nothing_carried_out_and_ends() {
    let mut stage = Stage::served(1);
    let is_frozen = |_: &World, step: Step| matches!(step, Step::Deliver(Wire::ToOwner(_, 0)));
    assert_eq!(stage.asked(0, &long_write(0, 4)), DONE);
    stage.plan.links = super::plan::Links::Queued;
    stage.step(Step::Attach);
    let newer = stage.ask(1, &write(0));
    stage.quiet_but(is_frozen);
    assert_eq!(stage.answer(1, newer), Some(&DONE));
    let old = [write(0), read(0, 4), Request::Flush].map(|request| stage.ask(0, &request));
    stage.quiet_but(is_frozen);
    assert_eq!(stage.shown().0, [2, 1, 1, 1]);
    stage.quiet();
    assert!(matches!(stage.owner(0).end(), Some(End::Superseded { .. })));
    assert!(old.iter().all(|tag| stage.answer(0, *tag).is_none()), "it answers nothing more");
    assert_eq!(stage.owner(0).dirty().ranges(), 0);
    assert_eq!(stage.shown().0, [2, 1, 1, 1]);
}

#[test]
fn replay_race_dirty_bytes_come_before_what_was_in_flight_and_that_before_what_is_new() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &long_write(0, 4)), DONE);
    let in_flight = stage.ask(0, &long_write(1, 2));
    stage.quiet_but(is_perform);
    let reader = stage.ask(0, &read(0, 4));
    stage.step(Step::CutPower(0));
    let newer = stage.ask(0, &write(2));
    let last = stage.ask(0, &read(0, 4));
    stage.quiet();
    assert_eq!(stage.answer(0, in_flight), Some(&DONE));
    assert_eq!(stage.answer(0, reader), Some(&data(&[1, 2, 2, 1])));
    assert_eq!(stage.answer(0, newer), Some(&DONE));
    assert_eq!(stage.answer(0, last), Some(&data(&[1, 2, 3, 1])));
}

#[test]
fn fsync_lies_the_failed_flush_is_told_and_the_next_one_writes_everything_again() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    let failed = stage.ask(0, &Request::Flush);
    stage.quiet_but(is_perform);
    stage.step(Step::Fail(0));
    stage.quiet();
    assert_eq!(stage.answer(0, failed), Some(&EIO));
    assert!(stage.saw(|event| matches!(event, OwnerEvent::Replayed { .. })));
    assert_eq!(stage.asked(0, &Request::Flush), DONE);
    assert_eq!(stage.shown().1, [1, 0, 0, 0]);
}

#[test]
fn fsync_lies_and_the_process_dies_before_it_can_say_so() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    stage.ask(0, &Request::Flush);
    stage.quiet_but(is_perform);
    stage.step(Step::Fail(0));
    stage.step(Step::KillStore);
    stage.step(Step::KillOwner(0));
    stage.step(Step::Attach);
    assert_eq!(stage.asked(1, &Request::Flush), EIO);
    assert_eq!(stage.asked(1, &Request::Flush), DONE);
}

#[test]
fn one_way_answers_are_lost_and_the_session_moves_to_another_exit() {
    let mut stage = Stage::served(2);
    let lost = stage.last_conn() - 1;
    let tag = stage.ask(0, &write(0));
    let is_mute = |_: &World, step: Step| step == Step::Up(lost);
    stage.quiet_but(is_mute);
    assert_eq!(stage.shown().0, [1, 0, 0, 0], "it arrived, and was carried out");
    assert_eq!(stage.answer(0, tag), None);
    stage.step(Step::Tick(0));
    stage.quiet_but(is_mute);
    assert_eq!(stage.answer(0, tag), Some(&DONE));
    assert!(stage.saw(|event| matches!(event, OwnerEvent::PathLost { .. })));
}

#[test]
fn one_way_both_without_fabric_end_in_no_path_and_not_in_a_loop() {
    let mut stage = Stage::served(2);
    stage.world.planted.lost_fabric.clear();
    let held = |_: &World, step: Step| matches!(step, Step::MendFabric(..));
    stage.step(Step::LoseFabric(0, ADAPTER));
    stage.quiet_but(held);
    assert!(stage.owner(0).is_serving(), "by the other exit");
    stage.step(Step::LoseFabric(1, ADAPTER));
    let tag = stage.ask(0, &write(0));
    stage.quiet_but(held);
    assert!(!stage.owner(0).is_serving());
    stage.quiet();
    stage.step(Step::Tick(0));
    stage.quiet();
    assert_eq!(stage.answer(0, tag), Some(&DONE));
}

#[test]
fn zombie_write_on_one_adapter_is_fenced_when_the_other_one_of_the_same_vios_serves() {
    let mut stage = Stage::with_adapters(2, 2);
    stage.quiet();
    let held = |_: &World, step: Step| matches!(step, Step::MendFabric(..) | Step::Down(0));
    let tag = stage.ask(0, &write(0));
    stage.quiet_but(held);
    assert_eq!(stage.answer(0, tag), None, "it is on its way by the first adapter");
    stage.step(Step::LoseFabric(0, ADAPTER));
    stage.quiet_but(held);
    assert_eq!(stage.answer(0, tag), Some(&DONE));
    assert_eq!(stage.owner(0).exit(), Some(ViosId(0)), "by the other adapter");
    let newer = stage.ask(0, &write(0));
    stage.quiet_but(held);
    assert_eq!(stage.answer(0, newer), Some(&DONE));
    stage.step(Step::Down(0));
    stage.quiet_but(held);
    assert_eq!(stage.shown().0, [2, 0, 0, 0], "what came late changed nothing");
    stage.step(Step::LoseFabric(0, AdapterId(1)));
    stage.quiet_but(held);
    assert_eq!(stage.owner(0).exit(), Some(ViosId(1)), "by the other VIOS");
}

#[test]
fn no_path_full_writes_that_were_sent_are_carried_out_first_though_they_were_answered_eio() {
    let mut stage = Stage::served(1);
    stage.plan.owner.hold_max = std::time::Duration::ZERO;
    let plan = stage.plan.clone();
    stage = Stage { world: World::new(&plan), plan };
    stage.quiet();
    assert_eq!(stage.asked(0, &write(0)), DONE);
    let sent = stage.ask(0, &write(0));
    stage.quiet_but(is_perform);
    stage.step(Step::LoseFabric(0, ADAPTER));
    let unsent = stage.ask(0, &write(0));
    let held = |_: &World, step: Step| matches!(step, Step::MendFabric(..) | Step::Perform(_));
    stage.quiet_but(held);
    stage.step(Step::Tick(0));
    assert_eq!(stage.answer(0, sent), Some(&EIO));
    assert_eq!(stage.answer(0, unsent), Some(&EIO));
    assert_eq!(stage.owner(0).requests(), 1, "the one that was sent keeps its place");
    // Its first attempt lands only now.
    stage.step(Step::Perform(0));
    stage.step(Step::MendFabric(0, ADAPTER));
    let reader = stage.ask(0, &read(0, 1));
    let newer = stage.ask(0, &write(0));
    stage.step(Step::Tick(0));
    stage.quiet();
    stage.step(Step::CutPower(0));
    stage.quiet();
    if stage.answer(0, reader) == Some(&EIO) {
        assert_eq!(stage.asked(0, &read(0, 1)), data(&[2]));
    } else {
        assert_eq!(stage.answer(0, reader), Some(&data(&[2])));
        assert_eq!(stage.answer(0, newer), Some(&DONE));
    }
    assert_eq!(stage.asked(0, &Request::Flush), DONE);
}

#[test]
fn no_path_full_a_full_map_sends_writes_as_fua_and_nothing_is_dropped() {
    let mut stage = Stage::served(1);
    stage.plan.owner.dirty_bytes_max = 1;
    let plan = stage.plan.clone();
    stage = Stage { world: World::new(&plan), plan };
    stage.quiet();
    assert_eq!(stage.asked(0, &write(0)), DONE);
    assert_eq!(stage.asked(0, &write(1)), DONE);
    assert_eq!(stage.shown().1[1], 2, "it is durable at once");
    stage.step(Step::CutPower(0));
    assert_eq!(stage.asked(0, &read(0, 2)), data(&[1, 2]));
}

#[test]
fn trim_ghost_a_late_trim_does_not_touch_newer_data() {
    let trim = Request::Trim { extent: Extent { offset: 0, length: 2 }, fua: false };
    let zeroes = Request::WriteZeroes {
        extent: Extent { offset: 0, length: 2 },
        fua: false,
        may_punch: true,
        only_fast: false,
    };
    for late in [trim, zeroes] {
        let mut stage = Stage::served(1);
        assert_eq!(stage.asked(0, &long_write(0, 2)), DONE);
        stage.ask(0, &late);
        stage.quiet_but(is_perform);
        let cut = stage.last_conn();
        stage.step(Step::Cut(cut));
        let newer = stage.ask(0, &write(0));
        stage.quiet_but(is_perform);
        assert_eq!(stage.answer(0, newer), None);
        stage.quiet();
        assert_eq!(stage.answer(0, newer), Some(&DONE));
        assert_eq!(stage.asked(0, &read(0, 2)), data(&[3, 0]));
    }
}

#[test]
fn trim_ghost_the_room_of_a_deleted_lu_is_free_only_when_no_request_refers_to_it() {
    let mut stage = Stage::served(1);
    stage.ask(0, &write(0));
    stage.quiet_but(is_perform);
    stage.world.store(&stage.plan, store::Input::Deleted { lu: LU });
    stage.quiet_but(is_perform);
    assert_eq!(stage.world.freed.0, 0);
    stage.quiet();
    assert_eq!(stage.world.freed.0, 1);
    assert_eq!(stage.owner(0).end(), Some(End::Gone));
}

#[test]
fn front_door_the_same_request_on_two_connections_is_carried_out_in_order() {
    let mut stage = Stage::served(1);
    let request = |client, tag, value: u8| owner::Input::Asked {
        client: ClientId(client),
        tag,
        request: Request::Write { offset: 0, data: Bytes::from(vec![value]), fua: false },
    };
    let plan = stage.plan.clone();
    // The first connection is gone, its request is not; the client sends it again by another one,
    // and then something newer.
    stage.world.owner(&plan, 0, request(7, 1, 1));
    stage.world.owner(&plan, 0, owner::Input::ClientLeft { client: ClientId(7) });
    stage.world.oracle.ask(0, 2, &Request::Write { offset: 0, data: vec![1].into(), fua: false });
    stage.world.owner(&plan, 0, request(8, 2, 1));
    stage.world.oracle.ask(0, 3, &Request::Write { offset: 0, data: vec![2].into(), fua: false });
    stage.world.owner(&plan, 0, request(8, 3, 2));
    stage.world.settle(&plan);
    stage.quiet();
    assert_eq!(stage.answer(0, 1), None, "nobody is there any more");
    assert_eq!(stage.answer(0, 2), Some(&DONE));
    assert_eq!(stage.answer(0, 3), Some(&DONE));
    assert_eq!(stage.shown().0, [2, 0, 0, 0]);
}

#[test]
fn fail_back_the_session_returns_to_the_own_fabric_once_it_is_proven() {
    let mut stage = Stage::served(2);
    let held = |_: &World, step: Step| matches!(step, Step::MendFabric(..));
    stage.step(Step::LoseFabric(0, ADAPTER));
    stage.quiet_but(held);
    assert_eq!(stage.asked_but(&write(0), held), DONE);
    assert_eq!(stage.owner(0).exit(), Some(ViosId(1)));
    stage.step(Step::MendFabric(0, ADAPTER));
    stage.quiet();
    assert_eq!(stage.owner(0).exit(), Some(ViosId(0)));
    assert_eq!(stage.shown().1, [1, 0, 0, 0], "it was flushed before it moved");
    assert_eq!(stage.asked(0, &write(0)), DONE);
}

#[test]
fn going_home_an_owner_that_was_left_no_vios_of_its_cec_returns_once_there_is_one() {
    let mut stage = Stage::with(|plan| {
        plan.vioses = 3;
        plan.near = 2;
        plan.owner.silence_max = 100 * MS;
    });
    stage.quiet();
    let held = |_: &World, step: Step| matches!(step, Step::StartRelay(_));
    for vios in [0, 1] {
        stage.step(Step::KillRelay(vios));
        stage.quiet_but(held);
    }
    assert_eq!(stage.asked_but(&write(0), held), DONE);
    assert_eq!(stage.owner(0).entry(), Some(ViosId(2)));
    stage.step(Step::StartRelay(1));
    stage.step(Step::Tick(0));
    stage.quiet_but(held);
    assert_eq!(stage.owner(0).entry(), Some(ViosId(1)));
    assert_eq!(stage.shown().1, [1, 0, 0, 0], "it was flushed before it moved");
    assert_eq!(stage.asked_but(&write(0), held), DONE);
}

#[test]
fn a_close_in_order_leaves_nothing_to_flush_or_to_tell() {
    let mut stage = Stage::served(1);
    assert_eq!(stage.asked(0, &write(0)), DONE);
    stage.step(Step::Close(0));
    stage.quiet();
    assert_eq!(stage.owner(0).end(), Some(End::Closed));
    stage.step(Step::CutPower(0));
    stage.step(Step::Attach);
    assert_eq!(stage.asked(1, &Request::Flush), DONE);
    assert_eq!(stage.asked(1, &read(0, 1)), data(&[1]));
}

impl Stage {
    fn asked_but(
        &mut self,
        request: &Request,
        is_held: impl Fn(&World, Step) -> bool,
    ) -> Result<Reply, Failure> {
        let tag = self.ask(0, request);
        self.quiet_but(is_held);
        self.answer(0, tag).cloned().expect("it is answered")
    }
}
