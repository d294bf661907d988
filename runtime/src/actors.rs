//! The actors that live on this node.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::StartError;
use crate::id::ActorName;
use crate::inbox::Hosted;
use crate::inspect::TypeFigures;
use crate::names::LISTED_MAX;

#[derive(Default)]
struct Table {
    alive: BTreeMap<u64, Arc<dyn Hosted>>,
    /// The present life of each named actor; none between two lives.
    names: BTreeMap<ActorName, Option<u64>>,
    /// Actors that others can find, those between two lives too.
    findable: usize,
    last_serial: u64,
    /// Lives that are over, by type.
    ended: BTreeMap<&'static str, TypeFigures>,
    /// How many live on each worker.
    on_worker: BTreeMap<usize, u32>,
    is_closed: bool,
}

/// How many actors there are.
pub(crate) struct Census {
    pub(crate) alive: u64,
    /// Begun since the node's start.
    pub(crate) lives: u64,
    /// By worker.
    pub(crate) on_worker: Vec<(usize, u32)>,
}

/// Every actor of the node, by number and by name.
#[derive(Default)]
pub(crate) struct Actors {
    table: Mutex<Table>,
}

impl Actors {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a name, and a place among those that can be found, for an actor that is about to
    /// start.
    pub(crate) fn reserve(
        &self,
        name: Option<&ActorName>,
        is_findable: bool,
    ) -> Result<(), StartError> {
        let mut table = self.table();
        if table.is_closed {
            return Err(StartError::Closing);
        }
        if is_findable && table.findable == LISTED_MAX {
            return Err(StartError::TooManyNames { limit: LISTED_MAX });
        }
        if let Some(name) = name {
            if table.names.contains_key(name) {
                return Err(StartError::NameTaken(name.clone()));
            }
            table.names.insert(name.clone(), None);
        }
        table.findable += usize::from(is_findable);
        Ok(())
    }

    pub(crate) fn release(&self, name: Option<&ActorName>, is_findable: bool) {
        let mut table = self.table();
        if let Some(name) = name {
            table.names.remove(name);
        }
        table.findable -= usize::from(is_findable);
    }

    pub(crate) fn next_serial(&self) -> u64 {
        let mut table = self.table();
        table.last_serial += 1;
        table.last_serial
    }

    /// A life begins. False when the node is shutting down.
    pub(crate) fn begin(&self, actor: Arc<dyn Hosted>) -> bool {
        let mut table = self.table();
        if table.is_closed {
            return false;
        }
        let serial = actor.id().serial;
        if let Some(name) = actor.name() {
            table.names.insert(name.clone(), Some(serial));
        }
        *table.on_worker.entry(actor.worker()).or_default() += 1;
        table.alive.insert(serial, actor);
        true
    }

    /// A life is over; its name stays reserved.
    pub(crate) fn end(&self, serial: u64) {
        let mut table = self.table();
        let gone = table.alive.remove(&serial);
        if let Some(gone) = &gone {
            gone.tallies().add_to(table.ended.entry(gone.type_name()).or_default());
        }
        if let Some(count) = gone.as_ref().and_then(|it| table.on_worker.get_mut(&it.worker())) {
            *count -= 1;
        }
        if let Some(life) = gone.as_ref().and_then(|gone| table.names.get_mut(gone.name()?)) {
            *life = None;
        }
        drop(table);
    }

    pub(crate) fn get(&self, serial: u64) -> Option<Arc<dyn Hosted>> {
        self.table().alive.get(&serial).cloned()
    }

    pub(crate) fn find(&self, name: &ActorName) -> Option<Arc<dyn Hosted>> {
        let table = self.table();
        let serial = table.names.get(name).copied().flatten()?;
        table.alive.get(&serial).cloned()
    }

    /// Actors of a higher serial, so many at most.
    pub(crate) fn after(&self, serial: u64, count: usize) -> Vec<Arc<dyn Hosted>> {
        let later = (Bound::Excluded(serial), Bound::Unbounded);
        self.table().alive.range(later).take(count).map(|(_serial, it)| Arc::clone(it)).collect()
    }

    /// All lives by type. The name of a type stands before its figures.
    pub(crate) fn types(&self) -> BTreeMap<&'static str, TypeFigures> {
        let table = self.table();
        let (mut types, alive) = (table.ended.clone(), table.alive.clone());
        drop(table);
        for actor in alive.values() {
            let of_type = types.entry(actor.type_name()).or_default();
            of_type.actors += 1;
            actor.tallies().add_to(of_type);
        }
        types
    }

    pub(crate) fn census(&self) -> Census {
        let table = self.table();
        let on_worker = table.on_worker.iter().map(|(worker, count)| (*worker, *count)).collect();
        Census { alive: table.alive.len() as u64, lives: table.last_serial, on_worker }
    }

    /// Starts no more actors, and gives those that live.
    pub(crate) fn close(&self) -> Vec<Arc<dyn Hosted>> {
        let mut table = self.table();
        table.is_closed = true;
        table.alive.values().cloned().collect()
    }
}
