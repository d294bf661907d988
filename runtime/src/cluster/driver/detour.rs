//! Members that are reached by others: the [`Seeker`]'s hands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vioduct_certs::identity::NodeName;
use vioduct_transport::{Hold, LinkState};

use super::Hands;
use crate::cluster::Standing;
use crate::membership::{MemberState, Moment};
use crate::relay;
use crate::relay::seeker::{Effect, Input, Seeker, Sight};

/// Members are looked at so many times within the wait before others are asked, within bounds.
const LOOKS: u32 = 4;
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);

/// What is under way for members that are reached by others.
#[derive(Debug)]
pub(super) struct Detours {
    seeker: Seeker,
    every: Duration,
    pub(super) look_at: Instant,
    /// Links by others are kept alive: an idle one would be lost, since who carries it ends it.
    holds: BTreeMap<NodeName, Hold>,
}

/// An answer of a member that was asked for a way, as the seeker takes it.
pub(super) type Answers = JoinSet<Input>;

impl Detours {
    pub(super) fn new(after: Duration, seed: u64) -> Self {
        let seeker = Seeker::new(after, StdRng::seed_from_u64(seed));
        let every = (after / LOOKS).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        Self { seeker, every, look_at: Instant::now() + every, holds: BTreeMap::new() }
    }
}

impl Hands {
    pub(super) async fn look(&mut self, now: Moment) {
        let Some(detours) = &mut self.detours else { return };
        detours.look_at = Instant::now() + detours.every;
        let sights = self.sights();
        self.seek(now, Input::Looked(sights)).await;
    }

    /// Every live member; nobody once this node is none itself.
    fn sights(&self) -> BTreeMap<NodeName, Sight> {
        let view = self.cluster.view();
        let is_member = view.standing == Standing::Member;
        let living = view.members.iter().filter(|(_member, state)| match state {
            MemberState::Alive | MemberState::Suspect => is_member,
            MemberState::Down => false,
        });
        let sight = living.map(|(member, state)| {
            let linked = match self.endpoint.link(&member.node).map(|link| link.state()) {
                Some(LinkState::Up(info)) => Some(info.addr),
                Some(LinkState::Connecting | LinkState::Unreachable | LinkState::Closed) | None => {
                    None
                }
            };
            let is_sound = *state == MemberState::Alive;
            let is_ours = self.node.name < member.node;
            (member.node.clone(), Sight { addr: member.addr, linked, is_sound, is_ours })
        });
        sight.collect()
    }

    pub(super) async fn seek(&mut self, now: Moment, input: Input) {
        if let Some(detours) = &mut self.detours {
            detours.seeker.handle(now, input);
        }
        self.take_ways().await;
    }

    /// It is reached by nobody any more.
    pub(super) async fn seek_no_more(&mut self, node: &NodeName) {
        if let Some(detours) = &mut self.detours {
            detours.seeker.gone(node);
        }
        self.take_ways().await;
    }

    async fn take_ways(&mut self) {
        while let Some(effect) = self.detours.as_mut().and_then(|it| it.seeker.poll()) {
            match effect {
                Effect::Ask { by, to } => {
                    let node = Arc::clone(&self.node);
                    self.answers.spawn(async move {
                        let port = relay::ask(node, by.clone(), to.clone()).await;
                        Input::Answered { by, to, port }
                    });
                }
                Effect::Dial { to, addr } => self.redial(to, addr).await,
                Effect::Carried { by, to } => self.carried(by, to),
                Effect::Left { to, is_direct } => self.left(&to, is_direct),
            }
        }
    }

    async fn redial(&mut self, to: NodeName, addr: SocketAddr) {
        match self.endpoint.redial(to.clone(), addr).await {
            Ok(link) => {
                self.node.peers.of(&link);
                self.dialled.entry(to).or_insert(addr);
            }
            Err(error) => tracing::warn!(peer = %to, %error, "member not dialled"),
        }
    }

    fn carried(&mut self, by: NodeName, to: NodeName) {
        tracing::info!(peer = %to, %by, "link goes by a third node");
        if let (Some(detours), Some(link)) = (&mut self.detours, self.endpoint.link(&to)) {
            detours.holds.insert(to.clone(), link.hold());
        }
        self.cluster.reached(to, Some(by));
    }

    fn left(&mut self, to: &NodeName, is_direct: bool) {
        if is_direct {
            tracing::info!(peer = %to, "link is direct again");
        }
        if let Some(detours) = &mut self.detours {
            detours.holds.remove(to);
        }
        self.cluster.reached(to.clone(), None);
    }
}
