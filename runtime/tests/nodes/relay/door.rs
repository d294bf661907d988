//! Where a node is dialled in a test: packets pass, but those of whom it is shut for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longer than any packet.
const BUFFER_BYTES: usize = 65_536;

/// Dropped, it is no more.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) addr: SocketAddr,
    leads_to: watch::Sender<Option<SocketAddr>>,
    shut_for: Arc<Mutex<BTreeSet<SocketAddr>>>,
    _task: JoinSet<()>,
}

impl Door {
    /// Leads nowhere yet.
    pub(super) async fn new() -> Self {
        let outside = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let addr = outside.local_addr().unwrap();
        let (leads_to, to) = (watch::Sender::default(), Arc::<Mutex<BTreeSet<_>>>::default());
        let (target, shut_for) = (leads_to.subscribe(), Arc::clone(&to));
        let mut task = JoinSet::new();
        task.spawn(pass_in(outside, target, to));
        Self { addr, leads_to, shut_for, _task: task }
    }

    pub(super) fn leads_to(&self, node: SocketAddr) {
        self.leads_to.send_replace(Some(node));
    }

    /// Nothing passes between whoever sends from this address and the node, or everything.
    pub(super) fn shut(&self, whom: SocketAddr, is_shut: bool) {
        let mut shut_for = self.shut_for.lock().unwrap();
        if is_shut {
            shut_for.insert(whom);
        } else {
            shut_for.remove(&whom);
        }
    }
}

async fn pass_in(
    outside: Arc<UdpSocket>,
    target: watch::Receiver<Option<SocketAddr>>,
    shut_for: Arc<Mutex<BTreeSet<SocketAddr>>>,
) {
    let mut insides: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (bytes, from) = outside.recv_from(&mut buffer).await.unwrap();
        let target = *target.borrow();
        let (Some(target), false) = (target, shut_for.lock().unwrap().contains(&from)) else {
            continue;
        };
        let known = insides.get(&from).map(Arc::clone);
        let inside = match known {
            Some(inside) => inside,
            None => {
                let inside = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                inside.connect(target).await.unwrap();
                let (outside, shut_for) = (Arc::clone(&outside), Arc::clone(&shut_for));
                tasks.spawn(pass_out(Arc::clone(&inside), outside, shut_for, from));
                insides.insert(from, Arc::clone(&inside));
                inside
            }
        };
        // A node that is gone takes nothing.
        inside.send(buffer.get(..bytes).unwrap()).await.ok();
    }
}

async fn pass_out(
    inside: Arc<UdpSocket>,
    outside: Arc<UdpSocket>,
    shut_for: Arc<Mutex<BTreeSet<SocketAddr>>>,
    whom: SocketAddr,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // An error says that the node is gone.
        let Ok(bytes) = inside.recv(&mut buffer).await else { continue };
        if !shut_for.lock().unwrap().contains(&whom) {
            outside.send_to(buffer.get(..bytes).unwrap(), whom).await.ok();
        }
    }
}
