//! Order, at most once, and what errors promise, between actors, while the network loses packets
//! and connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::interval;
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorRef, AskError, Node, NotDelivered, RemoteMessage};
use vioduct_tests::fault::{Direction, Faults, UdpProxy, UdpProxyConfig};
use vioduct_transport::{Link, TransportConfig};

use crate::support::{BOUND, attentive, name};

const SENDERS: u32 = 8;
const MESSAGES: u64 = 125_000;
/// Every so many messages one is an ask, whose answer is awaited.
const ASK_EVERY: u64 = 250;
/// A sender does not send more than this for each connection that there has been.
const MESSAGES_PER_CONNECTION: u64 = 20_000;
const SEED: u64 = 20_261_123;

/// Writes down what arrives.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "delivery.Note")]
struct Note {
    sender: u32,
    number: u64,
}

type Notes = Arc<Mutex<BTreeMap<u32, Vec<u64>>>>;

struct Scribe(Notes);

impl Actor for Scribe {
    type Context = Context<Self>;
}

impl Handler<Note> for Scribe {
    type Result = u64;

    fn handle(&mut self, Note { sender, number }: Note, _ctx: &mut Self::Context) -> u64 {
        self.0.lock().unwrap().entry(sender).or_default().push(number);
        number
    }
}

/// What a sender was told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// A tell that was taken, or an ask in doubt.
    Maybe,
    Answered,
    NotDelivered,
}

/// Cuts the way between, now both ways, now one, and goes back to `faults`, until aborted.
fn chaos(proxy: Arc<UdpProxy>, faults: Faults) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut beats = interval(Duration::from_millis(130));
        for beat in 0_u32.. {
            beats.tick().await;
            match beat % 30 {
                4 => proxy.cut_both(),
                14 => proxy.cut(Direction::ToTarget),
                24 => proxy.cut(Direction::ToClient),
                0 | 10 | 20 => proxy.set_both(faults),
                _ => {}
            }
        }
    })
}

async fn send(scribe: ActorRef<Scribe>, sender: u32, link: Link) -> Vec<Told> {
    let mut told = Vec::new();
    let mut looks = interval(Duration::from_millis(20));
    for number in 0..MESSAGES {
        // A quick machine waits for the faults.
        while link.stats().connections < number / MESSAGES_PER_CONNECTION {
            looks.tick().await;
        }
        let note = Note { sender, number };
        let fate = if number % ASK_EVERY == 0 {
            match scribe.ask(note, BOUND).await {
                Ok(answer) => {
                    assert_eq!(answer, number);
                    Told::Answered
                }
                Err(AskError::MaybeDelivered(_doubt)) => Told::Maybe,
                Err(AskError::NotDelivered(_reason)) => Told::NotDelivered,
            }
        } else {
            match scribe.tell(note).await {
                Ok(()) => Told::Maybe,
                Err(not) => {
                    assert!(matches!(not.reason, NotDelivered::Unreachable { .. }), "{not:?}");
                    assert_eq!(not.message.number, number, "it is given back");
                    Told::NotDelivered
                }
            }
        };
        told.push(fate);
    }
    told
}

async fn node(ca: &mut DevCa, name: &str, config: &TransportConfig) -> Node {
    let credentials = Arc::new(ca.node(name, Roles::none()).unwrap());
    Node::builder(credentials).workers(1).transport(config.clone()).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_between_actors_keep_every_promise_over_loss_and_reconnects() {
    let mut ca = DevCa::new("delivery", UnixTime::now()).unwrap();
    let config = attentive();
    let (one, two) = (node(&mut ca, "n1", &config).await, node(&mut ca, "n2", &config).await);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let target = two.local_addr().unwrap();
    let proxy = UdpProxy::start(UdpProxyConfig { listen, target, seed: SEED }).unwrap();
    one.connect(two.name().clone(), proxy.addr()).await.unwrap();
    let notes = Notes::default();
    let kept = Arc::clone(&notes);
    let scribe = two.actor(move || Scribe(Arc::clone(&kept))).named(name("scribe"));
    scribe.accept::<Note>(Access::nodes()).start().await.unwrap();
    let scribe: ActorRef<Scribe> = one.lookup(two.name(), &name("scribe")).await.unwrap();

    let faults = Faults::none().with_loss(0.05).unwrap();
    proxy.set_both(faults);
    let link = one.endpoint().link(two.name()).unwrap();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(scribe.clone(), sender, link.clone())))
        .collect();
    let proxy = Arc::new(proxy);
    let chaos = chaos(Arc::clone(&proxy), faults);
    let mut told = Vec::new();
    for sender in senders {
        told.push(sender.await.unwrap());
    }
    chaos.abort();
    proxy.heal();
    // Behind everything that is still on its way.
    let last = Note { sender: SENDERS, number: 0 };
    while scribe.ask(last.clone(), BOUND).await.is_err() {}
    let connections = link.stats().connections;
    let notes = notes.lock().unwrap();
    let mut arrived = 0;
    for (sender, told) in (0..).zip(&told) {
        let numbers = &notes[&sender];
        assert!(numbers.is_sorted_by(|one, next| one < next), "sender {sender}: out of order");
        arrived += numbers.len();
        for (number, told) in (0..).zip(told) {
            let has_arrived = numbers.binary_search(&number).is_ok();
            let is_kept = match told {
                Told::Maybe => true,
                Told::Answered => has_arrived,
                Told::NotDelivered => !has_arrived,
            };
            assert!(is_kept, "message {number} of {sender}: told {told:?}, arrived: {has_arrived}");
        }
    }
    let all: Vec<Told> = told.concat();
    let count = |fate| all.iter().filter(|told| **told == fate).count();
    let (answered, not) = (count(Told::Answered), count(Told::NotDelivered));
    eprintln!(
        "{arrived} of {} arrived, {answered} answered, {not} not; {connections} connections",
        all.len()
    );
    assert!(arrived > all.len() / 5 && answered > 1000, "{arrived} arrived, {answered} answered");
    assert!(connections >= 6, "{connections} connections");
}
