//! What the primary does once for the whole cluster: it keeps the list of active nodes, and forgets
//! virtual adapters that nobody can use any more.
//!
//! Who is alive the membership knows. The list is for those who look at the database, and what
//! changes in it is told as events, also what changed while there was no primary.
//!
//! Source: US 8,726,274, the active nodes of the VIOS DB.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;
use vioduct_runtime::membership::MemberState;
use vioduct_runtime::{ClusterView, Node};

use super::admin::{AdminError, Plan, forget_adapters, read};
use super::event::Events;
use super::row::{ActiveRow, Event, PrimaryRow, TheActive, ThePrimary};

/// Nodes that come or go together are one change.
const GATHER: Duration = Duration::from_millis(200);
/// The membership of a node that has just started may not know all yet.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it is waited after the database gave no answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the list is compared whatever happened.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Serves as long as its VIOS is the primary.
#[derive(Debug, Clone)]
pub(super) struct Steward {
    pub(super) db: Db,
    pub(super) node: Node,
    pub(super) events: Events,
}

impl Steward {
    /// Goes on for ever. `elected` is the revision at which its VIOS became the primary.
    pub(super) async fn run(self, elected: u64) {
        let Some(mut members) = self.node.watch_cluster() else { return };
        let (mut told, mut forget_at) = (None, Instant::now());
        sleep_until(Instant::now() + SETTLE).await;
        loop {
            let active = active(self.node.name(), &members);
            if let Err(error) = self.list(elected, &active, &mut told).await {
                tracing::debug!(%error, "active nodes are not listed yet");
                sleep_until(Instant::now() + PAUSE).await;
                continue;
            }
            if forget_at <= Instant::now() {
                if let Err(error) = forget_adapters(&self.db, elected).await {
                    tracing::debug!(%error, "no virtual adapters are forgotten");
                }
                forget_at = Instant::now() + COMPARE_EVERY;
            }
            if matches!(timeout(COMPARE_EVERY, members.changed()).await, Ok(Err(_ended))) {
                return;
            }
            sleep_until(Instant::now() + GATHER).await;
        }
    }

    /// Writes the list if it is another one, and if its VIOS is the primary still. `told` is the
    /// one of which all was told: what is written in vain, or perhaps, is told once it is there.
    async fn list(
        &self,
        elected: u64,
        active: &BTreeSet<NodeName>,
        told: &mut Option<BTreeSet<NodeName>>,
    ) -> Result<(), AdminError> {
        let found = read::<ActiveRow>(&self.db, &TheActive).await?;
        let (revision, before) = match found {
            Some((revision, ActiveRow { nodes })) => (revision, Some(nodes)),
            None => (0, None),
        };
        let is_listed = before.as_ref() == Some(active);
        let before = told.get_or_insert_with(|| before.unwrap_or_else(|| active.clone()));
        if !is_listed {
            let mut plan = Plan::default();
            plan.expect::<PrimaryRow>(&ThePrimary, elected);
            plan.replace(&TheActive, revision, &ActiveRow { nodes: active.clone() });
            plan.commit(&self.db).await?;
        }
        for (node, is_up) in changes(before, active) {
            self.events.tell(Event::Node { node: node.to_string(), is_up });
        }
        before.clone_from(active);
        Ok(())
    }
}

fn active(own: &NodeName, members: &watch::Receiver<ClusterView>) -> BTreeSet<NodeName> {
    let view = members.borrow();
    let up = view.members.iter().filter(|(_member, state)| *state != MemberState::Down);
    up.map(|(member, _state)| member.node.clone()).chain([own.clone()]).collect()
}

/// Who came, and who went.
fn changes<'a>(
    before: &'a BTreeSet<NodeName>,
    now: &'a BTreeSet<NodeName>,
) -> impl Iterator<Item = (&'a NodeName, bool)> {
    let gone = before.difference(now).map(|node| (node, false));
    gone.chain(now.difference(before).map(|node| (node, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_and_who_went_is_told_and_nobody_else() {
        let set = |names: [&str; 3]| names.map(|name| name.parse().unwrap()).into_iter().collect();
        let (before, now) = (set(["n1", "n2", "n3"]), set(["n2", "n3", "n4"]));
        let changes: Vec<_> =
            changes(&before, &now).map(|(node, is_up)| (node.as_str(), is_up)).collect();
        assert_eq!(changes, [("n1", false), ("n4", true)]);
    }
}
