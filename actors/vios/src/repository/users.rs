//! Who uses an LU now: the nodes that carry disks are asked.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::membership::MemberState;
use vioduct_runtime::{ActorName, ActorRef, ClusterView, Node, NotDelivered};

use crate::redirect::name::LuId;
use crate::roles::phyp::{AskUse, PHYP_NAME, PhypDesk};

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A repository that has just begun may not know yet who belongs to the cluster: for so long a node
/// that it does not know is taken for one that is there.
const LEARN_WITHIN: Duration = Duration::from_secs(10);

/// Asks nodes what they use. A clone asks the same. Where there is no cluster, nobody can tell who
/// is there: a node that does not answer is not.
#[derive(Debug, Clone, Default)]
pub(super) struct Users(Option<Asking>);

#[derive(Debug, Clone)]
struct Asking {
    node: Node,
    learnt_at: Instant,
}

impl Users {
    /// Asks by the links of this node.
    pub(super) fn of(node: Node) -> Self {
        Self(Some(Asking { node, learnt_at: Instant::now() + LEARN_WITHIN }))
    }

    pub(super) fn own_name(&self) -> Option<NodeName> {
        self.0.as_ref().map(|asking| asking.node.name().clone())
    }

    /// Whether a node uses an LU, or may.
    pub(super) async fn uses(&self, user: &NodeName, lu: LuId) -> bool {
        let Some(asking) = &self.0 else { return false };
        match timeout(ANSWER_WITHIN, ask(&asking.node, user, lu)).await {
            Ok(Some(answer)) => answer,
            // Who is silent may write on.
            Ok(None) | Err(_) => {
                let Some(cluster) = asking.node.cluster() else { return false };
                is_there(&cluster, user).unwrap_or(Instant::now() < asking.learnt_at)
            }
        }
    }
}

/// What the node says, if anything.
async fn ask(node: &Node, user: &NodeName, lu: LuId) -> Option<bool> {
    let name = ActorName::new(PHYP_NAME).expect("a constant that is a name");
    let found: Result<ActorRef<PhypDesk>, _> = node.lookup(user, &name).await;
    match found {
        Ok(phyp) => phyp.ask(AskUse { lu: lu.0 }, ANSWER_WITHIN).await.ok(),
        // Nothing there carries disks for others.
        Err(NotDelivered::NoSuchActor { .. }) => Some(false),
        Err(_unreachable) => None,
    }
}

/// Whether a node belongs to the cluster, if it is known.
fn is_there(cluster: &ClusterView, user: &NodeName) -> Option<bool> {
    let mut runs =
        cluster.members.iter().filter(|(member, _state)| member.node == *user).peekable();
    runs.peek()?;
    Some(runs.any(|(_member, state)| *state != MemberState::Down))
}

#[cfg(test)]
mod tests {
    use vioduct_certs::identity::Roles;
    use vioduct_runtime::membership::Member;

    use super::*;

    #[test]
    fn a_node_is_there_unless_every_run_of_it_is_down_and_an_unknown_one_is_not_judged() {
        let of = |runs: &[(&str, MemberState)]| {
            let member = |(name, state): &(&str, MemberState)| {
                let (node, addr) = (name.parse().unwrap(), ([127, 0, 0, 1], 1).into());
                (Member { node, incarnation: 1, addr, roles: Roles::none() }, *state)
            };
            let members = runs.iter().map(member).collect();
            ClusterView { members, ..ClusterView::default() }
        };
        let p1 = "p1".parse().unwrap();
        let (alive, suspect, down) = (MemberState::Alive, MemberState::Suspect, MemberState::Down);
        assert_eq!(is_there(&of(&[("p2", alive)]), &p1), None);
        assert_eq!(is_there(&of(&[("p1", down)]), &p1), Some(false));
        assert_eq!(is_there(&of(&[("p1", suspect)]), &p1), Some(true));
        assert_eq!(is_there(&of(&[("p1", down), ("p1", alive)]), &p1), Some(true));
    }
}
