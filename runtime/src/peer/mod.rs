//! Another node, or a tool: what this node has under way with it.
//!
//! Towards it: [`Outlet`]s, one for each of its actors that is referred to here, and the asks that
//! wait for its answers. From it: [`Inlet`]s, one for each actor here that it sends to.

pub(crate) mod asks;
pub(crate) mod control;
pub(crate) mod credit;
pub(crate) mod inlet;
mod outbox;
pub(crate) mod outlet;
pub(crate) mod watches;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use vioduct_certs::identity::{Identity, Kind, NodeName};
use vioduct_transport::{ConnectionInfo, Flow, Link, LinkState, SendError};

use self::asks::Asks;
use self::control::{Behind, Bind, BindRefusal, Bound, Control, Life, Notice};
use self::inlet::Inlet;
use self::outbox::Outbox;
use self::outlet::{Outlet, Want};
use self::watches::{NoRoom, Tell, WATCHES_MAX, Watches};
use crate::codec::Codec;
use crate::envelope::{self, Status};
use crate::error::{EndReason, NotDelivered};
use crate::id::{ActorId, ActorName};
use crate::inspect::count::PeerCounts;
use crate::message::Wire;
use crate::names::{Names, Read, Reader};
use crate::scratch::Scratch;

/// Questions that wait for the peer at once.
const QUESTIONS_MAX: usize = 4096;

/// What an answer to a question is for.
enum Question {
    Find(oneshot::Sender<Option<ActorId>>),
    Bind { outlet: Weak<Outlet>, want: Want },
}

/// Who says that a node is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// The membership, for all alike.
    Cluster,
    /// This node's own link to it.
    Links,
}

/// One peer.
pub(crate) struct Peer {
    /// Its number on this node.
    pub(crate) number: u64,
    pub(crate) link: Link,
    pub(crate) asks: Asks,
    outlets: Mutex<BTreeMap<(u64, u64), Weak<Outlet>>>,
    epochs: Arc<AtomicU32>,
    inlets: Mutex<BTreeMap<u64, Arc<Inlet>>>,
    questions: Mutex<BTreeMap<u64, Question>>,
    last_question: AtomicU64,
    /// The connection that carried the link last.
    connection: Mutex<Option<Arc<ConnectionInfo>>>,
    /// The first run that was not declared down.
    first_up: AtomicU64,
    pub(crate) watches: Watches,
    /// The peer's own watches on actors of this node.
    watchers: Mutex<BTreeMap<u64, AbortHandle>>,
    /// How far the peer has read in this node's ledger of names.
    reader: Mutex<Reader>,
    control: Outbox,
    /// Apart from answers, whose askers have a deadline that tells.
    notices: Outbox,
    answers: Outbox,
    handle: Handle,
    pub(crate) counts: PeerCounts,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("link", &self.link).finish_non_exhaustive()
    }
}

/// What one actor sends to another keeps its order, and waits for no one else's. `sender` is 0 for
/// all that a node sends outside its actors.
#[expect(clippy::cast_possible_truncation, reason = "a hash of the pair; any bits will do")]
pub(crate) fn flow_of(sender: u64, target: u64) -> Flow {
    /// Odd, so that neighbours differ in the low bits, which choose the lane.
    const SPREAD: u64 = 0x9e37_79b9;
    Flow::Pair(target.wrapping_add(sender.wrapping_mul(SPREAD)) as u32)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub(crate) fn new(number: u64, link: Link, asks: Asks, handle: Handle) -> Self {
        let connection = match link.state() {
            LinkState::Up(info) => Some(info),
            LinkState::Connecting | LinkState::Unreachable | LinkState::Closed => None,
        };
        Self {
            number,
            link,
            asks,
            outlets: Mutex::default(),
            epochs: Arc::default(),
            inlets: Mutex::default(),
            questions: Mutex::default(),
            last_question: AtomicU64::new(0),
            connection: Mutex::new(connection),
            first_up: AtomicU64::new(0),
            watches: Watches::default(),
            watchers: Mutex::default(),
            reader: Mutex::default(),
            control: Outbox::default(),
            notices: Outbox::default(),
            answers: Outbox::default(),
            handle,
            counts: PeerCounts::default(),
        }
    }

    pub(crate) fn name(&self) -> &NodeName {
        self.link.peer()
    }

    /// Who its certificate says it is; none before the first connection.
    pub(crate) fn identity(&self) -> Option<Identity> {
        lock(&self.connection).as_ref().map(|info| info.peer.identity.clone())
    }

    /// Its run, as of the last connection.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        lock(&self.connection).as_ref().map(|info| info.incarnation)
    }

    /// A connection carries the link. What the peer's certificate does not allow any more is taken
    /// back; references to an earlier run are told.
    pub(crate) fn connected(self: &Arc<Self>, info: Arc<ConnectionInfo>) {
        let incarnation = info.incarnation;
        let before = lock(&self.connection).replace(Arc::clone(&info));
        let is_same_run = before.as_ref().is_some_and(|before| before.incarnation == incarnation);
        let is_same = before.is_some_and(|before| before.peer.identity == info.peer.identity);
        if !is_same_run {
            // A new run counts its epochs anew.
            self.end_inlets();
        } else if !is_same {
            for inlet in lock(&self.inlets).values() {
                inlet.judge_again(&info.peer.identity);
            }
            // What it may do now, it asks for. Without a link, it asks with the next one.
            self.tell_control(&Control::Reset).ok();
        }
        self.each_outlet(|outlet| outlet.runs_now(incarnation));
        self.watches.earlier_than(Some(incarnation));
    }

    /// That run of the node, and what was before it, is over: the cluster says so. Nothing more is
    /// taken from it.
    pub(crate) fn declared_down(&self, incarnation: u64) {
        let next = incarnation.saturating_add(1);
        self.first_up.fetch_max(next, Ordering::AcqRel);
        self.watches.earlier_than(Some(next));
    }

    /// Whether that run was declared down.
    pub(crate) fn is_down(&self, incarnation: u64) -> bool {
        incarnation < self.first_up.load(Ordering::Acquire)
    }

    fn end_inlets(&self) {
        for inlet in std::mem::take(&mut *lock(&self.inlets)).into_values() {
            inlet.end();
        }
    }

    /// The connection is lost. The peer asks for its watches again on the next one.
    pub(crate) fn disconnected(&self) {
        self.asks.lost(&self.link);
        self.reset();
        self.forget_watchers();
        *lock(&self.reader) = Reader::Silent;
    }

    fn forget_watchers(&self) {
        for task in std::mem::take(&mut *lock(&self.watchers)).into_values() {
            task.abort();
        }
    }

    /// The way to an actor of the peer's present run, if it is referred to here.
    pub(crate) fn known_outlet(&self, serial: u64) -> Option<Arc<Outlet>> {
        let incarnation = self.incarnation()?;
        lock(&self.outlets).get(&(incarnation, serial)).and_then(Weak::upgrade)
    }

    /// Credit, binds and their answers may have been lost: every outlet starts anew.
    pub(crate) fn reset(&self) {
        lock(&self.questions).clear();
        self.each_outlet(Outlet::reset);
    }

    /// Nothing is sent or taken any more.
    pub(crate) fn close(&self) {
        self.asks.close();
        lock(&self.questions).clear();
        self.each_outlet(Outlet::close);
        self.watches.close();
        self.forget_watchers();
        self.end_inlets();
    }

    fn each_outlet(&self, act: impl Fn(&Outlet)) {
        self.alive_outlets().iter().for_each(|outlet| act(outlet));
    }

    pub(crate) fn alive_outlets(&self) -> Vec<Arc<Outlet>> {
        let mut outlets = lock(&self.outlets);
        outlets.retain(|_id, outlet| outlet.strong_count() > 0);
        outlets.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn alive_inlets(&self) -> Vec<Arc<Inlet>> {
        lock(&self.inlets).values().filter(|inlet| inlet.is_alive()).cloned().collect()
    }

    pub(crate) fn answers_dropped(&self) -> u64 {
        self.answers.dropped()
    }

    /// The way to one of its actors.
    pub(crate) fn outlet(&self, id: &ActorId) -> Arc<Outlet> {
        let mut outlets = lock(&self.outlets);
        let key = (id.incarnation, id.serial);
        if let Some(known) = outlets.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if outlets.len().is_power_of_two() {
            outlets.retain(|_id, outlet| outlet.strong_count() > 0);
        }
        let outlet = Arc::new(Outlet::new(id.clone(), Arc::clone(&self.epochs)));
        outlets.insert(key, Arc::downgrade(&outlet));
        drop(outlets);
        if let Some(incarnation) = self.incarnation() {
            outlet.runs_now(incarnation);
        }
        outlet
    }

    /// What comes in for this actor, if the peer has bound to it.
    pub(crate) fn inlet(&self, serial: u64) -> Option<Arc<Inlet>> {
        lock(&self.inlets).get(&serial).cloned()
    }

    /// The inlet to an actor, made if it is new.
    pub(crate) fn inlet_or(&self, serial: u64, make: impl FnOnce() -> Inlet) -> Arc<Inlet> {
        let mut inlets = lock(&self.inlets);
        if inlets.len().is_power_of_two() {
            inlets.retain(|_serial, inlet| inlet.is_alive());
        }
        Arc::clone(inlets.entry(serial).or_insert_with(|| Arc::new(make())))
    }

    /// Asks which actor has this name. Gives up when the question is lost.
    ///
    /// # Errors
    /// When the question cannot be sent.
    pub(crate) fn find(
        self: &Arc<Self>,
        name: ActorName,
    ) -> Result<oneshot::Receiver<Option<ActorId>>, NotDelivered> {
        let (found, answer) = oneshot::channel();
        self.question(Question::Find(found), |question| Control::Find { question, name })?;
        Ok(answer)
    }

    /// Asks for leave to send a message. The outlet is told.
    ///
    /// # Errors
    /// When the question cannot be sent.
    pub(crate) fn bind(
        self: &Arc<Self>,
        outlet: &Arc<Outlet>,
        want: Want,
    ) -> Result<(), NotDelivered> {
        let ActorId { incarnation, serial, .. } = outlet.id;
        let (key, fingerprint) = (want.message.key.0, want.message.fingerprint.0);
        let epoch = want.epoch;
        let asked = Question::Bind { outlet: Arc::downgrade(outlet), want };
        self.question(asked, |question| {
            Control::Bind(Bind { question, serial, incarnation, key, fingerprint, epoch })
        })
    }

    fn question(
        self: &Arc<Self>,
        question: Question,
        control: impl FnOnce(u64) -> Control,
    ) -> Result<(), NotDelivered> {
        let number = self.last_question.fetch_add(1, Ordering::Relaxed) + 1;
        let mut questions = lock(&self.questions);
        if questions.len() >= QUESTIONS_MAX {
            return Err(NotDelivered::Overrun { node: self.name().clone() });
        }
        questions.insert(number, question);
        drop(questions);
        let sent = self.tell_control(&control(number));
        if sent.is_err() {
            lock(&self.questions).remove(&number);
        }
        sent.map_err(NotDelivered::of_link)
    }

    /// The answer to [`find`](Self::find).
    pub(crate) fn found(&self, question: u64, serial: Option<u64>) {
        let Some(Question::Find(found)) = lock(&self.questions).remove(&question) else { return };
        let incarnation = self.incarnation().unwrap_or_default();
        let node = self.name().clone();
        // Fails only when nobody waits any more.
        drop(found.send(serial.map(|serial| ActorId { node, incarnation, serial })));
    }

    /// The answer to [`bind`](Self::bind).
    pub(crate) fn bound(&self, question: u64, answer: Result<Bound, BindRefusal>) {
        let Some(Question::Bind { outlet, want }) = lock(&self.questions).remove(&question) else {
            return;
        };
        if let Some(outlet) = outlet.upgrade() {
            outlet.answered(&want, answer);
        }
    }

    /// Has the peer told when one of its actors ends; the answer is kept until then.
    pub(crate) fn watch(
        self: &Arc<Self>,
        id: &ActorId,
        watcher: u64,
        tell: Tell,
        judge: Judge,
    ) -> Result<u64, NoRoom> {
        let watch = self.last_question.fetch_add(1, Ordering::Relaxed) + 1;
        self.watches.add(id, watch, watcher, tell)?;
        if let Some(incarnation) = self.incarnation() {
            self.watches.earlier_than(Some(incarnation));
        }
        self.watches.earlier_than(Some(self.first_up.load(Ordering::Acquire)));
        match (self.link.state(), judge) {
            (LinkState::Closed, _) | (LinkState::Unreachable, Judge::Links) => {
                self.watches.earlier_than(None);
            }
            (LinkState::Unreachable, Judge::Cluster)
            | (LinkState::Connecting | LinkState::Up(_), _) => {}
        }
        self.ask_watch(id.incarnation, id.serial, watch, watcher);
        Ok(watch)
    }

    /// Asks again for every watch: the peer may have lost them, or its notices.
    pub(crate) fn watch_again(self: &Arc<Self>) {
        let Some(incarnation) = self.incarnation() else { return };
        for (serial, watch, watcher) in self.watches.of_run(incarnation) {
            self.ask_watch(incarnation, serial, watch, watcher);
        }
    }

    fn ask_watch(self: &Arc<Self>, incarnation: u64, serial: u64, watch: u64, watcher: u64) {
        let actor = Life { incarnation, serial };
        // Without a link, it is asked for with the next one.
        self.tell_control(&Control::Watch { watch, actor, watcher }).ok();
    }

    pub(crate) fn unwatch(self: &Arc<Self>, id: &ActorId, watch: u64) {
        if self.watches.remove(id, watch).is_some() {
            // Without a link, the peer has forgotten it.
            self.tell_control(&Control::Unwatch { watch }).ok();
        }
    }

    /// The peer watches an actor of this node.
    pub(crate) fn watched(
        self: &Arc<Self>,
        watch: u64,
        watcher: u64,
        actor: Life,
        ended: Option<watch::Receiver<Option<EndReason>>>,
    ) {
        let peer = Arc::clone(self);
        let mut watchers = lock(&self.watchers);
        if watchers.len() >= WATCHES_MAX && !watchers.contains_key(&watch) {
            tracing::warn!(peer = %self.name(), "too many watches: one is not kept");
            return;
        }
        let task = self.handle.spawn(async move {
            let reason = match ended {
                Some(mut ended) => match ended.wait_for(Option::is_some).await {
                    Ok(reason) => reason.clone().unwrap_or(EndReason::Gone),
                    Err(_gone) => EndReason::Gone,
                },
                None => EndReason::Gone,
            };
            let ways: &[(Behind, Flow)] = match watcher {
                0 => &[(Behind::Nobody, Flow::Control)],
                watcher => &[
                    (Behind::Actor, flow_of(actor.serial, watcher)),
                    (Behind::Node, flow_of(0, watcher)),
                ],
            };
            for (behind, flow) in ways {
                let (reason, behind) = (reason.clone(), *behind);
                peer.give_notice(*flow, &Notice { watch, actor, reason, behind });
            }
            lock(&peer.watchers).remove(&watch);
        });
        if let Some(earlier) = watchers.insert(watch, task.abort_handle()) {
            earlier.abort();
        }
    }

    pub(crate) fn unwatched(&self, watch: u64) {
        if let Some(task) = lock(&self.watchers).remove(&watch) {
            task.abort();
        }
    }

    /// Asks for what follows in the ledger of the peer's present run. Tools have none.
    pub(crate) fn read_names(self: &Arc<Self>, names: &Names) {
        let Some(incarnation) = self.incarnation().filter(|_run| self.is_node()) else { return };
        let read = names.read(self.name(), incarnation);
        self.read_names_on(incarnation, read);
    }

    pub(crate) fn read_names_on(self: &Arc<Self>, incarnation: u64, read: Read) {
        // Without a link, it is asked for with the next one.
        self.tell_control(&Control::ReadNames { incarnation, read }).ok();
    }

    /// The peer has read so far in this node's ledger.
    pub(crate) fn names_read(self: &Arc<Self>, names: &Names, incarnation: u64, read: Read) {
        if self.is_node() {
            *lock(&self.reader) = Reader::Waits(read);
            self.tell_names(names, incarnation);
        }
    }

    /// Tells the peer what it has not read yet, if it waits for that.
    pub(crate) fn tell_names(self: &Arc<Self>, names: &Names, incarnation: u64) {
        let mut reader = lock(&self.reader);
        let Reader::Waits(read) = *reader else { return };
        let Some(page) = names.page(read) else { return };
        let told = self.tell_control(&Control::Names { incarnation, page });
        *reader = if told.is_ok() { Reader::Reads } else { Reader::Silent };
    }

    fn is_node(&self) -> bool {
        self.link.peer_kind() == Kind::Node
    }

    fn give_notice(self: &Arc<Self>, flow: Flow, notice: &Notice) {
        let mut head = Vec::new();
        envelope::put_notice(&mut head);
        if let Err(error) = Codec::Postcard.encode(notice, &mut head) {
            // Names and numbers always encode.
            tracing::error!(peer = %self.name(), %error, "death notice does not encode");
            return;
        }
        // Without a link, the watch is asked for again with the next one.
        self.notices.post(self, |peer| &peer.notices, flow, &head, &Bytes::new()).ok();
    }

    pub(crate) fn tell_control(self: &Arc<Self>, control: &Control) -> Result<(), SendError> {
        let mut head = Vec::new();
        envelope::put_control(&mut head);
        if let Err(error) = Codec::Postcard.encode(control, &mut head) {
            // Names and numbers always encode.
            tracing::error!(peer = %self.name(), %error, "control message does not encode");
            return Ok(());
        }
        self.control.post(self, |peer| &peer.control, Flow::Control, &head, &Bytes::new())
    }

    /// Answers an ask of the peer.
    pub(crate) fn answer<R: Wire>(self: &Arc<Self>, flow: u32, id: u64, codec: Codec, result: &R) {
        let mut head = Scratch::new();
        envelope::put_answer(&mut head, codec, id, Status::Done);
        if let Err(error) = codec.encode(result, &mut head) {
            tracing::warn!(peer = %self.name(), %error, "answer does not encode");
            self.counts.answers_lost.one_more();
            return self.answer_without_result(flow, id, codec, Status::AnswerLost);
        }
        let (flow_there, body) = (Flow::Pair(flow), result.body());
        let posted = self.answers.post(self, |peer| &peer.answers, flow_there, &head, &body);
        // Without a link, the asker has been told by its own.
        if let Err(error @ (SendError::HeadTooLong { .. } | SendError::BodyTooLong { .. })) = posted
        {
            tracing::warn!(peer = %self.name(), %error, "answer is past a limit");
            self.counts.answers_lost.one_more();
            self.answer_without_result(flow, id, codec, Status::AnswerLost);
        }
    }

    /// Says to an asker why it gets no result.
    pub(crate) fn answer_without_result(
        self: &Arc<Self>,
        flow: u32,
        id: u64,
        codec: Codec,
        status: Status,
    ) {
        let mut head = Scratch::new();
        envelope::put_answer(&mut head, codec, id, status);
        let (flow, none) = (Flow::Pair(flow), Bytes::new());
        // Without a link, the asker has been told by its own.
        self.answers.post(self, |peer| &peer.answers, flow, &head, &none).ok();
    }
}
