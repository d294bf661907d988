//! Every actor of the cluster that can be found, by name and by group.

use std::collections::{BTreeMap, BTreeSet};

use vioduct_certs::identity::NodeName;

use super::ledger::Ledger;
use super::listing::{Listing, Page, Read};
use super::replica::{Difference, PageError, Replica};
use crate::id::{ActorId, ActorName, GroupName};

/// An actor in a group, by its node and its name; one without a name by the life it lives. What
/// keys fall to it by consistent hashing stays with it over its lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMember {
    pub(crate) id: ActorId,
    pub(crate) name: Option<ActorName>,
}

/// This node's ledger, what is known of the others', and both as one.
#[derive(Debug)]
pub(crate) struct Directory {
    node: NodeName,
    incarnation: u64,
    ledger: Ledger,
    own: BTreeMap<u64, Listing>,
    replicas: BTreeMap<NodeName, (u64, Replica)>,
    names: BTreeMap<ActorName, BTreeSet<ActorId>>,
    groups: BTreeMap<GroupName, BTreeMap<ActorId, Option<ActorName>>>,
    /// Rises with each change.
    version: u64,
}

impl Directory {
    pub(crate) fn new(node: NodeName, incarnation: u64) -> Self {
        Self {
            node,
            incarnation,
            ledger: Ledger::default(),
            own: BTreeMap::new(),
            replicas: BTreeMap::new(),
            names: BTreeMap::new(),
            groups: BTreeMap::new(),
            version: 0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Lists an actor of this node, for which there is room.
    pub(crate) fn list(&mut self, listing: Listing) {
        self.ledger.list(listing.clone());
        self.own.insert(listing.serial, listing.clone());
        let (node, incarnation) = (self.node.clone(), self.incarnation);
        self.enter(&node, incarnation, &listing);
    }

    pub(crate) fn unlist(&mut self, serial: u64) {
        let Some(listing) = self.own.remove(&serial) else { return };
        self.ledger.unlist(serial);
        let (node, incarnation) = (self.node.clone(), self.incarnation);
        self.leave(&node, incarnation, &listing);
    }

    /// Nothing of this node can be found any more.
    pub(crate) fn unlist_all(&mut self) {
        let serials: Vec<u64> = self.own.keys().copied().collect();
        serials.into_iter().for_each(|serial| self.unlist(serial));
    }

    /// What a reader of this node's ledger is to be told next.
    pub(crate) fn page(&self, read: Read) -> Option<Page> {
        self.ledger.page(read)
    }

    /// How far this node has read in the ledger of that run. An earlier run's is forgotten.
    pub(crate) fn read(&mut self, node: &NodeName, incarnation: u64) -> Read {
        self.replica(node, incarnation).read()
    }

    /// Takes a page of another node's ledger.
    ///
    /// # Errors
    /// [`PageError`]; nothing changed.
    pub(crate) fn take(
        &mut self,
        node: &NodeName,
        incarnation: u64,
        page: Page,
    ) -> Result<(), PageError> {
        let Difference { ended, listed } = self.replica(node, incarnation).take(page)?;
        ended.iter().for_each(|listing| self.leave(node, incarnation, listing));
        listed.iter().for_each(|listing| self.enter(node, incarnation, listing));
        Ok(())
    }

    fn replica(&mut self, node: &NodeName, incarnation: u64) -> &mut Replica {
        if self.replicas.get(node).is_some_and(|(run, _replica)| *run != incarnation) {
            self.forget(node);
        }
        let fresh = || (incarnation, Replica::default());
        &mut self.replicas.entry(node.clone()).or_insert_with(fresh).1
    }

    /// That run of the node, and what was before it, is gone.
    pub(crate) fn forget_run(&mut self, node: &NodeName, incarnation: u64) {
        if self.replicas.get(node).is_some_and(|(run, _replica)| *run <= incarnation) {
            self.forget(node);
        }
    }

    fn forget(&mut self, node: &NodeName) {
        let Some((incarnation, replica)) = self.replicas.remove(node) else { return };
        for listing in replica.into_listed() {
            self.leave(node, incarnation, &listing);
        }
    }

    fn enter(&mut self, node: &NodeName, incarnation: u64, listing: &Listing) {
        let Listing { serial, name, groups } = listing;
        let id = ActorId { node: node.clone(), incarnation, serial: *serial };
        if let Some(name) = name {
            self.names.entry(name.clone()).or_default().insert(id.clone());
        }
        for group in groups {
            self.groups.entry(group.clone()).or_default().insert(id.clone(), name.clone());
        }
        self.version += 1;
    }

    fn leave(&mut self, node: &NodeName, incarnation: u64, listing: &Listing) {
        let Listing { serial, name, groups } = listing;
        let id = ActorId { node: node.clone(), incarnation, serial: *serial };
        if let Some(name) = name
            && let Some(holders) = self.names.get_mut(name)
        {
            holders.remove(&id);
            if holders.is_empty() {
                self.names.remove(name);
            }
        }
        for group in groups {
            if let Some(members) = self.groups.get_mut(group) {
                members.remove(&id);
                if members.is_empty() {
                    self.groups.remove(group);
                }
            }
        }
        self.version += 1;
    }

    /// How many actors of that node can be found.
    pub(crate) fn listed(&self, node: &NodeName) -> usize {
        if *node == self.node {
            return self.own.len();
        }
        self.replicas.get(node).map_or(0, |(_run, replica)| replica.listed())
    }

    /// The groups of an actor of this node.
    pub(crate) fn groups(&self, serial: u64) -> Vec<GroupName> {
        self.own.get(&serial).map_or_else(Vec::new, |listing| listing.groups.clone())
    }

    /// Who has this name, in order of nodes; this node's first.
    pub(crate) fn holders(&self, name: &ActorName) -> Vec<ActorId> {
        let holders = self.names.get(name).into_iter().flatten();
        let mut holders: Vec<ActorId> = holders.cloned().collect();
        holders.sort_by_key(|id| id.node != self.node);
        holders
    }

    /// Who is in this group, in order of nodes.
    pub(crate) fn members(&self, group: &GroupName) -> Vec<GroupMember> {
        let members = self.groups.get(group).into_iter().flatten();
        members.map(|(id, name)| GroupMember { id: id.clone(), name: name.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn listing(serial: u64, name: &str, group: &str) -> Listing {
        let groups = vec![GroupName::new(group).unwrap()];
        Listing { serial, name: ActorName::new(name).ok(), groups }
    }

    fn copy(from: &Directory, to: &mut Directory) {
        let read = to.read(&from.node.clone(), from.incarnation);
        if let Some(page) = from.page(read) {
            to.take(&from.node.clone(), from.incarnation, page).unwrap();
        }
    }

    fn found(directory: &Directory, name: &str) -> Vec<String> {
        let holders = directory.holders(&ActorName::new(name).unwrap());
        holders.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_found_everywhere_and_the_own_node_comes_first() {
        let (mut a, mut b) = (Directory::new(node("a"), 1), Directory::new(node("b"), 1));
        a.list(listing(7, "bank", "banks"));
        b.list(listing(9, "bank", "banks"));
        copy(&a, &mut b);
        copy(&b, &mut a);
        assert_eq!(found(&a, "bank"), ["7@a#1", "9@b#1"]);
        assert_eq!(found(&b, "bank"), ["9@b#1", "7@a#1"]);
        let group = GroupName::new("banks").unwrap();
        assert_eq!(a.members(&group), b.members(&group));
        a.unlist(7);
        copy(&a, &mut b);
        assert_eq!(found(&b, "bank"), ["9@b#1"]);
    }

    #[test]
    fn of_a_node_that_is_gone_or_runs_anew_nothing_is_found() {
        let (mut a, mut b) = (Directory::new(node("a"), 1), Directory::new(node("b"), 1));
        b.list(listing(9, "bank", "banks"));
        copy(&b, &mut a);
        let before = a.version();
        a.forget(&node("b"));
        assert!(a.version() > before && found(&a, "bank").is_empty());
        copy(&b, &mut a);
        let mut anew = Directory::new(node("b"), 2);
        anew.list(listing(1, "clerk", "clerks"));
        copy(&anew, &mut a);
        assert!(found(&a, "bank").is_empty());
        assert_eq!(found(&a, "clerk"), ["1@b#2"]);
        assert!(a.members(&GroupName::new("banks").unwrap()).is_empty());
    }
}
