//! The actor that starts a node's replicas, and makes new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::fut::{WrapFuture, wrap_future};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture};
use openraft::Config;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vioduct_certs::identity::Role;
use vioduct_runtime::{
    Accepts, Access, ActorHandle, Cancellable, EndReason, LocalRef, Node, RemoteMessage,
    RestartPolicy, Wire, myself,
};

use super::ends::{DbEnd, Told};
use super::{DbRoleConfig, Origin, Stores};
use crate::chance::Chance;
use crate::consensus::ReplicaId;
use crate::log::{LogEngine, LogOp, MetaTag, WatchedLog};
use crate::offload::Offload;
use crate::replica::client::{AskChanges, AskStatus, KeepAlive, Member, Propose, Read};
use crate::replica::message::{Append, AskVote, SnapshotPart, TakeLead};
use crate::replica::reform::{Initialize, Reform, ReformRefusal, Retire};
use crate::replica::{Life, Lives, Replica, Setup, replica_name};
use crate::state::{Fenced, StateEngine, Trouble};
use crate::{ShardId, StoreError};

/// What a desk takes of those who operate the database.
#[derive(Debug)]
pub struct DeskClient;

impl Accepts<Prepare> for DeskClient {}

impl Accepts<Found> for DeskClient {}

/// Asks that this node have a replica of these shards. Those that it has stay as they are.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Prepare")]
pub struct Prepare {
    /// Which shards.
    pub shards: Vec<u32>,
    /// The nodes that found the database together, in order of names; none if it joins one that is
    /// there.
    pub founders: Vec<String>,
}

impl Message for Prepare {
    type Result = Result<Vec<HereReplica>, DeskRefusal>;
}

/// A replica of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct HereReplica {
    /// Of which shard.
    pub shard: u32,
    /// Which replica.
    pub replica: u64,
}

/// Asks the replica that is here to begin its shard with these members. Done once by one of them.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Found")]
pub struct Found {
    /// Which shard.
    pub shard: u32,
    /// Who its replicas are.
    pub members: Vec<Member>,
}

impl Message for Found {
    type Result = Result<(), DeskRefusal>;
}

/// Asks that no replica of this node lead any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct RetireAll;

/// Why a desk did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum DeskRefusal {
    /// The schema has no such shard.
    #[error("there is no shard {shard}")]
    NoShard {
        /// Its number.
        shard: u32,
    },
    /// The node has a replica that was made to be founded with others, or to join.
    #[error("this node's replica of shard {shard} belongs to a database founded by {founders:?}")]
    Otherwise {
        /// Which shard.
        shard: u32,
        /// With whom.
        founders: Vec<String>,
    },
    /// The shard has begun already, perhaps with the same members.
    #[error("the shard has begun already")]
    Begun,
    /// There is no replica here to begin it with.
    #[error("there is no replica of shard {shard} here")]
    NoReplica {
        /// Which shard.
        shard: u32,
    },
    /// The stores or the node refused.
    #[error("{why}")]
    Failed {
        /// Why.
        why: String,
    },
}

impl From<StoreError> for DeskRefusal {
    fn from(error: StoreError) -> Self {
        Self::Failed { why: error.to_string() }
    }
}

struct Running<E: LogEngine, T: StateEngine> {
    origin: Origin,
    handle: ActorHandle<Replica<WatchedLog<E>, Fenced<T::Shard>>>,
    lives: Lives,
}

impl<E: LogEngine, T: StateEngine> Running<E, T> {
    /// Waits until the replica has ended for good, and nothing uses what it has stored; gives how
    /// its last life ended. Cancel-safe.
    fn ended(&self, offload: Offload) -> impl Future<Output = EndReason> + use<E, T> {
        let (handle, lives) = (self.handle.clone(), self.lives.clone());
        async move {
            let (mut before, mut last) = (None, EndReason::Gone);
            while let Ok(life) = handle.life_after(before.as_ref()).await {
                last = life.ended().await;
                before = Some(life);
            }
            // Fails only when the node is ending.
            drop(lives.over(offload).await);
            last
        }
    }
}

/// The actor.
pub struct Desk<E: LogEngine, T: StateEngine> {
    node: Node,
    stores: Stores<WatchedLog<E>, T>,
    config: DbRoleConfig,
    consensus: Arc<Config>,
    told: Told,
    replicas: BTreeMap<ShardId, Running<E, T>>,
}

impl<E: LogEngine, T: StateEngine> std::fmt::Debug for Desk<E, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("replicas", &self.replicas.len()).finish_non_exhaustive()
    }
}

impl<E: LogEngine, T: StateEngine> Desk<E, T> {
    pub(super) fn new(
        node: Node,
        stores: Stores<WatchedLog<E>, T>,
        config: DbRoleConfig,
        told: Told,
    ) -> Self {
        let consensus = Arc::new(config.consensus());
        Self { node, stores, config, consensus, told, replicas: BTreeMap::new() }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<E, T> {
        (0..=self.config.schema.data_shards()).map(ShardId)
    }

    fn starter(&self) -> Starter<E, T> {
        Starter {
            node: self.node.clone(),
            stores: self.stores.clone(),
            config: self.config.clone(),
            consensus: Arc::clone(&self.consensus),
        }
    }

    fn took(&mut self, started: Vec<(ShardId, Running<E, T>)>, ctx: &mut Context<Self>) {
        for (shard, running) in started {
            let ended = running.ended(self.config.offload).into_actor(self);
            ctx.spawn(ended.map(move |reason, desk, _ctx| desk.lost(shard, &reason)));
            self.replicas.insert(shard, running);
        }
        self.tell_who_is_here();
    }

    fn tell_who_is_here(&self) {
        let here = self.replicas.iter().map(|(shard, here)| (*shard, here.origin.replica));
        self.told.here.send_replace(Some(here.collect()));
    }

    /// A replica has ended for good. It is lost only if its rows are: what another start may mend
    /// is not made anew.
    fn lost(&mut self, shard: ShardId, reason: &EndReason) {
        let Some(Running { origin, lives, .. }) = self.replicas.remove(&shard) else { return };
        match lives.trouble() {
            Some(Trouble::Rows(error)) => {
                let (shard, replica) = (shard.0, origin.replica);
                tracing::error!(shard, replica, %error, "a replica is damaged, and serves no more");
                self.tell_who_is_here();
            }
            Some(Trouble::Store(source)) => self.told.end(DbEnd::Rows { source }),
            None if reason.is_failure() => {
                self.told.end(DbEnd::GivenUp { shard, why: reason.to_string() });
            }
            None => {}
        }
    }

    /// Whether the node can do nothing more until it is started again.
    fn is_ending(&self) -> bool {
        let Stores { log, writer, .. } = &self.stores;
        self.told.is_ended() || writer.has_ended() || log.damage().is_found()
    }

    fn check(&self, prepare: &Prepare) -> Result<(), DeskRefusal> {
        if self.is_ending() {
            return Err(DeskRefusal::Failed { why: "the node is about to stop".into() });
        }
        for shard in &prepare.shards {
            if *shard > self.config.schema.data_shards() {
                return Err(DeskRefusal::NoShard { shard: *shard });
            }
            let here = self.replicas.get(&ShardId(*shard));
            if let Some(here) = here.filter(|here| here.origin.founders != prepare.founders) {
                let founders = here.origin.founders.clone();
                return Err(DeskRefusal::Otherwise { shard: *shard, founders });
            }
        }
        Ok(())
    }

    fn here(&self) -> impl Iterator<Item = HereReplica> {
        self.replicas
            .iter()
            .map(|(shard, here)| HereReplica { shard: shard.0, replica: here.origin.replica })
    }
}

/// What starts replicas, apart from the actor, which goes on meanwhile.
#[derive(Clone)]
struct Starter<E, T> {
    node: Node,
    stores: Stores<WatchedLog<E>, T>,
    config: DbRoleConfig,
    consensus: Arc<Config>,
}

impl<E: LogEngine, T: StateEngine> Starter<E, T> {
    /// Where this node's replica comes from, if there is one.
    async fn origin(&self, shard: ShardId) -> Result<Option<Origin>, StoreError> {
        let log = self.stores.log.clone();
        let read = move || log.meta(shard, MetaTag::Replica);
        let found = self.config.offload.run(read).await??;
        let origin = found.map(Origin::decode).transpose();
        origin.map_err(|why| crate::machine::damaged("a replica's origin", why))
    }

    /// Makes a replica; it is on disk when this returns.
    async fn make(&self, shard: ShardId, founders: Vec<String>) -> Result<Origin, StoreError> {
        // Cut off between any two steps there is no replica here, and none is started.
        self.write(LogOp::Forget { shard }).await?;
        let state = self.stores.state.clone();
        self.config.offload.run(move || state.forget(shard)).await??;
        let replica: ReplicaId = Chance.random_range(1..u64::MAX);
        let origin = Origin { replica, founders };
        let (tag, value) = (MetaTag::Replica, origin.encode());
        self.write(LogOp::SetMeta { shard, tag, value }).await?;
        Ok(origin)
    }

    async fn write(&self, op: LogOp) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        self.stores.writer.submit(vec![op], move |result| drop(done.send(result))).await;
        written.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn start(&self, shard: ShardId, origin: Origin) -> Result<Running<E, T>, DeskRefusal> {
        let state = self.stores.state.clone();
        let rows = self.config.offload.run(move || state.open(shard)).await??;
        let lives = Lives::new(self.stores.log.damage().clone());
        let (life_after, this) = (lives.clone(), self.clone());
        let replica = origin.replica;
        let actor = self.node.actor(move || {
            let (life, rows) = life_after.next(rows.clone());
            Replica::new(this.setup(shard, replica, life, rows))
        });
        let peers = || Access::roles([Role::Db]);
        let clients = || Access::nodes().or(Access::tools());
        let actor = actor.named(replica_name(shard)).restart(RestartPolicy::default());
        let actor = actor.window(16 << 20);
        let actor = actor.accept::<Append>(peers()).accept::<AskVote>(peers());
        let actor = actor.accept::<TakeLead>(peers()).accept::<SnapshotPart>(peers());
        let actor = actor.accept::<Propose>(clients()).accept::<Read>(clients());
        let actor = actor.accept::<AskChanges>(clients()).accept::<KeepAlive>(clients());
        let actor = actor.accept::<AskStatus>(clients());
        let actor = actor.accept::<Reform>(Access::tools().or(peers()));
        let handle = actor.start().await;
        let handle = handle.map_err(|error| DeskRefusal::Failed { why: error.to_string() })?;
        tracing::info!(shard = shard.0, replica = origin.replica, "a replica of the database");
        Ok(Running { origin, handle, lives })
    }

    fn setup(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        life: Life,
        rows: Fenced<T::Shard>,
    ) -> Setup<WatchedLog<E>, Fenced<T::Shard>> {
        Setup {
            shard,
            replica,
            life,
            log: self.stores.log.clone(),
            writer: self.stores.writer.clone(),
            rows,
            node: self.node.clone(),
            schema: Arc::clone(&self.config.schema),
            config: Arc::clone(&self.consensus),
            kept: self.config.kept(),
            offload: self.config.offload,
            clock: self.config.clock.clone(),
            has_room: self.stores.has_room.clone(),
        }
    }

    /// Starts what is on disk.
    async fn resume(
        self,
        shards: impl Iterator<Item = ShardId>,
    ) -> Result<Vec<(ShardId, Running<E, T>)>, DeskRefusal> {
        let mut started = Vec::new();
        for shard in shards {
            if let Some(origin) = self.origin(shard).await? {
                started.push((shard, self.start(shard, origin).await?));
            }
        }
        Ok(started)
    }

    /// Makes and starts these.
    async fn begin(
        self,
        shards: Vec<ShardId>,
        founders: Vec<String>,
    ) -> Result<Vec<(ShardId, Running<E, T>)>, DeskRefusal> {
        let mut started = Vec::new();
        for shard in shards {
            let origin = self.make(shard, founders.clone()).await?;
            started.push((shard, self.start(shard, origin).await?));
        }
        Ok(started)
    }
}

impl<E: LogEngine, T: StateEngine> Actor for Desk<E, T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let resume = self.starter().resume(self.shards());
        ctx.wait(resume.into_actor(self).map(|started, desk, ctx| match started {
            Ok(started) => desk.took(started, ctx),
            Err(error) => {
                tracing::error!(%error, "the database's replicas do not start");
                desk.told.end(DbEnd::NotStarted { why: error.to_string() });
                if let Some(me) = myself::<Self>() {
                    me.fail(error.to_string());
                }
            }
        }));
    }
}

impl<E: LogEngine, T: StateEngine> Handler<Prepare> for Desk<E, T> {
    type Result = ResponseActFuture<Self, Result<Vec<HereReplica>, DeskRefusal>>;

    fn handle(&mut self, prepare: Prepare, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refusal) = self.check(&prepare) {
            return Box::pin(wrap_future(std::future::ready(Err(refusal))));
        }
        let shards = prepare.shards.iter().map(|shard| ShardId(*shard));
        let missing = shards.filter(|shard| !self.replicas.contains_key(shard)).collect();
        let begin = self.starter().begin(missing, prepare.founders).into_actor(self);
        // One at a time: whoever asks for the same shards next finds them here.
        let (done, begun) = oneshot::channel();
        ctx.wait(begin.map(move |begun, desk, ctx| {
            let here = begun.map(|started| {
                desk.took(started, ctx);
                let asked = |here: &HereReplica| prepare.shards.contains(&here.shard);
                desk.here().filter(asked).collect()
            });
            drop(done.send(here));
        }));
        let ended = || DeskRefusal::Failed { why: "the node is ending".into() };
        let begun = async move { begun.await.unwrap_or_else(|_ended| Err(ended())) };
        Box::pin(begun.into_actor(self))
    }
}

impl<E: LogEngine, T: StateEngine> Handler<Found> for Desk<E, T> {
    type Result = Cancellable<Result<(), DeskRefusal>>;

    fn handle(&mut self, found: Found, _ctx: &mut Self::Context) -> Self::Result {
        let here = self.replicas.get(&ShardId(found.shard));
        let replica: Option<LocalRef<_>> = here.and_then(|here| here.handle.now());
        Cancellable::new(async move {
            let replica = replica.ok_or(DeskRefusal::NoReplica { shard: found.shard })?;
            let begin = Initialize { members: found.members };
            let begun = replica.ask(begin, super::config::FOUND_WITHIN).await;
            let begun = begun.map_err(|error| DeskRefusal::Failed { why: error.to_string() })?;
            begun.map_err(|refusal| match refusal {
                ReformRefusal::Begun => DeskRefusal::Begun,
                refusal => DeskRefusal::Failed { why: refusal.to_string() },
            })
        })
    }
}

impl<E: LogEngine, T: StateEngine> Handler<RetireAll> for Desk<E, T> {
    type Result = Cancellable<()>;

    fn handle(&mut self, _all: RetireAll, _ctx: &mut Self::Context) -> Self::Result {
        let replicas: Vec<_> =
            self.replicas.values().filter_map(|here| here.handle.now()).collect();
        Cancellable::new(async move {
            let retired = replicas.iter().map(|replica| replica.ask(Retire, super::CLOSE_WITHIN));
            futures_util::future::join_all(retired).await;
        })
    }
}
