//! A node that was killed and runs again at the same address: whoever was linked to it learns of it
//! from the first packet that it sends there, not from silence.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::Roles;
use vioduct_transport::seam::{ResetSecret, Surroundings};
use vioduct_transport::{Flow, LinkEvent, TransportConfig};

use crate::support::{Node, ca, within};

/// Silence alone says nothing for as long as any of this may take.
fn patient() -> TransportConfig {
    TransportConfig { idle_timeout: Duration::from_secs(600), ..TransportConfig::default() }
}

/// A node on a runtime of its own, which ends without a word when that does.
struct Mortal {
    runtime: Runtime,
    node: Node,
}

impl Mortal {
    async fn start(credentials: Credentials, addr: SocketAddr, run: u64, secret: u8) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = runtime.spawn(async move {
            let surroundings = within(async {
                loop {
                    // The address of a run before is free a moment after its end.
                    match Surroundings::bind(addr, 1 << 20) {
                        Ok(bound) => break bound,
                        Err(_in_use) => tokio::task::yield_now().await,
                    }
                }
            });
            let reset_secret = ResetSecret::from([secret; 32]);
            let surroundings = Surroundings { reset_secret, ..surroundings.await };
            Node::start_in(credentials, patient(), run, surroundings)
        });
        Self { node: node.await.unwrap(), runtime }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

#[tokio::test]
async fn a_peer_that_was_killed_and_runs_again_says_so_at_once() {
    let mut ca = ca();
    let credentials = ca.node("n2", Roles::default()).unwrap();
    let mut one = Node::start_with(ca.node("n1", Roles::default()).unwrap(), patient(), 1);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let two = Mortal::start(credentials.clone(), any, 1, 7).await;
    let addr = two.node.addr;
    let link = one.connect(&two.node).await;
    within(link.up()).await.unwrap();
    let before = link.send(Flow::Pair(1), b"before", &Bytes::new()).await.unwrap();
    within(link.settled(before)).await;

    two.kill();
    let mut two = Mortal::start(credentials, addr, 2, 7).await;
    link.send(Flow::Pair(1), b"lost", &Bytes::new()).await.unwrap();
    let reason = one
        .event(|event| match event {
            LinkEvent::Down { reason } => Some(reason),
            _other => None,
        })
        .await;
    assert_eq!(reason.label(), "reset");
    let info = within(link.up()).await.unwrap();
    assert_eq!(info.incarnation, 2);
    let after = link.send(Flow::Pair(1), b"after", &Bytes::new()).await.unwrap();
    within(link.settled(after)).await;
    assert_eq!(&two.node.message().await.message.head[..], b"after");
    two.kill();
}
