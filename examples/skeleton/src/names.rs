//! Actors by name, here and on other nodes, and one way to ask them all.
//!
//! A name is `actor@node`. Here it is a mailbox; elsewhere it is the link to its node, which hands
//! the question to the mailbox there. Nothing waits in a delivery: what a mailbox does not take is
//! answered at once, so that an answer is never stuck behind a question on its lane.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_transport::{
    BoxFuture, DialError, Flow, Inbound, Link, LinkEvent, LinkState, Message, Ticket,
};

use crate::trace::Mark;
use crate::wire::{Answer, Call, Frame, Question, Status, answer_frame, decode, question_frame};

/// Questions of one node that wait for answers from others.
const WAITING_MAX: usize = 256;

/// How an answer gets back. Dropped unused, it says so.
#[derive(Debug)]
pub(crate) struct Reply(Option<Way>);

#[derive(Debug)]
enum Way {
    Here(oneshot::Sender<Answer>),
    There { link: Link, flow: u32, id: u64 },
}

impl Reply {
    pub(crate) fn here() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, answered) = oneshot::channel();
        (Self(Some(Way::Here(sender))), answered)
    }

    pub(crate) fn send(mut self, answer: Answer) {
        self.go(answer);
    }

    fn go(&mut self, answer: Answer) {
        match self.0.take() {
            // Fails only when the asker has stopped waiting.
            Some(Way::Here(sender)) => drop(sender.send(answer)),
            Some(Way::There { link, flow, id }) => {
                // A full lane loses the answer; the asker's deadline then ends its wait.
                drop(link.try_send(Flow::Pair(flow), &answer_frame(id, &answer), &answer.body));
            }
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.go(Answer::bare(Status::Dropped, Default::default(), Default::default()));
    }
}

/// A question that went to another node.
#[derive(Debug)]
struct Waiting {
    peer: NodeName,
    ticket: Ticket,
    answer: oneshot::Sender<Answer>,
}

/// What a peer's certificate lets it ask.
fn roles_of(from: &Link) -> Roles {
    match from.state() {
        LinkState::Up(info) => info.peer.identity.roles,
        // A late delivery of a connection that is gone.
        LinkState::Connecting | LinkState::Unreachable | LinkState::Closed => Roles::none(),
    }
}

/// Answers that nothing was done.
pub(crate) fn not_taken(call: Call) {
    let Question { epoch, trace, .. } = call.question;
    call.reply.send(Answer::bare(Status::NotTaken, epoch, trace));
}

/// The actors that this node knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    here: RwLock<HashMap<String, Recipient<Call>>>,
    links: RwLock<HashMap<String, Link>>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    last_id: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Not taken. Performed: no.
    NotTaken,
    /// Lost on the way, or late. Performed: unknown.
    Unknown,
}

impl Names {
    pub(crate) fn add_actor(&self, name: &str, actor: Recipient<Call>) {
        let mut here = self.here.write().unwrap_or_else(PoisonError::into_inner);
        here.insert(name.to_owned(), actor);
    }

    pub(crate) fn add_link(&self, link: Link) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.peer().to_string(), link);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call into a mailbox here, or answers that it was not taken.
    ///
    /// The recipient is used where it lies: each clone of one may put a message past the bound.
    fn hand(&self, name: &str, call: Call) {
        let here = self.here.read().unwrap_or_else(PoisonError::into_inner);
        let Some(actor) = here.get(name) else { return not_taken(call) };
        if let Err(refused) = actor.try_send(call) {
            not_taken(refused.into_inner());
        }
    }

    /// Asks an actor wherever it is. The question is on its way when this returns; the future waits
    /// for the answer. Dropping it takes nothing back.
    ///
    /// # Errors
    /// [`NoAnswer`], which says whether the question may have been acted on.
    pub(crate) fn ask(
        self: &Arc<Self>,
        name: &str,
        question: Question,
        deadline: Duration,
    ) -> impl Future<Output = Result<Answer, NoAnswer>> + Send + use<> {
        let node = name.split_once('@').map_or("", |(_actor, node)| node);
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let asked = match links.get(node) {
            Some(link) => self.ask_there(link, name, &question),
            None => {
                let (reply, answered) = Reply::here();
                self.hand(name, Call { question, reply });
                Ok((0, answered))
            }
        };
        drop(links);
        let names = Arc::clone(self);
        async move {
            let (id, answered) = asked?;
            let late = timeout(deadline, answered).await;
            names.waiting().remove(&id);
            match late {
                Ok(Ok(Answer { status: Status::NotTaken, .. })) => Err(NoAnswer::NotTaken),
                Ok(Ok(Answer { status: Status::Dropped, .. })) => Err(NoAnswer::Unknown),
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(NoAnswer::Unknown),
            }
        }
    }

    /// The table stays locked from the ticket to its entry, so that no loss is told in between.
    fn ask_there(
        &self,
        link: &Link,
        name: &str,
        question: &Question,
    ) -> Result<(u64, oneshot::Receiver<Answer>), NoAnswer> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (head, body) = question_frame(id, name, question);
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            return Err(NoAnswer::NotTaken);
        }
        let flow = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        let ticket = link.try_send(Flow::Pair(flow), &head, &body);
        let ticket = ticket.map_err(|_refused| NoAnswer::NotTaken)?;
        let (answer, answered) = oneshot::channel();
        waiting.insert(id, Waiting { peer: link.peer().clone(), ticket, answer });
        Ok((id, answered))
    }

    /// A peer's question. Who may ask whom is written in its certificate's roles.
    fn asked(&self, from: (&Link, Roles), flow: u32, id: u64, to: &str, mut question: Question) {
        let (from, roles) = from;
        let reply = Reply(Some(Way::There { link: from.clone(), flow, id }));
        let (asker, mark) = match to.split_once('@') {
            Some(("vios", _node)) => ("phyp", Mark::AtVios),
            Some(("storage", _node)) => ("vios", Mark::AtStorage),
            _other => return,
        };
        question.trace.mark(mark);
        let may_ask = roles.iter().any(|role| role.as_str() == asker);
        if may_ask {
            self.hand(to, Call { question, reply });
        } else {
            not_taken(Call { question, reply });
        }
    }

    fn take(&self, from: &Link, batch: &mut Vec<Message>) {
        let roles = roles_of(from);
        for Message { flow, head, body } in batch.drain(..) {
            match decode(head, body) {
                Some(Frame::Question { id, to, question }) => {
                    self.asked((from, roles), flow, id, &to, question);
                }
                Some(Frame::Answer { id, answer }) => self.answered(from, id, answer),
                None => {} // No message of ours; nobody waits for it.
            }
        }
    }

    fn answered(&self, from: &Link, id: u64, mut answer: Answer) {
        let mut waiting = self.waiting();
        if waiting.get(&id).is_some_and(|entry| entry.peer == *from.peer())
            && let Some(entry) = waiting.remove(&id)
        {
            let is_vios = answer.trace.0.get(Mark::BackAtVios as usize) == Some(&0);
            answer.trace.mark(if is_vios { Mark::BackAtVios } else { Mark::BackAtLpar });
            // Fails only when the asker has stopped waiting.
            drop(entry.answer.send(answer));
        }
    }
}

impl Inbound for Names {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        self.take(from, batch);
        Box::pin(std::future::ready(()))
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    /// A lost question ends its wait at once: dropping the entry tells the asker.
    fn event(&self, link: &Link, event: LinkEvent) {
        if let LinkEvent::Undelivered { lane, numbers, .. } = event {
            self.waiting().retain(|_id, entry| {
                let Ticket { lane: of, number } = entry.ticket;
                entry.peer != *link.peer() || of != lane || !numbers.contains(&number)
            });
        }
    }

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}

#[cfg(test)]
mod tests {
    use actix::{Actor, AsyncContext, Context, Handler, System, WrapFuture};

    use super::*;
    use crate::wire::Request;

    /// Never handles what its mailbox holds.
    struct Stuck;

    impl Actor for Stuck {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
            ctx.wait(std::future::pending::<()>().into_actor(self));
        }
    }

    impl Handler<Call> for Stuck {
        type Result = ();

        fn handle(&mut self, _call: Call, _ctx: &mut Self::Context) {}
    }

    #[test]
    fn what_a_mailbox_has_no_room_for_is_answered_at_once_and_what_it_holds_is_in_doubt() {
        System::new().block_on(async {
            let names = Arc::new(Names::default());
            names.add_actor("stuck@here", Stuck.start().recipient());
            tokio::task::yield_now().await;
            let ask = |name| {
                let (epoch, trace) = Default::default();
                let question = Question { epoch, request: Request::Flush, trace };
                names.ask(name, question, Duration::from_millis(20))
            };
            let mut told = Vec::new();
            for asked in [ask("stuck@here"), ask("stuck@here"), ask("nobody@here")] {
                told.push(asked.await.unwrap_err());
            }
            assert_eq!(told, [NoAnswer::Unknown, NoAnswer::NotTaken, NoAnswer::NotTaken]);
        });
    }
}
