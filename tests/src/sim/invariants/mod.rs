//! What must hold of every history, one file each. Pure: they read events and nothing else.

mod accounted;
mod as_sent;
mod at_most_once;
mod disturbed;
mod flushed;
mod honest;
mod no_panic;
mod not_delivered;
mod order;
mod progress;
mod quiet;
mod recovery;
mod renewed;
#[cfg(test)]
mod scene;
mod trusted;

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
    /// A link fell, or a message was lost, where nothing but rotations happened.
    #[error("quiet: the link of {node} to {peer} lost something at {at_ms} ms")]
    LostInQuiet {
        /// Whose link.
        node: NodeId,
        /// To whom.
        peer: NodeId,
        /// When.
        at_ms: u64,
    },
    /// A certificate that is revoked or over carried a link or a message.
    #[error("trusted: {node} has to do with {peer} at {at_ms} ms, of which one is refused")]
    Distrusted {
        /// Who.
        node: NodeId,
        /// With whom.
        peer: NodeId,
        /// When.
        at_ms: u64,
    },
    /// An orderly close that nothing hindered lost a message.
    #[error("flushed: {node} says at {at_ms} ms, as it closes, that messages to {peer} are lost")]
    NotFlushed {
        /// Who closes.
        node: NodeId,
        /// For whom they were.
        peer: NodeId,
        /// When.
        at_ms: u64,
    },
    /// Something of an endpoint runs after its close.
    #[error("flushed: something of {node} still runs at {at_ms} ms, after its close")]
    RunsOn {
        /// Whose.
        node: NodeId,
        /// When.
        at_ms: u64,
    },
    /// A link was never moved to the newest certificate.
    #[error("renewed: {node} still sees certificate {leaf} of {peer} in the end")]
    NotRenewed {
        /// Who.
        node: NodeId,
        /// Whose certificate.
        peer: NodeId,
        /// Its number.
        leaf: u8,
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
        quiet::check,
        trusted::check,
        flushed::check,
        recovery::check,
        renewed::check,
        progress::check,
    ];
    checks.iter().filter_map(|check| check(events).err()).collect()
}
