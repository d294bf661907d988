//! Counts, kept where the counted thing happens.
//!
//! What happens for each message is counted under a lock that is held anyway, or by the one thread
//! that does it. Only what is rare, and asks within the node, are counted from many threads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::figures::{RefusalFigures, TypeFigures};
use crate::envelope::Status;
use crate::peer::control::BindRefusal;

/// Events counted from any thread.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Frequent events, counted by one thread at a time: without a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct OwnCount(AtomicU64);

impl OwnCount {
    pub(crate) fn more(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one life of an actor.
#[derive(Debug, Default)]
pub(crate) struct ActorCounts {
    /// Taken out, and not shown to a handler. By the actor's thread.
    pub(crate) passed_over: OwnCount,
    /// Asks of other nodes that have their result. By the actor's thread.
    pub(crate) answered: OwnCount,
    /// Asks of its own node that have their result.
    pub(crate) answered_here: Count,
    pub(crate) refused_full: Count,
    pub(crate) refused_access: Count,
}

/// The counts of one life, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActorTallies {
    pub(crate) waiting: u64,
    pub(crate) handled: u64,
    pub(crate) passed_over: u64,
    pub(crate) answered: u64,
    pub(crate) refused_full: u64,
    pub(crate) refused_access: u64,
}

impl ActorTallies {
    /// Adds one life to those of its type.
    pub(crate) fn add_to(self, of_type: &mut TypeFigures) {
        let Self { waiting, handled, passed_over, answered, refused_full, refused_access } = self;
        of_type.lives += 1;
        of_type.waiting += waiting;
        of_type.handled += handled;
        of_type.passed_over += passed_over;
        of_type.answered += answered;
        of_type.refused_full += refused_full;
        of_type.refused_access += refused_access;
    }
}

/// What is counted of a whole node.
#[derive(Debug, Default)]
pub(crate) struct NodeCounts {
    pub(crate) failures: Count,
    pub(crate) restarts: Count,
    pub(crate) given_up: Count,
    pub(crate) malformed: Count,
}

/// What goes wrong with messages of one peer.
#[derive(Debug, Default)]
pub(crate) struct PeerCounts {
    pub(crate) malformed: Count,
    pub(crate) answers_lost: Count,
    gone: Count,
    late: Count,
    unreadable: Count,
    denied: Count,
    overrun: Count,
    bind_restarted: Count,
    bind_gone: Count,
    bind_not_exported: Count,
    bind_denied: Count,
    bind_skew: Count,
}

impl PeerCounts {
    /// A message of the peer was not shown to a handler.
    pub(crate) fn refused(&self, status: Status) {
        match status {
            Status::Gone => self.gone.one_more(),
            Status::Late => self.late.one_more(),
            Status::Unreadable => self.unreadable.one_more(),
            Status::Refused => self.denied.one_more(),
            Status::Overrun => self.overrun.one_more(),
            // A handler saw it.
            Status::Done | Status::Dropped | Status::AnswerLost => {}
        }
    }

    /// The peer was not given leave to send a message.
    pub(crate) fn not_bound(&self, refusal: BindRefusal) {
        match refusal {
            BindRefusal::Restarted => self.bind_restarted.one_more(),
            BindRefusal::Gone => self.bind_gone.one_more(),
            BindRefusal::NotExported => self.bind_not_exported.one_more(),
            BindRefusal::AccessDenied => self.bind_denied.one_more(),
            BindRefusal::Skew { .. } => self.bind_skew.one_more(),
        }
    }

    pub(crate) fn figures(&self) -> RefusalFigures {
        RefusalFigures {
            gone: self.gone.read(),
            late: self.late.read(),
            unreadable: self.unreadable.read(),
            denied: self.denied.read(),
            overrun: self.overrun.read(),
            bind_restarted: self.bind_restarted.read(),
            bind_gone: self.bind_gone.read(),
            bind_not_exported: self.bind_not_exported.read(),
            bind_denied: self.bind_denied.read(),
            bind_skew: self.bind_skew.read(),
        }
    }
}
