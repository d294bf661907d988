//! The task between links and the membership machine.

mod detour;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_transport::{Endpoint, LinkState};

use self::detour::{Answers, Detours};
use super::post::Post;
use super::{Cluster, ClusterView, Joining, Standing};
use crate::membership::{DownReason, Effect, Input, Machine, Member, MemberEvent, Moment};
use crate::node::NodeShared;

/// How long a member that took its leave may take to close its link: links flush for 5 s.
const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// Carries out what the machine decides. Ends when it is aborted.
pub(crate) struct Driver {
    machine: Machine,
    inputs: mpsc::Receiver<Input>,
    hands: Hands,
}

/// The machine's hands.
struct Hands {
    cluster: Arc<Cluster>,
    endpoint: Endpoint,
    node: Arc<NodeShared>,
    /// Members that took their leave, and are still heard out.
    farewells: JoinSet<(NodeName, u64)>,
    /// Whom links are dialled to, and where.
    dialled: BTreeMap<NodeName, SocketAddr>,
    /// None as long as members are not reached by others.
    detours: Option<Detours>,
    answers: Answers,
    post: Post,
    standing: Standing,
}

impl Driver {
    pub(crate) fn new(joining: Joining, node: &Arc<NodeShared>, endpoint: &Endpoint) -> Self {
        let Joining { machine, cluster, inputs } = joining;
        let hands = Hands {
            cluster,
            endpoint: endpoint.clone(),
            node: Arc::clone(node),
            farewells: JoinSet::new(),
            dialled: BTreeMap::new(),
            detours: None,
            answers: Answers::new(),
            post: Post::default(),
            standing: Standing::Member,
        };
        Self { machine, inputs, hands }
    }

    pub(crate) async fn run(self) {
        let Self { mut machine, mut inputs, mut hands } = self;
        let cluster = Arc::clone(&hands.cluster);
        let began = Instant::now();
        let moment = || Moment::START.after(began.elapsed());
        let mut relayed_after = cluster.relayed_after.subscribe();
        hands.carry_out(&mut machine).await;
        loop {
            let due = machine.deadline().map(|at| began + at.since(Moment::START));
            let look_at = hands.detours.as_ref().map(|detours| detours.look_at);
            tokio::select! {
                // A set order, so that a seed decides everything.
                biased;
                () = cluster.seen.notified() => {
                    for (node, incarnation) in cluster.take_sighted() {
                        hands.deliver(&node);
                        machine.handle(moment(), Input::IncarnationSeen { node, incarnation });
                        hands.carry_out(&mut machine).await;
                    }
                }
                input = inputs.recv() => {
                    let Some(input) = input else { return };
                    let leaves = input == Input::LeaveAsked;
                    machine.handle(moment(), input);
                    hands.carry_out(&mut machine).await;
                    if leaves {
                        hands.standing = Standing::Left;
                        hands.show(&machine);
                    }
                }
                Some(Ok((node, incarnation))) = hands.farewells.join_next() => {
                    hands.farewell_over(&node, incarnation).await;
                }
                () = at(due) => {
                    machine.handle(moment(), Input::TimePassed);
                    hands.carry_out(&mut machine).await;
                }
                Ok(()) = relayed_after.changed() => {
                    let (after, seed) = (*relayed_after.borrow(), hands.node.jitter());
                    hands.detours = after.map(|after| Detours::new(after, seed));
                }
                Some(Ok(answer)) = hands.answers.join_next() => hands.seek(moment(), answer).await,
                () = at(look_at) => hands.look(moment()).await,
            }
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Hands {
    async fn carry_out(&mut self, machine: &mut Machine) {
        let mut has_news = false;
        while let Some(effect) = machine.poll() {
            match effect {
                Effect::Send { to, addr, datagram } => self.send(to, addr, datagram).await,
                Effect::Tell(event) => {
                    has_news = true;
                    self.tell(machine.own(), event).await;
                }
                Effect::Refuse { node, incarnation, reason } => {
                    tracing::warn!(peer = %node, incarnation, %reason, "node refused");
                    self.part(&node, incarnation, &reason.to_string()).await;
                }
            }
        }
        self.cluster.set_dropped(machine.dropped());
        if has_news {
            self.show(machine);
        }
    }

    fn show(&self, machine: &Machine) {
        let (standing, members) = (self.standing, machine.members().collect());
        self.cluster.view.send_replace(ClusterView { standing, members });
    }

    async fn send(&mut self, to: NodeName, addr: SocketAddr, datagram: Bytes) {
        let link = self.endpoint.link(&to);
        if let Some(link) = link.filter(|link| matches!(link.state(), LinkState::Up(_))) {
            if let Err(error) = link.send_datagram(datagram) {
                // Lost, as datagrams may be.
                tracing::debug!(peer = %to, %error, "datagram of the membership not sent");
            }
            return;
        }
        self.post.keep(to.clone(), datagram);
        self.dial(to, addr).await;
    }

    async fn dial(&mut self, to: NodeName, addr: SocketAddr) {
        if self.dialled.get(&to) == Some(&addr) {
            return;
        }
        match self.endpoint.connect(to.clone(), addr).await {
            Ok(link) => {
                self.node.peers.of(&link);
                self.dialled.insert(to, addr);
            }
            Err(error) => tracing::warn!(peer = %to, %error, "member not dialled"),
        }
    }

    /// There is a connection: what was kept for it leaves.
    fn deliver(&mut self, to: &NodeName) {
        let kept = self.post.take(to);
        let Some(link) = self.endpoint.link(to) else { return };
        for datagram in kept {
            // Lost, as datagrams may be.
            link.send_datagram(datagram).ok();
        }
    }

    async fn tell(&mut self, own: &Member, event: MemberEvent) {
        match &event {
            MemberEvent::Up(member) => {
                tracing::info!(peer = %member.node, incarnation = member.incarnation, "member up");
                self.meet(own, member).await;
            }
            MemberEvent::Returned { member, old } => {
                let (peer, new) = (&member.node, member.incarnation);
                tracing::info!(%peer, old, new, "member returned");
                self.part(&member.node, *old, "a later run of the node is a member").await;
                self.meet(own, member).await;
            }
            MemberEvent::Suspect { node, incarnation } => {
                tracing::info!(peer = %node, incarnation, "member suspected");
            }
            MemberEvent::Refuted { node, incarnation } => {
                tracing::info!(peer = %node, incarnation, "member spoke up");
            }
            MemberEvent::Down { node, incarnation, reason } => {
                tracing::warn!(peer = %node, incarnation, ?reason, "member down");
                match reason {
                    DownReason::Failed => {
                        self.part(node, *incarnation, "this run of the node is down").await;
                    }
                    DownReason::Left => self.see_off(node, *incarnation).await,
                }
            }
            MemberEvent::Expelled(reason) => {
                tracing::error!(%reason, "this node is no member any more: start it anew");
                self.standing = Standing::Expelled(*reason);
            }
        }
        // Fails only when nobody listens.
        self.cluster.events.send(event).ok();
    }

    /// Of two nodes, one dials.
    async fn meet(&mut self, own: &Member, other: &Member) {
        if own.node < other.node {
            self.dial(other.node.clone(), other.addr).await;
        }
    }

    /// It is dialled no more, neither where it is nor by others.
    async fn give_up(&mut self, node: &NodeName) {
        self.dialled.remove(node);
        self.post.take(node);
        self.seek_no_more(node).await;
    }

    /// It has said all that it wants to say once it closes the link.
    async fn see_off(&mut self, node: &NodeName, incarnation: u64) {
        self.give_up(node).await;
        self.endpoint.disconnect(node).await;
        self.node.names.forget_run(node, incarnation);
        let (link, node) = (self.endpoint.link(node), node.clone());
        self.farewells.spawn(async move {
            if let Some(link) = link {
                // One that does not close it is dismissed all the same.
                timeout(FAREWELL_MAX, link.without(incarnation)).await.ok();
            }
            (node, incarnation)
        });
    }

    async fn farewell_over(&mut self, node: &NodeName, incarnation: u64) {
        // Dialled anew: it has returned, and its earlier run was cut then.
        if !self.dialled.contains_key(node) {
            self.part(node, incarnation, "this run of the node has left").await;
        }
    }

    /// That run of a node, and what was before it, is over.
    async fn part(&mut self, node: &NodeName, incarnation: u64, reason: &str) {
        self.give_up(node).await;
        self.endpoint.dismiss(node, incarnation, reason).await;
        self.node.names.forget_run(node, incarnation);
        if let Some(peer) = self.node.peers.named(node) {
            peer.declared_down(incarnation);
        }
    }
}
