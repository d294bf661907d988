//! One shard, from a client.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Accepts, AskError, Node, RemoteMessage};

use super::config::DbConfig;
use super::error::DbError;
use super::route::Route;
use super::session::{Session, Underway};
use crate::ShardId;
use crate::chance::Chance;
use crate::command::{
    Answer, Change, Command, Condition, KEY_BYTES_MAX, Operation, Place, VALUE_BYTES_MAX,
};
use crate::query::{Query, Rows};
use crate::replica::client::{
    AskChanges, AskStatus, Encoded, Freshness, KeepAlive, Propose, Read, Refusal, ReplicaClient,
    Status,
};
use crate::watch::{Filter, Told};

/// After so many late answers in one call each replica may take 2 to the power of that times as
/// long.
const LATE_MAX: u32 = 3;
/// A replica may always take so many times as long as answers take on average.
const USUAL_TIMES: u32 = 4;
/// The part of the average that a new answer makes, as RFC 6298 has it for round trips.
const NEWEST: u32 = 8;
/// How long a replica keeps one who watches waiting before it says that nothing has changed.
const WATCH_FOR: Duration = Duration::from_millis(500);

/// One shard, from a client. A clone is the same.
#[derive(Clone)]
pub(super) struct Shard {
    inner: Arc<Inner>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("shard", &self.inner.shard).finish_non_exhaustive()
    }
}

struct Inner {
    shard: ShardId,
    config: DbConfig,
    route: Route,
    session: Session,
    /// How long answers take, on average over the last ones.
    usual: Mutex<Duration>,
    /// Held while a session is opened, so that one is.
    opening: AsyncMutex<()>,
}

impl Shard {
    pub(super) fn new(
        node: Node,
        hosts: Option<Arc<[NodeName]>>,
        shard: ShardId,
        config: DbConfig,
    ) -> Self {
        let route = Route::new(node, hosts, shard, config);
        let (session, usual, opening) = Default::default();
        let inner = Inner { shard, config, route, session, usual, opening };
        Self { inner: Arc::new(inner) }
    }

    /// Has a command done, once.
    pub(super) async fn perform(&self, operation: Operation) -> Result<Answer, DbError> {
        check(&operation)?;
        let deadline = Instant::now() + self.inner.config.deadline;
        let underway =
            timeout_at(deadline, self.begin(deadline)).await.unwrap_or_else(|_late| {
                let why = "too many commands are under way".into();
                Err(DbError::Unavailable { shard: self.inner.shard, why })
            })?;
        let command = Command { attempt: Some(underway.attempt()), operation };
        let answer = self.propose(&command, deadline).await?;
        match answer {
            // Too far ahead it is when thousands before it got nowhere: the shard does not know
            // that they are over.
            Answer::NoSession | Answer::TooFarAhead => {
                self.inner.session.over(underway.id());
                Err(DbError::SessionOver { shard: self.inner.shard })
            }
            // Its own client never asks for that.
            Answer::StaleSequence => Err(DbError::Unexpected),
            answer => Ok(answer),
        }
    }

    /// Reads rows.
    pub(super) async fn read(&self, query: &Query, freshness: Freshness) -> Result<Rows, DbError> {
        let deadline = Instant::now() + self.inner.config.deadline;
        let query = query.encode();
        let anywhere = matches!(freshness, Freshness::AtLeast { .. } | Freshness::Stale);
        let ask = || Read { freshness, query: query.clone() };
        let body = self.try_all(ask, anywhere, Duration::ZERO, deadline).await;
        Rows::decode(body.map_err(without_effect)?).map_err(|_unreadable| DbError::Unexpected)
    }

    /// How far it is now.
    pub(super) async fn revision(&self) -> Result<u64, DbError> {
        let nothing = Query::Get(Vec::new());
        Ok(self.read(&nothing, Freshness::Linearizable).await?.revision)
    }

    /// What changes behind this revision, or that nothing does.
    pub(super) async fn changes(&self, filter: &Filter, after: u64) -> Result<Told, DbError> {
        let within = self.inner.config.deadline.max(self.inner.config.attempt + WATCH_FOR);
        let deadline = Instant::now() + within;
        let wait_ms = u32::try_from(WATCH_FOR.as_millis()).expect("half a second");
        let ask = || AskChanges {
            after,
            wait_ms,
            tables: filter.tables.iter().map(|table| table.0).collect(),
            class: filter.class,
            prefix: filter.prefix.clone(),
        };
        let body = self.try_all(ask, false, WATCH_FOR, deadline).await;
        Told::decode(body.map_err(without_effect)?).map_err(|_unreadable| DbError::Unexpected)
    }

    /// Lets a lease last for its whole time from now on.
    pub(super) async fn keep_alive(&self, lease: u64) -> Result<Answer, DbError> {
        let deadline = Instant::now() + self.inner.config.deadline;
        let ask = || KeepAlive { lease };
        let body = self.try_all(ask, false, Duration::ZERO, deadline).await?;
        Answer::decode(body).map_err(|_unreadable| DbError::Unexpected)
    }

    pub(super) fn id(&self) -> ShardId {
        self.inner.shard
    }

    /// How its replicas are, those that can be reached.
    pub(super) async fn status(&self) -> Vec<(String, Status)> {
        let replicas = self.inner.route.replicas().await;
        let asked = replicas.iter().map(|replica| async {
            let Ok(answer) = replica.ask(AskStatus, self.inner.config.attempt).await else {
                self.inner.route.forget(replica);
                return None;
            };
            Some((replica.id().node.to_string(), answer.ok()?))
        });
        let answered = futures_util::future::join_all(asked).await;
        answered.into_iter().flatten().collect()
    }

    async fn begin(&self, deadline: Instant) -> Result<Underway, DbError> {
        loop {
            if let Some(underway) = self.inner.session.begin().await {
                return Ok(underway);
            }
            let _one = self.inner.opening.lock().await;
            if let Some(underway) = self.inner.session.begin().await {
                return Ok(underway);
            }
            // Opened twice, the other one ages away unused.
            let open = Command { attempt: None, operation: Operation::OpenSession };
            match self.propose(&open, deadline).await {
                Ok(Answer::Opened { session }) => self.inner.session.opened(session),
                Ok(Answer::TooManySessions) => return Err(DbError::TooManySessions),
                Ok(_other) => return Err(DbError::Unexpected),
                Err(DbError::Unknown { shard }) => {
                    let why = "no session was opened in time".into();
                    return Err(DbError::Unavailable { shard, why });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How long an answer is waited for at first: no more than half of a call, so that another
    /// replica is asked in time.
    fn patience(&self) -> Duration {
        let DbConfig { attempt, deadline, .. } = self.inner.config;
        attempt.max((*self.usual() * USUAL_TIMES).min(deadline / 2))
    }

    fn has_answered(&self, after: Duration) {
        let mut usual = self.usual();
        *usual = (*usual * (NEWEST - 1) + after) / NEWEST;
    }

    fn usual(&self) -> MutexGuard<'_, Duration> {
        self.inner.usual.lock().expect("nothing panics while it holds this")
    }

    async fn propose(&self, command: &Command, deadline: Instant) -> Result<Answer, DbError> {
        let command = command.encode();
        let ask = || Propose { command: command.clone() };
        let body = self.try_all(ask, false, Duration::ZERO, deadline).await?;
        Answer::decode(body).map_err(|_unreadable| DbError::Unexpected)
    }

    /// Asks the leader, or whoever may lead, until one answers. Each may take as long as an attempt
    /// does, beside what it is asked to wait for; more when one was late before, or all are slow:
    /// to a database that is busy, asking again is only more to do.
    async fn try_all<M>(
        &self,
        message: impl Fn() -> M,
        anywhere: bool,
        waits: Duration,
        deadline: Instant,
    ) -> Result<Bytes, DbError>
    where
        M: RemoteMessage + actix::Message<Result = Result<Encoded, Refusal>>,
        ReplicaClient: Accepts<M>,
    {
        let (mut may_be_done, mut late) = (false, 0);
        let mut why = "no replica is known".to_owned();
        for turn in 0.. {
            if Instant::now() >= deadline {
                break;
            }
            let target = self.inner.route.target(turn, anywhere);
            let Some(replica) = timeout_at(deadline, target).await.ok().flatten() else {
                sleep_until(deadline.min(Instant::now() + self.inner.config.pause)).await;
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let within = (self.patience() * (1 << late)).saturating_add(waits).min(left);
            let asked = Instant::now();
            match replica.ask(message(), within).await {
                Ok(Ok(encoded)) => {
                    if waits.is_zero() {
                        self.has_answered(asked.elapsed());
                    }
                    if !anywhere {
                        self.inner.route.leads(replica);
                    }
                    return Ok(encoded.body);
                }
                Ok(Err(refusal)) => {
                    if let Some(error) = DbError::of(&refusal) {
                        return Err(error);
                    }
                    may_be_done |= matches!(refusal, Refusal::LeadLost | Refusal::Stopped);
                    why = refusal.to_string();
                    let leader = match &refusal {
                        Refusal::NotLeader { leader } => leader.as_deref(),
                        _no_hint => None,
                    };
                    // Whether it is found in time or not is seen at the next turn.
                    drop(timeout_at(deadline, self.inner.route.is_led_by(leader)).await);
                }
                Err(error) => {
                    may_be_done |= matches!(error, AskError::MaybeDelivered(_));
                    late = LATE_MAX.min(late + u32::from(asked.elapsed() >= within));
                    why = error.to_string();
                    self.inner.route.is_gone(&replica, &error);
                }
            }
            // The first time another one is tried at once.
            if turn > 0 {
                let pause = self.inner.config.pause.mul_f64(0.5 + Chance.random::<f64>());
                sleep_until(deadline.min(Instant::now() + pause)).await;
            }
        }
        let shard = self.inner.shard;
        Err(if may_be_done {
            DbError::Unknown { shard }
        } else {
            DbError::Unavailable { shard, why }
        })
    }
}

/// What was not answered and changes nothing has done nothing.
fn without_effect(error: DbError) -> DbError {
    match error {
        DbError::Unknown { shard } => {
            DbError::Unavailable { shard, why: "no answer in time".into() }
        }
        error => error,
    }
}

/// Refuses what every leader would refuse.
fn check(operation: &Operation) -> Result<(), DbError> {
    let Operation::Transact { conditions, changes } = operation else { return Ok(()) };
    let places = conditions.iter().map(Condition::place).chain(changes.iter().map(Change::place));
    let mut keys = places.map(|Place { key, .. }| key.len());
    if let Some(bytes) = keys.find(|bytes| *bytes > KEY_BYTES_MAX) {
        return Err(DbError::KeyTooLong { bytes });
    }
    let mut values = changes.iter().map(|change| match change {
        Change::Put { value, .. } => value.len(),
        Change::Delete { .. } => 0,
    });
    match values.find(|bytes| *bytes > VALUE_BYTES_MAX) {
        Some(bytes) => Err(DbError::ValueTooLong { bytes }),
        None => Ok(()),
    }
}
