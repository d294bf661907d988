//! A repository that serves a volume over the fabric: sessions, data, fences, restarts.
#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod exit;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_runtime::{Node, RestartPolicy};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{Endpoint, TransportConfig};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::carry::{CarriedCall, Echo};
use vioduct_vios::fabric::FabricEnd;
use vioduct_vios::redirect::Epoch;
use vioduct_vios::redirect::limits::StoreLimits;
use vioduct_vios::redirect::message::{Call, Why, Word};
use vioduct_vios::redirect::name::{LuId, OwnerId, ViosId};
use vioduct_vios::repository::actor::Repository;
use vioduct_vios::repository::volume::Volume;
use vioduct_vios::roles::layout::{Layout, Layouts, Place};

use exit::Exit;

const LU: LuId = LuId(7);
const SIZE: u64 = 8 << 20;
const LONG: Duration = Duration::from_secs(10);

/// A storage node: an actor, and its own end of the fabric.
struct Storage {
    node: Node,
    fabric: Endpoint,
    addr: SocketAddr,
}

impl Storage {
    async fn start(ca: &mut DevCa, dir: &Path, run: u64) -> Self {
        let credentials = Arc::new(ca.node("storage", Roles::none()).unwrap());
        let node = Node::builder(Arc::clone(&credentials)).workers(1).start().await.unwrap();
        let exits = [("a", 1), ("b", 2)].map(|(name, id)| Place {
            vios: ViosId(id),
            node: name.parse().unwrap(),
            cec: 1,
        });
        let exits = Layouts::from(Layout::new(exits.into()).unwrap());
        let opened = Volume::open(dir, run).unwrap();
        let repository = Repository::new(opened, StoreLimits::default(), exits);
        let mut repository = Some(repository.unwrap());
        let actor = node.actor(move || repository.take().expect("it is made once"));
        let actor = actor.restart(RestartPolicy::never()).start().await.unwrap();

        let config = TransportConfig::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let surroundings = Surroundings::bind(any, config.socket_buffer_bytes).unwrap();
        let actor = actor.now().unwrap();
        let end = FabricEnd::<Repository, CarriedCall>::new(0, actor.clone(), actor);
        let fabric = Endpoint::new(config, run, credentials, surroundings, Arc::new(end)).unwrap();
        let addr = fabric.local_addr().unwrap();
        Self { node, fabric, addr }
    }

    async fn stop(self) {
        self.fabric.close().await;
        self.node.shutdown(LONG).await;
    }
}

/// A volume with one LU, served, and a CA that certifies VIOSes.
struct World {
    ca: DevCa,
    dir: TempDir,
    storage: Storage,
    runs: u64,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Volume::create(dir.path(), 5).unwrap();
        let opened = Volume::open(dir.path(), 1).unwrap();
        opened.volume.create_lu(LU, SIZE, opened.start.identity, Epoch::NONE, 0).unwrap();
        drop(opened);
        let mut ca = DevCa::new("disks", UnixTime::now()).unwrap();
        let storage = Storage::start(&mut ca, dir.path(), 1).await;
        Self { ca, dir, storage, runs: 1 }
    }

    async fn exit(&mut self, name: &str) -> Exit {
        self.runs += 1;
        let credentials = self.ca.node(name, Roles::none()).unwrap();
        let storage: NodeName = "storage".parse().unwrap();
        Exit::dial(credentials, self.runs, (&storage, self.storage.addr), LU).await
    }

    async fn restart(self) -> Self {
        let Self { mut ca, dir, storage, runs } = self;
        storage.stop().await;
        let storage = Storage::start(&mut ca, dir.path(), runs + 1).await;
        Self { ca, dir, storage, runs: runs + 1 }
    }
}

fn write(offset: u64, data: &[u8]) -> Request {
    Request::Write { offset, data: Bytes::copy_from_slice(data), fua: false }
}

fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}

fn is_opened(word: &Word) -> bool {
    matches!(word, Word::Opened { size: SIZE, .. })
}

#[tokio::test]
async fn what_is_written_is_read_by_another_vios_and_after_a_restart() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 1).await));
    let large = vec![7; 1 << 20];
    assert_eq!(a.done(write(4096, &large)).await, Ok(Reply::Done));
    assert_eq!(a.done(write(1, b"first")).await, Ok(Reply::Done));
    assert_eq!(a.done(Request::Flush).await, Ok(Reply::Done));
    assert_eq!(a.done(read(0, 8)).await, Ok(Reply::Data(Bytes::from_static(b"\0first\0\0"))));

    let mut b = world.exit("b").await;
    assert!(is_opened(&b.open(1, 2).await));
    assert_eq!(b.done(read(4096, 1 << 20)).await, Ok(Reply::Data(large.clone().into())));

    let mut world = world.restart().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 3).await));
    assert_eq!(a.done(read(4096, 1 << 20)).await, Ok(Reply::Data(large.into())));
    assert_eq!(a.done(read(1, 5)).await, Ok(Reply::Data(Bytes::from_static(b"first"))));
    world.storage.stop().await;
}

#[tokio::test]
async fn the_older_session_is_told_and_changes_nothing_any_more() {
    let mut world = World::new().await;
    let (mut a, mut b) = (world.exit("a").await, world.exit("b").await);
    assert!(is_opened(&a.open(1, 1).await));
    assert_eq!(a.done(write(0, b"old")).await, Ok(Reply::Done));
    assert!(is_opened(&b.open(1, 2).await));
    let Word::Down { why, .. } = a.word().await else { panic!("it is told") };
    assert_eq!(why, Why::Superseded);
    a.ask(write(0, b"ghost")).await;
    let Word::Down { why, .. } = a.word().await else { panic!("it is refused") };
    assert_eq!(why, Why::NotOpen);
    assert_eq!(b.done(read(0, 5)).await, Ok(Reply::Data(Bytes::from_static(b"old\0\0"))));
    let Word::Refused { highest, .. } = a.open(1, 2).await else { panic!("it is not above") };
    assert_eq!(highest, Epoch { owner: OwnerId(1), seq: 2 });
    world.storage.stop().await;
}

#[tokio::test]
async fn after_a_restart_the_session_is_over_and_its_number_is_remembered() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(4, 9).await));
    a.hang_up().await;
    let mut world = world.restart().await;
    let mut a = world.exit("a").await;
    a.epoch = Epoch { owner: OwnerId(4), seq: 9 };
    a.ask(read(0, 1)).await;
    let Word::Down { why, .. } = a.word().await else { panic!("every LU is closed") };
    assert_eq!(why, Why::NotOpen);
    let refused = a.open(3, 50).await;
    assert!(matches!(refused, Word::Refused { .. }), "{refused:?}");
    assert!(is_opened(&a.open(4, 10).await));
    world.storage.stop().await;
}

#[tokio::test]
async fn data_that_changed_on_its_way_ends_the_session_and_is_not_written() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 1).await));
    assert_eq!(a.done(write(0, b"whole")).await, Ok(Reply::Done));
    let call = |data| Call::Request { epoch: a.epoch, no: 2, request: write(0, data) };
    let checksum = CarriedCall::seal(LU, call(b"sound")).checksum();
    a.send(CarriedCall::pass(LU, call(b"spoil"), checksum)).await;
    let Word::Down { why, .. } = a.word().await else { panic!("the session is over") };
    assert_eq!(why, Why::Spoilt);
    assert!(is_opened(&a.open(1, 2).await));
    assert_eq!(a.done(read(0, 5)).await, Ok(Reply::Data(Bytes::from_static(b"whole"))));
    world.storage.stop().await;
}

#[tokio::test]
async fn a_node_that_is_no_vios_of_the_storage_is_not_heard() {
    let mut world = World::new().await;
    let mut stranger = world.exit("stranger").await;
    let opened = timeout(Duration::from_millis(500), stranger.open(9, 9)).await;
    assert!(opened.is_err(), "{opened:?}");
    assert!(stranger.is_silent().await);
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 1).await), "its number was not taken");
    world.storage.stop().await;
}

#[tokio::test]
async fn a_request_past_the_end_fails_by_itself() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 1).await));
    assert_eq!(a.done(read(SIZE, 1)).await, Err(Failure::Invalid));
    assert_eq!(a.done(read(SIZE - 1, 1)).await, Ok(Reply::Data(Bytes::from_static(b"\0"))));
    world.storage.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_ends_its_sessions() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    assert!(is_opened(&a.open(1, 1).await));
    a.hang_up().await;
    let mut again = world.exit("a").await;
    again.epoch = Epoch { owner: OwnerId(1), seq: 1 };
    again.ask(read(0, 1)).await;
    let Word::Down { why, .. } = again.word().await else {
        panic!("it is bound to its connection")
    };
    assert_eq!(why, Why::NotOpen);
    world.storage.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered_without_a_session_whatever_came_before_it() {
    let mut world = World::new().await;
    let mut a = world.exit("a").await;
    for garbage in [&[][..], &[0xff; 10], &[0; 300], b"\x01\x02\x03"] {
        a.send_control(garbage).await;
    }
    a.beat(7).await;
    let idle = Echo { no: 7, oldest_us: 0, failures: 0 };
    assert_eq!(a.echo().await, idle);
    assert!(is_opened(&a.open(1, 1).await));
    for block in 0..32 {
        a.ask(write(block * (128 << 10), &vec![7; 128 << 10])).await;
    }
    a.beat(u64::MAX).await;
    let busy = a.echo().await;
    assert_eq!((busy.no, busy.failures), (u64::MAX, 0));
    a.hang_up().await;
    world.storage.stop().await;
}

#[tokio::test]
async fn a_node_that_is_no_vios_of_the_storage_gets_no_heartbeat_answered() {
    let mut world = World::new().await;
    let mut stranger = world.exit("stranger").await;
    stranger.beat(1).await;
    assert!(stranger.is_not_answered().await);
    stranger.hang_up().await;
    world.storage.stop().await;
}
