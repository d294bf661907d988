//! What an embedder hears of links.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorRef, LinkListener, Node};
use vioduct_transport::{DialError, Link, LinkEvent};

use crate::support::{Add, Counter, Gate, SOON, find, name, pair_heard_by};

/// Writes down what it hears, in the words of a status.
#[derive(Debug)]
struct Ear(mpsc::Sender<String>);

impl Ear {
    fn note(&self, heard: String) {
        self.0.try_send(heard).unwrap();
    }
}

impl LinkListener for Ear {
    fn event(&self, link: &Link, event: &LinkEvent) {
        let peer = link.peer();
        match event {
            LinkEvent::Up { .. } => self.note(format!("{peer} up")),
            LinkEvent::Down { reason } => self.note(format!("{peer} down: {reason}")),
            LinkEvent::Undelivered { .. }
            | LinkEvent::Unreachable
            | LinkEvent::DialFailed { .. }
            | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, _addr: SocketAddr, error: &DialError) {
        self.note(format!("refused: {}", error.label()));
    }
}

#[tokio::test]
async fn a_listener_hears_of_links_and_of_refused_dials_and_the_node_goes_on() {
    let (ear, mut heard) = mpsc::channel(64);
    let (a, b) = pair_heard_by(Arc::new(Ear(ear))).await;
    let mut next = async || timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, "a up");

    let mut other = DevCa::new("other", UnixTime::now()).unwrap();
    let stranger = Arc::new(other.node("stranger", Roles::none()).unwrap());
    let stranger = Node::builder(stranger).workers(1).start().await.unwrap();
    stranger.connect(b.name().clone(), b.local_addr().unwrap()).await.unwrap();
    let refused = next().await;
    assert!(refused.starts_with("refused: "), "{refused}");
    stranger.shutdown(Duration::ZERO).await;

    let gate = Gate::new();
    let counter = b.actor(move || Counter::new(&gate)).named(name("counter"));
    counter.accept::<Add>(Access::nodes()).start().await.unwrap();
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(counter.ask(Add(1), SOON).await, Ok(1));

    a.shutdown(Duration::ZERO).await;
    let down = async {
        loop {
            let heard = next().await;
            if !heard.starts_with("refused: ") {
                break heard;
            }
        }
    };
    let down = down.await;
    assert!(down.starts_with("a down: closed by the peer"), "{down}");
}
