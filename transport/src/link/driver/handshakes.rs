//! Handshakes of a link under way: dials, offers, and their ends.

use std::sync::Arc;

use tokio::sync::oneshot;
use vioduct_certs::serial::Serial;

use super::{Driver, LinkInput, Slot};
use crate::connection::handshake::{self, Offer, OwnRun};
use crate::connection::{CloseCode, Established};
use crate::error::DialError;
use crate::event::{DownReason, LinkEvent};
use crate::link::machine::{ConnId, Input, PeerRun};
use crate::wire::Rejection;

impl Driver {
    pub(super) fn dial(&mut self, conn: ConnId, run: OwnRun) {
        let addr = self.addr.or_else(|| self.link.addr());
        let (abandon, abandoned) = oneshot::channel::<()>();
        self.slots.insert(conn, Slot::Dialling { _abandon: abandon });
        let (endpoint, link) = (Arc::clone(&self.endpoint), self.link.clone());
        let hello = handshake::own_hello(&endpoint, run);
        self.endpoint.spawn(async move {
            let result = match addr {
                None => Err(DialError::Superseded),
                Some(addr) => {
                    let bound = endpoint.config.handshake_timeout;
                    let dial = handshake::dial(&endpoint, link.peer(), addr, hello);
                    tokio::select! {
                        biased;
                        done = endpoint.clock.within(bound, dial) => {
                            done.unwrap_or(Err(DialError::TimedOut { addr }))
                        }
                        _given_up = abandoned => Err(DialError::Superseded),
                    }
                }
            };
            let input = LinkInput::Dialled { conn, result: Box::new(result) };
            // Fails only when the link was closed meanwhile.
            link.shared.inputs.send(input).await.ok();
        });
    }

    pub(super) fn dialled(&mut self, conn: ConnId, result: Result<Established, DialError>) {
        match result.and_then(|established| self.judge(established)) {
            Ok(established) => {
                let own = established.own.serial();
                let incarnation = established.info.incarnation;
                let run = PeerRun { incarnation, instance: established.instance };
                let live = established.live;
                self.slots.insert(conn, Slot::Ready(Box::new(established)));
                self.step(Input::Welcomed { conn, run, live });
                self.renew(conn, own);
            }
            Err(error) => {
                self.slots.remove(&conn);
                let rejection = match &error {
                    DialError::Rejected { rejection, .. } => Some(rejection.clone()),
                    _other => None,
                };
                if !is_tie(&error) {
                    let (peer, reason) = (self.link.peer(), error.label());
                    tracing::warn!(%peer, reason, %error, "dial failed");
                    self.tell(LinkEvent::DialFailed { error });
                }
                self.step(Input::DialFailed { conn, rejection });
            }
        }
    }

    pub(super) fn offered(&mut self, offer: Box<Offer>) {
        let conn = self.machine.name_connection();
        let run = PeerRun { incarnation: offer.hello.incarnation, instance: offer.hello.instance };
        let (generation, live) = (offer.hello.generation, offer.hello.live);
        self.slots.insert(conn, Slot::Offered(offer));
        self.step(Input::Offered { conn, run, generation, live });
    }

    pub(super) fn welcome(&mut self, conn: ConnId, run: OwnRun) {
        let (abandon, abandoned) = oneshot::channel::<()>();
        let slot = self.slots.insert(conn, Slot::Welcomed { _abandon: abandon });
        let Some(Slot::Offered(offer)) = slot else { return };
        let (endpoint, link) = (Arc::clone(&self.endpoint), self.link.clone());
        self.endpoint.spawn(async move {
            let bound = endpoint.config.handshake_timeout;
            let welcome = handshake::welcome(&endpoint, *offer, run);
            let established = tokio::select! {
                biased;
                done = endpoint.clock.within(bound, welcome) => done.flatten(),
                _given_up = abandoned => None,
            };
            let input = LinkInput::Started { conn, established: established.map(Box::new) };
            // Fails only when the link was closed meanwhile.
            link.shared.inputs.send(input).await.ok();
        });
    }

    pub(super) fn reject(&mut self, conn: ConnId, rejection: Rejection) {
        if let Some(Slot::Offered(offer)) = self.slots.remove(&conn) {
            let endpoint = Arc::clone(&self.endpoint);
            let addr = offer.quinn.remote_address();
            let error = DialError::Rejected { addr, rejection: rejection.clone() };
            if is_tie(&error) {
                tracing::debug!(peer = %self.link.peer(), %rejection, "offer turned down");
            } else {
                tracing::warn!(peer = %self.link.peer(), %rejection, "offer turned down");
                self.endpoint.inbound.refused(addr, error);
            }
            self.endpoint.spawn(handshake::reject(endpoint, *offer, rejection));
        }
    }

    pub(super) fn started(&mut self, conn: ConnId, established: Option<Box<Established>>) {
        match established.and_then(|established| self.admit(*established)) {
            Some(established) => {
                let (quinn, own) = (established.quinn.clone(), established.own.serial());
                self.slots.insert(conn, Slot::Ready(Box::new(established)));
                self.step(Input::Started { conn });
                self.renew(conn, own);
                if let Some(Slot::Ready(_unwanted)) = self.slots.get(&conn) {
                    self.slots.remove(&conn);
                    CloseCode::Superseded.close(&quinn, "started too late");
                }
            }
            None => {
                self.slots.remove(&conn);
                self.step(Input::Lost { conn });
            }
        }
    }

    /// Verifies the peer of a handshake again: it began under the trust of its time, and a
    /// revocation since then has cut only what was live.
    fn judge(&self, established: Established) -> Result<Established, DialError> {
        match self.verify(&established.quinn) {
            Ok(()) => Ok(established),
            Err(refusal) => {
                let addr = established.info.addr;
                let text = DownReason::Evicted(refusal.clone()).to_string();
                CloseCode::Evicted.close(&established.quinn, &text);
                Err(DialError::Refused { addr, refusal })
            }
        }
    }

    fn admit(&self, established: Established) -> Option<Established> {
        let addr = established.info.addr;
        let judged = self.judge(established).inspect_err(|error| {
            let peer = self.link.peer();
            tracing::warn!(%peer, reason = error.label(), %error, "connection refused");
        });
        judged.map_err(|error| self.endpoint.inbound.refused(addr, error)).ok()
    }

    /// Replaces a connection that has come to carry the link with a certificate of this side that
    /// was replaced during the handshake.
    fn renew(&mut self, conn: ConnId, presented: Serial) {
        let is_current = self.link.shared.current().is_some_and(|current| current.id == conn);
        if is_current && presented != self.endpoint.credentials().serial() {
            self.replace();
        }
    }
}

/// Both sides dialled at once, and the other connection lives: nothing failed.
fn is_tie(error: &DialError) -> bool {
    matches!(
        error,
        DialError::Superseded
            | DialError::Rejected {
                rejection: Rejection::Duplicate | Rejection::StaleGeneration { .. },
                ..
            }
    )
}
