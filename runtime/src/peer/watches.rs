//! Who is to be told when an actor of the peer ends.
//!
//! A watch outlives connections: it is asked for again on each. A notice to an actor comes on the
//! flows of the messages to it, of those that the ended actor sent and of those that its node sent:
//! once it has come on both, nothing of the actor's is still on its way.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::control::Behind;
use super::lock;
use crate::error::EndReason;
use crate::id::ActorId;

/// Watches on actors of one peer.
pub(super) const WATCHES_MAX: usize = 1 << 16;

/// Told once.
pub(crate) type Tell = Box<dyn FnOnce(EndReason) + Send>;

struct Watch {
    /// The actor that watches; 0 when it is none.
    watcher: u64,
    /// The notice has come behind the ended actor's messages, and behind its node's.
    is_behind: (bool, bool),
    tell: Tell,
}

#[derive(Default)]
struct Table {
    /// By the actor's run and number.
    watches: BTreeMap<(u64, u64), BTreeMap<u64, Watch>>,
    count: usize,
    is_closed: bool,
}

#[derive(Default)]
pub(crate) struct Watches {
    table: Mutex<Table>,
}

/// There is no room for another watch, or the node is shutting down. Gives back who is to be told.
pub(crate) struct NoRoom(pub(crate) Tell);

impl Watches {
    pub(crate) fn add(
        &self,
        id: &ActorId,
        watch: u64,
        watcher: u64,
        tell: Tell,
    ) -> Result<(), NoRoom> {
        let mut table = lock(&self.table);
        if table.is_closed || table.count >= WATCHES_MAX {
            return Err(NoRoom(tell));
        }
        let watches = table.watches.entry((id.incarnation, id.serial)).or_default();
        watches.insert(watch, Watch { watcher, is_behind: (false, false), tell });
        table.count += 1;
        Ok(())
    }

    pub(crate) fn remove(&self, id: &ActorId, watch: u64) -> Option<Tell> {
        let mut table = lock(&self.table);
        let key = (id.incarnation, id.serial);
        let watches = table.watches.get_mut(&key)?;
        let Watch { tell, .. } = watches.remove(&watch)?;
        if watches.is_empty() {
            table.watches.remove(&key);
        }
        table.count -= 1;
        Some(tell)
    }

    /// A notice has come. Gives who is to be told, once it has come behind all messages.
    pub(crate) fn noticed(&self, id: &ActorId, watch: u64, behind: Behind) -> Option<Tell> {
        let mut table = lock(&self.table);
        let key = (id.incarnation, id.serial);
        let known = table.watches.get_mut(&key)?.get_mut(&watch)?;
        match behind {
            Behind::Nobody => known.is_behind = (true, true),
            Behind::Actor => known.is_behind.0 = true,
            Behind::Node => known.is_behind.1 = true,
        }
        let is_complete = known.is_behind == (true, true);
        drop(table);
        if is_complete { self.remove(id, watch) } else { None }
    }

    /// Every watch on this run of the peer: actor, watch and watcher.
    pub(crate) fn of_run(&self, incarnation: u64) -> Vec<(u64, u64, u64)> {
        let table = lock(&self.table);
        let of_run = table.watches.iter().filter(|((run, _serial), _)| *run == incarnation);
        of_run
            .flat_map(|((_run, serial), watches)| {
                watches.iter().map(|(watch, it)| (*serial, *watch, it.watcher))
            })
            .collect()
    }

    /// Tells every watch on an earlier run than this; on any when there is none.
    pub(crate) fn earlier_than(&self, incarnation: Option<u64>) {
        let mut table = lock(&self.table);
        let is_over = |(run, _serial): &(u64, u64)| incarnation.is_none_or(|now| *run < now);
        let over: Vec<_> = table.watches.keys().copied().filter(is_over).collect();
        let tells: Vec<Tell> = over
            .iter()
            .filter_map(|key| table.watches.remove(key))
            .flat_map(BTreeMap::into_values)
            .map(|watch| watch.tell)
            .collect();
        table.count -= tells.len();
        drop(table);
        tells.into_iter().for_each(|tell| tell(EndReason::NodeDown));
    }

    pub(crate) fn close(&self) {
        lock(&self.table).is_closed = true;
        self.earlier_than(None);
    }
}
