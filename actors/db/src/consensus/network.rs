//! The way of one replica to another.
//!
//! Replicas are actors: each is found by its node and the shard's name, and every message says for
//! which replica it is. Entries are sent without waiting for the answers to those before, in order.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use rand::Rng;
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Accepts, ActorName, ActorRef, AskError, Node, RemoteMessage};

use super::entry::{Host, encode_entry, encode_log_id, encode_members};
use super::news;
use super::rows::{SnapshotOf, SnapshotRows, view_with_meta};
use super::{ReplicaId, Types, Vote};
use crate::chance::Chance;
use crate::offload::Offload;
use crate::replica::Sending;
use crate::replica::message::{
    Append, AppendAnswer, AskVote, PeerRefusal, ReplicaPeer, SnapshotPart, TakeLead, join,
};
use crate::state::{ShardState, View};

/// Appends that are on their way to one replica at once.
const PIPELINE: usize = 16;
/// Bytes of rows in one part of a snapshot.
const PART_BYTES: usize = 512 << 10;
/// How long an append may take that is one of many: as long as a disk may, and longer than the
/// library's time-out for a single one, at whose end all behind it would be sent again.
const APPEND_TIME: Duration = Duration::from_secs(2);
/// How long one part of a snapshot may take.
const PART_TIME: Duration = Duration::from_secs(30);
/// What a part took is followed by so many times as long without one: the processor, the link and
/// the disks on the way are those of the shard's writers.
const REST: u32 = 3;
/// The longest rest: a part that took long because the receiver was away does not hold up the rest.
const REST_MAX: Duration = Duration::from_secs(1);
/// Rests are over after so long: the log that the receiver will need grows meanwhile, and is not
/// kept for ever.
const REST_FOR: Duration = Duration::from_secs(60);

/// Makes the ways to the other replicas of a shard.
#[derive(Clone, Debug)]
pub struct Ways<S> {
    node: Node,
    name: ActorName,
    offload: Offload,
    sending: Sending,
    _rows: std::marker::PhantomData<fn() -> S>,
}

impl<S> Ways<S> {
    /// From this node, to the actors of this name; `sending` is told whom rows are sent to.
    #[must_use]
    pub fn new(node: Node, name: ActorName, offload: Offload, sending: Sending) -> Self {
        Self { node, name, offload, sending, _rows: std::marker::PhantomData }
    }
}

impl<S: ShardState> RaftNetworkFactory<Types> for Ways<S> {
    type Network = Way<S>;

    async fn new_client(&mut self, target: ReplicaId, host: &Host) -> Way<S> {
        Way { ways: self.clone(), to: target, host: host.clone(), actor: Found::default() }
    }
}

/// The way to one replica.
#[derive(Debug)]
pub struct Way<S> {
    ways: Ways<S>,
    to: ReplicaId,
    host: Host,
    actor: Found,
}

/// The other replica's actor, as it was found last.
#[derive(Clone, Debug, Default)]
struct Found(Arc<Mutex<Option<ActorRef<ReplicaPeer>>>>);

impl Found {
    fn get(&self) -> Option<ActorRef<ReplicaPeer>> {
        self.lock().clone()
    }

    fn set(&self, actor: Option<ActorRef<ReplicaPeer>>) {
        *self.lock() = actor;
    }

    fn lock(&self) -> MutexGuard<'_, Option<ActorRef<ReplicaPeer>>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

type Rpc<T> = Result<T, RPCError<Types>>;

fn unreachable(why: impl ToString) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(why))
}

/// An ask that was not answered: tried again soon if it may have arrived, later if not.
fn unanswered(error: &AskError) -> RPCError<Types> {
    match error {
        AskError::NotDelivered(why) => unreachable(why),
        AskError::MaybeDelivered(_) => RPCError::Network(NetworkError::from_string(error)),
    }
}

fn refused(refusal: PeerRefusal) -> RPCError<Types> {
    unreachable(refusal)
}

impl<S: ShardState> Way<S> {
    /// The other replica's actor; looked up anew after a failure.
    async fn actor(&self) -> Rpc<ActorRef<ReplicaPeer>> {
        if let Some(actor) = self.actor.get() {
            return Ok(actor);
        }
        let host: NodeName = self.host.0.parse().map_err(unreachable)?;
        let found = self.ways.node.lookup(&host, &self.ways.name).await;
        let actor: ActorRef<ReplicaPeer> = found.map_err(unreachable)?;
        self.actor.set(Some(actor.clone()));
        Ok(actor)
    }

    async fn ask<M>(&self, message: M, within: Duration) -> Rpc<M::Result>
    where
        M: RemoteMessage,
        ReplicaPeer: Accepts<M>,
        M::Result: Send,
    {
        let actor = self.actor().await?;
        let answer = actor.ask(message, within).await;
        answer.map_err(|error| {
            self.actor.set(None);
            unanswered(&error)
        })
    }

    fn append(&self, rpc: AppendEntriesRequest<Types>) -> Append {
        Append {
            to: self.to,
            vote: rpc.vote.into(),
            previous: rpc.prev_log_id.map(Into::into),
            committed: rpc.leader_commit.map(Into::into),
            entries: join(rpc.entries.iter().map(encode_entry)),
        }
    }

    /// Sends all rows as they are now. They may be further than the snapshot that was asked for;
    /// the last part says how far.
    async fn send_rows(&mut self, vote: Vote, rows: S) -> Result<Vote, StreamingError<Types>> {
        let _sending = self.ways.sending.begin();
        let store = |error: crate::StoreError| StreamingError::from(unreachable(error));
        let offload = self.ways.offload;
        let view = offload.run(move || view_with_meta(&rows)).await;
        let (meta, mut view) = view.and_then(|view| view).map_err(store)?;
        let mut part = SnapshotPart {
            to: self.to,
            vote: vote.into(),
            snapshot: Chance.random(),
            number: 0,
            is_last: false,
            body: bytes::Bytes::new(),
        };
        let rests_until = Instant::now() + REST_FOR;
        loop {
            let begun = Instant::now();
            let next = offload.run(move || view.next(PART_BYTES).map(|rows| (view, rows))).await;
            let (back, rows) = next.and_then(|next| next).map_err(store)?;
            view = back;
            if rows.is_empty() {
                break;
            }
            part.body = join(rows.into_iter().flat_map(|(key, value)| [key, value]));
            let seen: Vote = self.send_part(part.clone()).await?.into();
            if seen > vote {
                return Ok(seen);
            }
            part.number += 1;
            let rest = REST_MAX.min(begun.elapsed() * REST);
            sleep_until(rests_until.min(Instant::now() + rest)).await;
        }
        part.is_last = true;
        let last = encode_log_id(meta.last_log_id.as_ref());
        part.body = join([last, encode_members(&meta.last_membership)]);
        Ok(self.send_part(part).await?.into())
    }

    async fn send_part(&mut self, part: SnapshotPart) -> Rpc<crate::replica::message::VoteHead> {
        self.ask(part, PART_TIME).await?.map_err(refused)
    }
}

/// What an answer means for the leader.
fn response(answer: AppendAnswer) -> Rpc<AppendEntriesResponse<Types>> {
    Ok(match answer {
        AppendAnswer::Done => AppendEntriesResponse::Success,
        AppendAnswer::Partly { last } => {
            AppendEntriesResponse::PartialSuccess(last.map(Into::into))
        }
        AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
        AppendAnswer::Higher { vote } => AppendEntriesResponse::HigherVote(vote.into()),
        AppendAnswer::Not { refusal } => return Err(refused(refusal)),
    })
}

impl<S: ShardState> RaftNetworkV2<Types> for Way<S> {
    type SnapshotData = SnapshotRows<S>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types>> {
        let append = self.append(rpc);
        response(self.ask(append, option.soft_ttl()).await?)
    }

    fn stream_append<'s, I>(
        &'s mut self,
        mut input: I,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Types>>>>>
    where
        I: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        async move {
            // After a failure the library waits before it gives the first request, and nowhere
            // else: a look-up that fails at once, without one, would be made again at once.
            let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
            let actor = self.actor().await?;
            let way = &*self;
            let requests = stream::iter([first]).chain(news::with_the_next(input));
            let asks = requests.map(move |rpc| {
                let previous = rpc.prev_log_id;
                let last = rpc.entries.last().map(RaftEntry::log_id).or(previous);
                let (actor, append) = (actor.clone(), way.append(rpc));
                let (found, within) = (way.actor.clone(), option.soft_ttl().max(APPEND_TIME));
                async move {
                    let answer = actor.ask(append, within).await;
                    let answer = answer.map_err(|error| {
                        found.set(None);
                        unanswered(&error)
                    });
                    let answer = answer.and_then(response);
                    answer.map(|answer| answer.into_stream_result(previous, last)).map(|result| {
                        let is_whole = result.as_ref().is_ok_and(|reached| *reached == last);
                        (result, is_whole)
                    })
                }
            });
            Ok(until_failure(asks.buffered(PIPELINE)).boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        self.ask_vote(rpc, option, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        self.ask_vote(rpc, option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<S>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let SnapshotRows::Here(rows) = snapshot.snapshot else {
            return Err(unreachable("rows that came are sent nowhere").into());
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_rows(vote, rows) => sent.map(SnapshotResponse::new),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types>> {
        let ask = TakeLead {
            to: *request.to_node_id(),
            vote: (*request.from_leader()).into(),
            last: request.last_log_id().copied().map(Into::into),
        };
        let taken = self.ask(ask, option.soft_ttl()).await?;
        taken.map(Ok).map_err(refused)
    }
}

impl<S: ShardState> Way<S> {
    async fn ask_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
        is_trial: bool,
    ) -> Rpc<VoteResponse<Types>> {
        let ask = AskVote {
            to: self.to,
            vote: rpc.vote.into(),
            last: rpc.last_log_id.map(Into::into),
            is_trial,
            is_transfer: rpc.leadership_transfer,
        };
        let answer = self.ask(ask, option.soft_ttl()).await?.map_err(refused)?;
        let last = answer.last.map(Into::into);
        Ok(VoteResponse::new(Vote::from(answer.vote), last, answer.is_granted))
    }
}

/// The answers up to the first that is an error or not whole: those behind it mean nothing.
fn until_failure<'s>(
    answers: impl Stream<Item = Rpc<(StreamAppendResult<Types>, bool)>> + Send + 's,
) -> impl Stream<Item = Rpc<StreamAppendResult<Types>>> + Send + 's {
    stream::unfold(Some(Box::pin(answers)), |answers| async move {
        let mut answers = answers?;
        let answer = answers.next().await?;
        let goes_on = matches!(answer, Ok((_, true)));
        Some((answer.map(|(result, _)| result), goes_on.then_some(answers)))
    })
}
