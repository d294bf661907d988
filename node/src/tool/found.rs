//! An actor that is found by name, again after each of its lives.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Accepts, ActorName, ActorRef, AskError, Node, NotDelivered, RemoteMessage};

/// An actor of a node. Asking it finds its present life, also after the node has run anew.
#[derive(Debug)]
pub struct Found<P> {
    node: Node,
    at: NodeName,
    name: ActorName,
    known: Mutex<Option<ActorRef<P>>>,
    /// Held while it is looked up: many may ask at once.
    looking: tokio::sync::Mutex<()>,
}

impl<P: 'static> Found<P> {
    pub(super) fn new(node: Node, at: NodeName, name: ActorName) -> Self {
        let (known, looking) = (Mutex::new(None), tokio::sync::Mutex::default());
        Self { node, at, name, known, looking }
    }

    /// The node that it runs on.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.at
    }

    fn known(&self) -> MutexGuard<'_, Option<ActorRef<P>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its latest life that is known, looked up when there is none. Cancel-safe.
    ///
    /// # Errors
    /// [`NotDelivered::Late`] when it is not found in time, else why it is not.
    pub async fn now(&self, within: Duration) -> Result<ActorRef<P>, NotDelivered> {
        if let Some(known) = self.known().clone() {
            return Ok(known);
        }
        let look_up = async {
            let _one_at_a_time = self.looking.lock().await;
            if let Some(known) = self.known().clone() {
                return Ok(known);
            }
            let found = self.node.lookup(&self.at, &self.name).await?;
            *self.known() = Some(found.clone());
            Ok(found)
        };
        timeout(within, look_up).await.unwrap_or(Err(NotDelivered::Late))
    }

    /// What came of a message to `life` says whether that life is over.
    fn learn(&self, life: &ActorRef<P>, reason: &NotDelivered) {
        if let NotDelivered::Gone { .. } | NotDelivered::Restarted { .. } = reason {
            self.known().take_if(|known| known == life);
        }
    }

    /// As [`ActorRef::ask`]; the look-up counts for the deadline.
    ///
    /// # Errors
    /// As [`ActorRef::ask`]; why it was not found is [`AskError::NotDelivered`].
    pub async fn ask<M: RemoteMessage>(
        &self,
        message: M,
        deadline: Duration,
    ) -> Result<M::Result, AskError>
    where
        P: Accepts<M>,
        M::Result: Send,
    {
        let began = Instant::now();
        let life = self.now(deadline).await?;
        let answer = life.ask(message, deadline.saturating_sub(began.elapsed())).await;
        if let Err(AskError::NotDelivered(reason)) = &answer {
            self.learn(&life, reason);
        }
        answer
    }

    /// As [`ActorRef::tell`], for a deadline at most.
    ///
    /// # Errors
    /// Why it was not delivered.
    pub async fn tell<M: RemoteMessage>(
        &self,
        message: M,
        deadline: Duration,
    ) -> Result<(), NotDelivered>
    where
        P: Accepts<M>,
    {
        let mut message = message;
        let known = self.known().clone();
        if let Some(life) = known {
            message = match life.try_tell(message) {
                Ok(()) => return Ok(()),
                Err(not_taken) => not_taken.message,
            };
        }
        // It has to wait, or to be told why not.
        let telling = async {
            let life = self.now(deadline).await?;
            life.tell(message).await.map_err(|not_taken| {
                self.learn(&life, &not_taken.reason);
                not_taken.reason
            })
        };
        timeout(deadline, telling).await.unwrap_or(Err(NotDelivered::Late))
    }
}
