//! What one peer sends to one actor: what it may, and what it has credit for.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use vioduct_certs::identity::Identity;

use super::control::{Bind, BindRefusal, Bound, Control};
use super::credit::{Account, Overrun, cost};
use super::{Peer, lock};
use crate::error::Skew;
use crate::inbox::Hosted;
use crate::message::MessageType;
use crate::schema::Fingerprint;

/// One peer's way into one actor.
pub(crate) struct Inlet {
    pub(crate) peer: Arc<Peer>,
    actor: Weak<dyn Hosted>,
    serial: u64,
    window: u32,
    account: Mutex<Account>,
    /// A bit for each message that the peer has bound and may send.
    allowed: AtomicU64,
    /// The peer's run is over: nobody waits for answers or credit.
    is_over: AtomicBool,
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl Inlet {
    pub(crate) fn new(peer: Arc<Peer>, actor: &Arc<dyn Hosted>) -> Self {
        Self {
            peer,
            actor: Arc::downgrade(actor),
            serial: actor.id().serial,
            window: actor.window(),
            account: Mutex::new(Account::new(actor.window())),
            allowed: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.actor.strong_count() > 0
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn actor(&self) -> Option<Arc<dyn Hosted>> {
        self.actor.upgrade()
    }

    pub(crate) fn allows(&self, message: u8) -> bool {
        let bit = 1_u64.checked_shl(message.into()).unwrap_or(0);
        self.allowed.load(Ordering::Relaxed) & bit != 0
    }

    /// Takes a message of this length in, if the peer has credit for it.
    pub(crate) fn take_in(
        self: &Arc<Self>,
        epoch: u32,
        head: usize,
        body: usize,
    ) -> Result<Debit, Overrun> {
        let cost = cost(head, body, self.window);
        lock(&self.account).take_in(epoch, cost)?;
        Ok(Debit { inlet: Arc::clone(self), cost })
    }

    /// Bytes of messages under way.
    pub(crate) fn held_bytes(&self) -> u64 {
        lock(&self.account).held().into()
    }

    /// Gives leave to send a message, or says why not.
    pub(crate) fn bind(&self, bind: &Bind, identity: &Identity) -> Result<Bound, BindRefusal> {
        let actor = self.actor().ok_or(BindRefusal::Gone)?;
        let message = actor.find_export(&|export| export.message.key.0 == bind.key);
        let message = message.ok_or(BindRefusal::NotExported)?;
        let export = actor.export(message).ok_or(BindRefusal::NotExported)?;
        if !export.access.allows(identity) {
            return Err(BindRefusal::AccessDenied);
        }
        let MessageType { name, version, fingerprint: here, .. } = export.message;
        if here.0 != bind.fingerprint {
            let (there, node) = (Fingerprint(bind.fingerprint), identity.name.clone());
            let skew = Skew { message: name, version, here, there, node };
            tracing::warn!(actor = %actor.id(), "{skew}");
            return Err(BindRefusal::Skew { fingerprint: here.0 });
        }
        self.allowed.fetch_or(1_u64.checked_shl(message.into()).unwrap_or(0), Ordering::Relaxed);
        let credit = lock(&self.account).bind(bind.epoch);
        Ok(Bound { message, window: self.window, credit })
    }

    /// The peer's certificate says something else now: what it does not allow is taken back.
    pub(crate) fn judge_again(&self, identity: &Identity) {
        let Some(actor) = self.actor() else { return };
        for message in 0..64_u8 {
            let is_allowed = actor.export(message).is_some_and(|it| it.access.allows(identity));
            if !is_allowed {
                self.allowed.fetch_and(!(1_u64 << message), Ordering::Relaxed);
            }
        }
    }

    fn work_off(&self, cost: u32) {
        let mut account = lock(&self.account);
        let (granted, epoch) = (account.work_off(cost), account.epoch());
        drop(account);
        let Some(bytes) = granted.filter(|_bytes| !self.is_over()) else { return };
        let credit = Control::Credit { serial: self.serial, epoch, bytes };
        // Without a link, the peer binds again.
        self.peer.tell_control(&credit).ok();
    }
}

/// Credit in use. Dropped when its message is worked off.
#[derive(Debug)]
pub(crate) struct Debit {
    inlet: Arc<Inlet>,
    cost: u32,
}

impl Debit {
    pub(crate) fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }
}

impl Drop for Debit {
    fn drop(&mut self) {
        self.inlet.work_off(self.cost);
    }
}
