//! The actor.

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::TransferLeaderRequest;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{Config, Raft};
use tokio::sync::{Mutex, watch};
use vioduct_runtime::{ActorName, Cancellable, Node, caller, myself};

use super::arrive::{Arrived, Arriving};
use super::client::{
    AskChanges, AskStatus, Encoded, Freshness, Member, Propose, Read, Refusal, Status,
};
use super::gate::Gate;
use super::lease::Leases;
use super::life::{Life, Underway};
use super::message::{
    Append, AppendAnswer, AskVote, PeerRefusal, SnapshotPart, TakeLead, VoteAnswer, VoteHead, split,
};
use super::read::look_up;
use super::trim::{Kept, Sending, trim};
use super::watch::Watches;
use crate::clock::WallClock;
use crate::command::{Change, Command, Condition, KEY_BYTES_MAX, Operation, Place, TableId};
use crate::consensus::entry::{Proposal, decode_entry};
use crate::consensus::logs::ShardLog;
use crate::consensus::network::Ways;
use crate::consensus::rows::ShardRows;
use crate::consensus::{ReplicaId, Types, Vote};
use crate::log::{LogEngine, LogWriter};
use crate::machine::TTL_MIN_MS;
use crate::offload::Offload;
use crate::query::Query;
use crate::schema::Schema;
use crate::state::ShardState;
use crate::watch::{Filter, TABLES_MAX};
use crate::{ShardId, StoreError};

/// The name of the actor that is a shard's replica on a node.
#[must_use]
pub fn replica_name(shard: ShardId) -> ActorName {
    ActorName::new(format!("db.{}", shard.0)).expect("short and plain")
}

/// What a replica is made of.
#[derive(Clone, Debug)]
pub struct Setup<E, S> {
    /// Which shard it is of.
    pub shard: ShardId,
    /// Which replica it is.
    pub replica: ReplicaId,
    /// Its life.
    pub life: Life,
    /// The logs of its node.
    pub log: E,
    /// Their one writer.
    pub writer: LogWriter,
    /// Its rows.
    pub rows: S,
    /// Its node.
    pub node: Node,
    /// The tables.
    pub schema: Arc<Schema>,
    /// The consensus library's settings.
    pub config: Arc<Config>,
    /// What its log keeps.
    pub kept: Kept,
    /// Where it waits for the disk.
    pub offload: Offload,
    /// What time leaders write on commands.
    pub clock: WallClock,
    /// Whether the disk has room.
    pub has_room: watch::Receiver<bool>,
}

/// A replica of a shard.
#[derive(Debug)]
pub struct Replica<E, S: ShardState> {
    setup: Setup<E, S>,
    running: Option<Running<S>>,
    underway: Option<Underway<S>>,
    /// One part at a time.
    arriving: Arc<Mutex<Option<Arriving<S>>>>,
}

/// What there is once the log and the rows are read.
#[derive(Clone, Debug)]
struct Running<S: ShardState> {
    raft: Raft<Types, ShardRows<S>>,
    gate: Gate<S>,
    progress: watch::Receiver<u64>,
    watches: Watches<S>,
    leases: Leases<S>,
}

impl<E: LogEngine, S: ShardState> Replica<E, S> {
    /// A replica that is made of this.
    #[must_use]
    pub fn new(setup: Setup<E, S>) -> Self {
        Self { setup, running: None, underway: None, arriving: Arc::default() }
    }

    pub(super) fn raft(&self) -> Result<Raft<Types, ShardRows<S>>, PeerRefusal> {
        self.running.as_ref().map(|running| running.raft.clone()).ok_or(PeerRefusal::Stopped)
    }

    /// The library, if the message was for this replica.
    fn meant(&self, to: ReplicaId) -> Result<Raft<Types, ShardRows<S>>, PeerRefusal> {
        if to == self.setup.replica { self.raft() } else { Err(PeerRefusal::Another) }
    }

    fn running(&self) -> Result<Running<S>, Refusal> {
        self.running.clone().ok_or(Refusal::Stopped)
    }

    fn check_tables(&self, mut tables: impl Iterator<Item = TableId>) -> Result<(), Refusal> {
        match tables.find(|table| !self.setup.schema.has(*table)) {
            Some(table) => Err(Refusal::NoTable { table: table.0 }),
            None => Ok(()),
        }
    }

    /// What is to be watched, if this replica leads, as far as it knows. One that lost the lead
    /// goes on telling those who wait: what it applies is committed.
    pub(super) fn filter(&self, watch: &AskChanges) -> Result<Filter, Refusal> {
        if watch.tables.len() > TABLES_MAX {
            let why = format!("a filter of more than {TABLES_MAX} tables");
            return Err(Refusal::Invalid { why });
        }
        let tables: Vec<_> = watch.tables.iter().copied().map(TableId).collect();
        self.check_tables(tables.iter().copied())?;
        if watch.prefix.len() > KEY_BYTES_MAX {
            let why = format!("a prefix of more than {KEY_BYTES_MAX} bytes");
            return Err(Refusal::Invalid { why });
        }
        let metrics = self.running()?.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader != Some(self.setup.replica) {
            let members = metrics.membership_config.membership();
            let leader = metrics.current_leader.and_then(|leader| members.get_node(&leader));
            return Err(Refusal::not_leader(leader.cloned()));
        }
        Ok(Filter { tables, class: watch.class, prefix: watch.prefix.clone() })
    }

    pub(super) fn watches(&self) -> Result<Watches<S>, Refusal> {
        Ok(self.running()?.watches)
    }

    pub(super) fn leases(&self) -> Result<(Gate<S>, Leases<S>), Refusal> {
        let running = self.running()?;
        Ok((running.gate, running.leases))
    }

    /// Whether the message that is being handled may change these rows. Who is on this node has
    /// its disk as well.
    fn check_writer(&self, changes: &[Change]) -> Result<(), Refusal> {
        let schema = &self.setup.schema;
        let guarded =
            || changes.iter().map(Change::place).filter(|place| !schema.is_open(place.table));
        if guarded().next().is_none() {
            return Ok(());
        }
        let Some(identity) = caller() else { return Ok(()) };
        match guarded().find(|place| !schema.may_write(&identity, place)) {
            Some(Place { table, .. }) => {
                let who = identity.to_string();
                tracing::warn!(who, table = table.0, "rows that are not its own to change");
                Err(Refusal::NotItsTable { table: table.0, who })
            }
            None => Ok(()),
        }
    }

    fn check(&self, propose: &Propose) -> Result<(), Refusal> {
        let command = Command::decode(propose.command.clone());
        let command = command.map_err(|why| Refusal::Invalid { why: why.to_string() })?;
        if let Operation::Transact { conditions, changes } = &command.operation {
            let read = conditions.iter().map(Condition::place);
            let changed = changes.iter().map(Change::place);
            self.check_tables(read.chain(changed).map(|place| place.table))?;
            self.check_writer(changes)?;
        }
        if let Operation::Grant { ttl_ms } = command.operation
            && ttl_ms < TTL_MIN_MS
        {
            let why = format!("a lease of {ttl_ms} ms is shorter than {TTL_MIN_MS} ms");
            return Err(Refusal::Invalid { why });
        }
        if *self.setup.has_room.borrow() { Ok(()) } else { Err(Refusal::DiskFull) }
    }
}

async fn begin<E: LogEngine, S: ShardState>(
    setup: Setup<E, S>,
) -> Result<(Running<S>, Underway<S>), String> {
    let said = |error: StoreError| error.to_string();
    let Setup { shard, log, writer, offload, .. } = setup;
    let turn = setup.life.begin(&writer, offload).await.map_err(said)?;
    let log = offload.run(move || ShardLog::open(shard, log, writer)).await;
    let log = log.and_then(|opened| opened).map_err(said)?;
    let state = setup.rows.clone();
    let rows = ShardRows::open(setup.rows, offload).map_err(said)?;
    let (progress, recent, in_use) = (rows.progress(), rows.recent(), rows.in_use());
    let sending = Sending::default();
    let ways = Ways::new(setup.node, replica_name(shard), offload, sending.clone());
    let raft = Raft::new(setup.replica, setup.config, ways, log.clone(), rows).await;
    let raft = raft.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(trim(log, setup.kept, sending, raft.clone(), in_use.clone()));
    let underway = Underway::new(raft.clone(), in_use, turn);
    let gate = Gate::new(raft.clone());
    let news = (recent, progress.clone());
    let watches = Watches::begin(setup.schema, state.clone(), news, gate.clone());
    let (replica, raft_of, clock) = (setup.replica, raft.clone(), setup.clock);
    let leases = Leases::begin(replica, state, raft_of, clock, progress.clone());
    Ok((Running { gate, raft, progress, watches, leases }, underway))
}

impl<E: LogEngine, S: ShardState> Replica<E, S> {
    /// Nothing is served from here on.
    fn end(&mut self, why: String, ctx: &mut Context<Self>) {
        (self.running, self.underway) = (None, None);
        let (shard, replica) = (self.setup.shard.0, self.setup.replica);
        tracing::error!(shard, replica, why, "a replica ends");
        match myself::<Self>().filter(|_| !self.setup.life.is_last(&self.setup.writer)) {
            Some(me) => me.fail(why),
            None => ctx.stop(),
        }
    }

    /// Ends this life with its consensus, or when what is stored can't be relied on.
    fn mind(&self, underway: &Underway<S>, ctx: &mut Context<Self>) {
        let (over, life) = (underway.over(), self.setup.life.clone());
        let over = async move {
            tokio::select! {
                why = over => why,
                () = life.troubled() => "what is stored is not what was written".into(),
            }
        };
        ctx.spawn(over.into_actor(self).map(|why, replica, ctx| replica.end(why, ctx)));
    }
}

impl<E: LogEngine, S: ShardState> Actor for Replica<E, S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let begun = begin(self.setup.clone()).into_actor(self);
        ctx.wait(begun.map(|begun, replica, ctx| match begun {
            Ok((running, underway)) => {
                replica.mind(&underway, ctx);
                (replica.running, replica.underway) = (Some(running), Some(underway));
            }
            Err(why) => replica.end(why, ctx),
        }));
    }
}

impl<E: LogEngine, S: ShardState> Handler<Append> for Replica<E, S> {
    type Result = Cancellable<AppendAnswer>;

    fn handle(&mut self, append: Append, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.meant(append.to);
        Cancellable::new(async move {
            let answer = async { take_entries(&raft?, append).await };
            answer.await.unwrap_or_else(|refusal| AppendAnswer::Not { refusal })
        })
    }
}

async fn take_entries<S: ShardState>(
    raft: &Raft<Types, ShardRows<S>>,
    append: Append,
) -> Result<AppendAnswer, PeerRefusal> {
    let entries = split(append.entries)
        .and_then(|records| records.into_iter().map(decode_entry).collect::<Result<Vec<_>, _>>());
    let request = AppendEntriesRequest {
        vote: append.vote.into(),
        prev_log_id: append.previous.map(Into::into),
        entries: entries.map_err(|_unreadable| PeerRefusal::Unreadable)?,
        leader_commit: append.committed.map(Into::into),
    };
    let answer = raft.append_entries(request).await.map_err(|_fatal| PeerRefusal::Stopped)?;
    Ok(match answer {
        AppendEntriesResponse::Success => AppendAnswer::Done,
        AppendEntriesResponse::PartialSuccess(last) => {
            AppendAnswer::Partly { last: last.map(Into::into) }
        }
        AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
        AppendEntriesResponse::HigherVote(vote) => AppendAnswer::Higher { vote: vote.into() },
    })
}

impl<E: LogEngine, S: ShardState> Handler<AskVote> for Replica<E, S> {
    type Result = Cancellable<Result<VoteAnswer, PeerRefusal>>;

    fn handle(&mut self, ask: AskVote, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.meant(ask.to);
        Cancellable::new(async move {
            let raft = raft?;
            let mut request = VoteRequest::new(Vote::from(ask.vote), ask.last.map(Into::into));
            request.leadership_transfer = ask.is_transfer;
            let answer =
                if ask.is_trial { raft.pre_vote(request).await } else { raft.vote(request).await };
            let answer = answer.map_err(|_fatal| PeerRefusal::Stopped)?;
            Ok(VoteAnswer {
                vote: answer.vote.into(),
                is_granted: answer.vote_granted,
                last: answer.last_log_id.map(Into::into),
            })
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<TakeLead> for Replica<E, S> {
    type Result = Cancellable<Result<(), PeerRefusal>>;

    fn handle(&mut self, ask: TakeLead, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.meant(ask.to);
        Cancellable::new(async move {
            let (from, last) = (Vote::from(ask.vote), ask.last.map(Into::into));
            let request = TransferLeaderRequest::new(from, ask.to, last);
            let taken = raft?.handle_transfer_leader(request).await;
            // One that comes too late is refused by the library: another leader is known.
            taken.map(drop).map_err(|_fatal| PeerRefusal::Stopped)
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<SnapshotPart> for Replica<E, S> {
    type Result = Cancellable<Result<VoteHead, PeerRefusal>>;

    fn handle(&mut self, part: SnapshotPart, _ctx: &mut Self::Context) -> Self::Result {
        let raft = self.meant(part.to);
        let (shard, offload) = (self.setup.rows.clone(), self.setup.offload);
        let arriving = Arc::clone(&self.arriving);
        Cancellable::new(async move {
            let raft = raft?;
            let vote = Vote::from(part.vote);
            let own = raft.with_raft_state(|state| *state.vote_ref()).await;
            let own = own.map_err(|_fatal| PeerRefusal::Stopped)?;
            if own > vote {
                return Ok(own.into());
            }
            let mut arriving = arriving.lock().await;
            let begun = arriving.take();
            match Arriving::take(begun, shard, offload, part).await? {
                Arrived::Partly(begun) => {
                    *arriving = Some(begun);
                    Ok(vote.into())
                }
                Arrived::Wholly(snapshot) => {
                    let installed = raft.install_full_snapshot(vote, snapshot).await;
                    let installed = installed.map_err(|_fatal| PeerRefusal::Stopped)?;
                    Ok(installed.vote.into())
                }
            }
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<Propose> for Replica<E, S> {
    type Result = Cancellable<Result<Encoded, Refusal>>;

    fn handle(&mut self, propose: Propose, _ctx: &mut Self::Context) -> Self::Result {
        let ready = self.check(&propose).and_then(|()| self.running());
        let now_ms = self.setup.clock.now_ms();
        Cancellable::new(async move {
            let proposal = Proposal { now_ms, command: propose.command };
            let written =
                ready?.raft.client_write(proposal).await.map_err(|error| match error {
                    RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                        Refusal::not_leader(forward.leader_node)
                    }
                    RaftError::APIError(_discarded) => Refusal::LeadLost,
                    RaftError::Fatal(_) => Refusal::Stopped,
                })?;
            let mut body = Vec::new();
            written.data.encode(&mut body);
            Ok(Encoded { body: body.into() })
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<Read> for Replica<E, S> {
    type Result = Cancellable<Result<Encoded, Refusal>>;

    fn handle(&mut self, read: Read, _ctx: &mut Self::Context) -> Self::Result {
        let query = Query::decode(read.query);
        let query = query.map_err(|why| Refusal::Invalid { why: why.to_string() });
        let ready = query.and_then(|query| {
            self.check_tables(query.tables())?;
            Ok((query, self.running()?))
        });
        let rows = self.setup.rows.clone();
        Cancellable::new(async move {
            let (query, mut running) = ready?;
            match read.freshness {
                Freshness::Linearizable | Freshness::Lease => {
                    running.gate.pass(read.freshness).await?;
                }
                Freshness::AtLeast { revision } => {
                    let reached = running.progress.wait_for(|applied| *applied >= revision).await;
                    reached.map(drop).map_err(|_over| Refusal::Stopped)?;
                }
                // One that was just made is about to be sent the rows.
                Freshness::Stale if *running.progress.borrow() == 0 => {
                    return Err(Refusal::not_leader(None));
                }
                Freshness::Stale => {}
            }
            let revision = *running.progress.borrow();
            let found = look_up(&rows, &query, revision).map_err(|error| {
                tracing::error!(%error, "rows can't be read");
                Refusal::Stopped
            })?;
            Ok(Encoded { body: found.encode() })
        })
    }
}

impl<E: LogEngine, S: ShardState> Handler<AskStatus> for Replica<E, S> {
    type Result = Result<Status, Refusal>;

    fn handle(&mut self, _ask: AskStatus, _ctx: &mut Self::Context) -> Self::Result {
        let running = self.running()?;
        let metrics = running.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<ReplicaId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(replica, host)| Member {
            replica: *replica,
            node: host.0.clone(),
            is_voter: voters.contains(replica),
        });
        Ok(Status {
            replica: self.setup.replica,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last: metrics.last_log_index.unwrap_or(0),
            applied: *running.progress.borrow(),
            members: members.collect(),
        })
    }
}
