//! A group of actors as one of them sends to it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::directory::GroupMember;
use crate::error::{AskError, NotDelivered};
use crate::id::{ActorId, GroupName};
use crate::message::RemoteMessage;
use crate::node::NodeShared;
use crate::reference::{Accepts, ActorRef};
use crate::schema;

/// What each member did with a message that was sent to a whole group.
pub type GroupSend = Vec<(ActorId, Result<(), NotDelivered>)>;
/// What each member answered.
pub type GroupAnswers<R> = Vec<(ActorId, Result<R, AskError>)>;

/// Actors of the cluster that joined one group with
/// [`in_group`](crate::ActorBuilder::in_group), those that live now and whose nodes are linked.
///
/// Members come and go: one that was chosen may be gone, and says so when it is sent to. Who may
/// send to a member is for its own [`Access`](crate::Access) to say.
pub struct Group<P> {
    node: Arc<NodeShared>,
    name: GroupName,
    roster: Mutex<Arc<Roster<P>>>,
    turn: AtomicUsize,
}

/// The members at one version of the directory.
struct Roster<P> {
    version: Option<u64>,
    /// In order of nodes, each with what stands for it in consistent hashing.
    members: Vec<(u64, ActorRef<P>)>,
}

impl<P> fmt::Debug for Group<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<P> Group<P> {
    pub(super) fn new(node: &Arc<NodeShared>, name: GroupName) -> Self {
        let roster = Mutex::new(Arc::new(Roster { version: None, members: Vec::new() }));
        Self { node: Arc::clone(node), name, roster, turn: AtomicUsize::new(0) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    fn roster(&self) -> Arc<Roster<P>> {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.node.names.version();
        if roster.version != Some(version) {
            let members = self.node.names.directory().members(&self.name);
            let seated =
                |member: &GroupMember| Some((seat(member), self.node.reference::<P>(&member.id)?));
            let members = members.iter().filter_map(seated).collect();
            *roster = Arc::new(Roster { version: Some(version), members });
        }
        Arc::clone(&roster)
    }

    /// Its members now, in order of nodes.
    #[must_use]
    pub fn members(&self) -> Vec<ActorRef<P>> {
        self.roster().members.iter().map(|(_seat, member)| member.clone()).collect()
    }

    /// Waits until it has this many members, or more. Cancel-safe; never ends if it does not grow.
    pub async fn grown_to(&self, members: usize) {
        let mut changed = self.node.names.changed.subscribe();
        while self.roster().members.len() < members {
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The members in turn; none when there is none.
    pub fn next(&self) -> Option<ActorRef<P>> {
        let roster = self.roster();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(roster.members.len())?;
        roster.members.get(index).map(|(_seat, member)| member.clone())
    }

    /// The member that this key belongs to: the same for all nodes that know the same members. When
    /// a member goes, only its keys move; when one comes, keys move to it alone.
    ///
    /// A member that has a name keeps its keys over its lives.
    ///
    /// Source: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates" (1998),
    /// highest random weight.
    #[must_use]
    pub fn owner_of(&self, key: &[u8]) -> Option<ActorRef<P>> {
        let key = schema::bytes(schema::OFFSET, key);
        let roster = self.roster();
        let owner = roster.members.iter().max_by_key(|(seat, _member)| mixed(key ^ seat));
        owner.map(|(_seat, member)| member.clone())
    }

    /// Tells every member, all at the same time, and waits until each has taken the message or not.
    /// Cancel-safe: members that have not taken it by then do not.
    pub async fn broadcast<M>(&self, message: M) -> GroupSend
    where
        M: RemoteMessage + Clone,
        P: Accepts<M>,
    {
        let tell = |member: ActorRef<P>| {
            let message = message.clone();
            async move {
                let told = member.tell(message).await;
                (member.id().clone(), told.map_err(|not_taken| not_taken.reason))
            }
        };
        join_all(self.members().into_iter().map(tell)).await
    }

    /// Asks every member, all at the same time.
    pub async fn ask_all<M>(&self, message: M, deadline: Duration) -> GroupAnswers<M::Result>
    where
        M: RemoteMessage + Clone,
        M::Result: Send,
        P: Accepts<M>,
    {
        let ask = |member: ActorRef<P>| {
            let message = message.clone();
            async move { (member.id().clone(), member.ask(message, deadline).await) }
        };
        join_all(self.members().into_iter().map(ask)).await
    }
}

/// Stands for a member, over its lives if it has a name.
fn seat(member: &GroupMember) -> u64 {
    let GroupMember { id, name } = member;
    let node = schema::bytes(schema::OFFSET, id.node.as_str().as_bytes());
    match name {
        Some(name) => schema::bytes(schema::word(node, 0), name.as_str().as_bytes()),
        None => schema::word(schema::word(node, id.incarnation), id.serial),
    }
}

/// Spreads what differs in a few bits over all of them.
///
/// Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators" (2014).
const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
