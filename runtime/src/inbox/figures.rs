//! What an inbox shows of itself and of its actor.

use std::any;
use std::sync::atomic::Ordering;

use actix::Actor;

use super::Inbox;
use crate::exports::{EXPORTS_MAX, Export};
use crate::inspect::count::ActorTallies;
use crate::inspect::gather::text;
use crate::inspect::{ActorFigures, ExportFigures};

impl<A: Actor> Inbox<A> {
    pub(super) fn tallies(&self) -> ActorTallies {
        // In this order: nothing is begun that was not put in before.
        let begun = self.begun.load(Ordering::Acquire);
        let state = self.state();
        let waiting = if state.is_over { 0 } else { state.pushed.saturating_sub(begun) };
        drop(state);
        let passed_over = self.counts.passed_over.read();
        ActorTallies {
            waiting,
            handled: begun.saturating_sub(passed_over),
            passed_over,
            answered: self.counts.answered.read() + self.counts.answered_here.read(),
            refused_full: self.counts.refused_full.read(),
            refused_access: self.counts.refused_access.read(),
        }
    }

    pub(super) fn figures(&self) -> ActorFigures {
        let ActorTallies { waiting, handled, passed_over, answered, refused_full, refused_access } =
            self.tallies();
        let exports = (0..EXPORTS_MAX).filter_map(|index| {
            let Export { message, access } = self.exports.get(u8::try_from(index).ok()?)?;
            let (name, access) = (text(message.name), text(&access.to_string()));
            Some(ExportFigures { message: name, version: message.version, access })
        });
        ActorFigures {
            serial: self.id.serial,
            name: self.name.clone(),
            type_name: text(any::type_name::<A>()),
            worker: u32::try_from(self.worker).unwrap_or(u32::MAX),
            waiting,
            capacity: self.capacity as u64,
            capacity_used: self.capacity.saturating_sub(self.room.available_permits()) as u64,
            window_bytes: self.window,
            handled,
            passed_over,
            answered,
            refused_full,
            refused_access,
            restarts: self.restarts,
            parent: self.parent,
            children: *self.children.borrow() as u64,
            groups: self
                .node
                .upgrade()
                .map_or_else(Vec::new, |node| node.names.groups(self.id.serial)),
            exports: exports.collect(),
        }
    }
}
