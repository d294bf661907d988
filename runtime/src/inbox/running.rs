//! Asks of other nodes whose handlers answer later.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Reply;
use crate::message::Wire;
use crate::peer::inlet::Debit;

/// Number of the peer on this node, and its number of the ask.
pub(crate) type AskKey = (u64, u64);

/// Gives whether there is an answer.
type Work = Pin<Box<dyn Future<Output = (AskKey, bool)>>>;

/// Bounded by the credit of the askers: each ask keeps its own until it is answered.
#[derive(Default)]
pub(crate) struct Running {
    work: FuturesUnordered<Work>,
    aborts: HashMap<AskKey, AbortHandle>,
}

impl Running {
    /// Waits for the handler's answer, until the deadline or a cancel. Then the handler's sender is
    /// told by its receiver's end.
    pub(crate) fn push<R: Wire>(
        &mut self,
        answer: oneshot::Receiver<R>,
        reply: Reply,
        deadline: Option<Instant>,
        debit: Debit,
    ) {
        let key = reply.key();
        let (abort, registration) = AbortHandle::new_pair();
        let work = async move {
            let is_answered = match deadline {
                None => finish(reply, answer.await.ok()),
                Some(deadline) => match timeout_at(deadline, answer).await {
                    Ok(answer) => finish(reply, answer.ok()),
                    // Its asker stops waiting by itself.
                    Err(_late) => {
                        reply.forget();
                        false
                    }
                },
            };
            drop(debit);
            is_answered
        };
        let work = Abortable::new(work, registration);
        self.aborts.insert(key, abort);
        self.work.push(Box::pin(async move {
            // An error says that it was aborted: nobody waits for the answer.
            (key, work.await.unwrap_or(false))
        }));
    }

    /// Ends the work of an ask; false when it is not under way.
    pub(crate) fn cancel(&mut self, key: AskKey) -> bool {
        let abort = self.aborts.remove(&key);
        if let Some(abort) = &abort {
            abort.abort();
        }
        abort.is_some()
    }

    /// Lets what is under way go on. Gives how many asks have their answer now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> u64 {
        let mut answered = 0;
        if self.work.is_empty() {
            return answered;
        }
        while let Poll::Ready(Some((key, is_answered))) = Pin::new(&mut self.work).poll_next(cx) {
            self.aborts.remove(&key);
            answered += u64::from(is_answered);
        }
        answered
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }
}

fn finish<R: Wire>(reply: Reply, answer: Option<R>) -> bool {
    // Without an answer the reply is dropped, and says so.
    answer.map(|answer| reply.done(&answer)).is_some()
}
