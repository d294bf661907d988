//! What must hold of every history, one file each. Pure: they read events and nothing else.

mod accounted;
mod as_sent;
mod at_most_once;
mod honest;
mod no_panic;
mod not_delivered;
mod order;
mod progress;
mod recovery;
#[cfg(test)]
mod scene;

use vioduct_transport::Ticket;

use super::history::Event;
use super::message::{MessageId, NodeId};

/// How a history breaks an invariant. Fault: the transport's, or the simulation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A task of the transport panicked.
    #[error("no panic: a task of {node} panicked at {at_ms} ms")]
    Panicked {
        /// Whose.
        node: NodeId,
        /// When.
        at_ms: u64,
    },
    /// A node cut its link for a breach of the protocol, by a peer that runs the same code.
    #[error("honest: {node} says at {at_ms} ms that {peer} breaks the protocol")]
    Accused {
        /// Who says so.
        node: NodeId,
        /// Of whom.
        peer: NodeId,
        /// When.
        at_ms: u64,
    },
    /// A message was handed over after a later one of its flow.
    #[error("order: {message} came at {at_ms} ms, after number {after} of its flow")]
    OutOfOrder {
        /// Which.
        message: MessageId,
        /// The later one.
        after: u64,
        /// When.
        at_ms: u64,
    },
    /// A message was handed over twice.
    #[error("at most once: {message} came again at {at_ms} ms")]
    Twice {
        /// Which.
        message: MessageId,
        /// When, the second time.
        at_ms: u64,
    },
    /// A message never came, and nobody said so.
    #[error("accounted: {message}, taken as {ticket:?}, did not come and was not reported")]
    LostInSilence {
        /// Which.
        message: MessageId,
        /// What the link gave for it.
        ticket: Ticket,
    },
    /// A message was handed over although it was reported as not delivered.
    #[error("not delivered: {message} was reported so, and came")]
    ArrivedAfterAll {
        /// Which.
        message: MessageId,
    },
    /// A message was handed over that was never taken, or by the wrong node, or changed.
    #[error("as sent: {message} is not what was sent, at {at_ms} ms")]
    NotAsSent {
        /// Which.
        message: MessageId,
        /// When.
        at_ms: u64,
    },
    /// Something was handed over that nobody sent.
    #[error("as sent: something unreadable came to {node} at {at_ms} ms")]
    Unreadable {
        /// To whom.
        node: NodeId,
        /// When.
        at_ms: u64,
    },
    /// A link was not up in time after the faults.
    #[error("recovery: the link of {node} to {peer} is not up in time")]
    NotUp {
        /// Whose link.
        node: NodeId,
        /// To whom.
        peer: NodeId,
    },
    /// A message that was sent after the recovery did not come.
    #[error("progress: {message}, sent after the recovery, did not come")]
    NoProgress {
        /// Which.
        message: MessageId,
    },
    /// A node waits for messages to be settled that nobody settles.
    #[error("progress: {node} has not finished")]
    NotFinished {
        /// Which.
        node: NodeId,
    },
}

/// Checks every invariant; gives the first violation of each.
pub fn check(events: &[Event]) -> Vec<Violation> {
    let checks = [
        no_panic::check,
        honest::check,
        order::check,
        at_most_once::check,
        as_sent::check,
        not_delivered::check,
        accounted::check,
        recovery::check,
        progress::check,
    ];
    checks.iter().filter_map(|check| check(events).err()).collect()
}
