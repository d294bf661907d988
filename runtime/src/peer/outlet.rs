//! The way to one actor of a peer: leave to send, and credit.

use std::any::TypeId;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

use super::control::{BindRefusal, Bound};
use super::lock;
use crate::error::{NotDelivered, Skew};
use crate::id::ActorId;
use crate::message::MessageType;
use crate::schema::Fingerprint;

/// A message that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) type_id: TypeId,
    pub(crate) message: MessageType,
    /// The outlet's, when it was asked for.
    pub(crate) epoch: u32,
}

/// Leave to send a message.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) message: u8,
    pub(crate) epoch: u32,
    pub(crate) window: u32,
    /// A permit is a byte. Closed when the epoch ends.
    pub(crate) credit: Arc<Semaphore>,
}

/// What is known of a message.
#[derive(Debug, Clone)]
enum Leave {
    Asked,
    Given { message: u8 },
    Refused(NotDelivered),
}

#[derive(Debug)]
struct State {
    epoch: u32,
    window: u32,
    credit: Arc<Semaphore>,
    /// Few: an actor exports at most 64.
    leaves: Vec<(TypeId, Leave)>,
    /// Set for good.
    over: Option<NotDelivered>,
}

/// What to do about a message.
#[derive(Debug)]
pub(crate) enum Next {
    Send(Lease),
    /// Ask the peer, then wait.
    Ask(Want),
    Wait,
    Fail(NotDelivered),
}

/// The way to one actor.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) id: ActorId,
    /// The last epoch of all outlets to this peer: none is used twice.
    epochs: Arc<AtomicU32>,
    state: Mutex<State>,
    changed: Notify,
    senders_waiting: AtomicU32,
}

/// A sender that waits for credit, or for leave to send.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Outlet);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.senders_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outlet {
    pub(crate) fn new(id: ActorId, epochs: Arc<AtomicU32>) -> Self {
        let state = State {
            epoch: next(&epochs),
            window: 0,
            credit: Arc::new(Semaphore::new(0)),
            leaves: Vec::new(),
            over: None,
        };
        let (state, senders_waiting) = (Mutex::new(state), AtomicU32::new(0));
        Self { id, epochs, state, changed: Notify::new(), senders_waiting }
    }

    /// To be held while a sender waits.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        self.senders_waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(crate) fn senders_waiting(&self) -> u64 {
        self.senders_waiting.load(Ordering::Relaxed).into()
    }

    pub(crate) fn credit_bytes(&self) -> u64 {
        lock(&self.state).credit.available_permits() as u64
    }

    /// Ends at the next change. To be taken before [`next`](Self::next).
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn next(&self, type_id: TypeId, message: MessageType) -> Next {
        let mut state = lock(&self.state);
        if let Some(over) = &state.over {
            return Next::Fail(over.clone());
        }
        let epoch = state.epoch;
        match state.leave(type_id) {
            Some(Leave::Given { message }) => Next::Send(Lease {
                message: *message,
                epoch,
                window: state.window,
                credit: Arc::clone(&state.credit),
            }),
            Some(Leave::Asked) => Next::Wait,
            Some(Leave::Refused(reason)) => {
                let reason = reason.clone();
                // The next one asks again: certificates change.
                state.forget(type_id);
                Next::Fail(reason)
            }
            None => {
                state.leaves.push((type_id, Leave::Asked));
                Next::Ask(Want { type_id, message, epoch })
            }
        }
    }

    /// The peer was not asked after all.
    pub(crate) fn not_asked(&self, want: &Want) {
        self.change(|state| state.forget(want.type_id));
    }

    /// The peer's answer.
    pub(crate) fn answered(&self, want: &Want, answer: Result<Bound, BindRefusal>) {
        let refusal = answer.map_err(|refusal| self.reason(want, refusal));
        self.change(|state| {
            if state.epoch != want.epoch {
                return;
            }
            let leave = match refusal {
                Ok(Bound { message, window, credit }) => {
                    state.window = window;
                    state.add(credit);
                    Leave::Given { message }
                }
                Err(reason) => {
                    if matches!(reason, NotDelivered::Gone { .. } | NotDelivered::Restarted { .. })
                    {
                        state.over = Some(reason.clone());
                    }
                    Leave::Refused(reason)
                }
            };
            state.forget(want.type_id);
            state.leaves.push((want.type_id, leave));
        });
    }

    fn reason(&self, want: &Want, refusal: BindRefusal) -> NotDelivered {
        let actor = self.id.clone();
        let MessageType { name: message, version, fingerprint: here, .. } = want.message;
        match refusal {
            BindRefusal::Restarted => self.restarted(),
            BindRefusal::Gone => NotDelivered::Gone { actor },
            BindRefusal::NotExported => NotDelivered::NotExported { actor, message },
            BindRefusal::AccessDenied => NotDelivered::AccessDenied { actor, message },
            BindRefusal::Skew { fingerprint } => {
                let (there, node) = (Fingerprint(fingerprint), actor.node);
                NotDelivered::Skew(Box::new(Skew { message, version, here, there, node }))
            }
        }
    }

    fn restarted(&self) -> NotDelivered {
        NotDelivered::Restarted { node: self.id.node.clone(), was: self.id.incarnation }
    }

    /// The actor has room for more.
    pub(crate) fn credited(&self, epoch: u32, bytes: u32) {
        let mut state = lock(&self.state);
        if state.epoch == epoch {
            state.add(bytes);
        }
    }

    /// Messages, credit or leaves may be lost: everything is asked for anew.
    pub(crate) fn reset(&self) {
        self.change(|state| state.renew(next(&self.epochs)));
    }

    /// The peer's node is in this run now.
    pub(crate) fn runs_now(&self, incarnation: u64) {
        // A reference to a later run may come by another way before the link notices that run.
        if incarnation > self.id.incarnation {
            self.end(self.restarted());
        }
    }

    pub(crate) fn gone(&self) {
        self.end(NotDelivered::Gone { actor: self.id.clone() });
    }

    pub(crate) fn close(&self) {
        self.end(NotDelivered::Closing);
    }

    fn end(&self, reason: NotDelivered) {
        self.change(|state| {
            state.over.get_or_insert(reason);
            state.renew(next(&self.epochs));
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }
}

fn next(epochs: &AtomicU32) -> u32 {
    epochs.fetch_add(1, Ordering::Relaxed) + 1
}

impl State {
    fn leave(&self, type_id: TypeId) -> Option<&Leave> {
        self.leaves.iter().find(|(of, _leave)| *of == type_id).map(|(_of, leave)| leave)
    }

    fn forget(&mut self, type_id: TypeId) {
        self.leaves.retain(|(of, _leave)| *of != type_id);
    }

    /// What a peer grants past the window is not taken.
    fn add(&mut self, bytes: u32) {
        let room = (self.window as usize).saturating_sub(self.credit.available_permits());
        self.credit.add_permits(room.min(bytes as usize));
    }

    fn renew(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.leaves.clear();
        self.credit.close();
        self.credit = Arc::new(Semaphore::new(0));
    }
}
