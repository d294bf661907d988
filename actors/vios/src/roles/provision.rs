//! Makes, grows and deletes a storage's LUs as the cluster's database says.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{AskError, LocalRef};

use crate::cluster::admin::AdminError;
use crate::cluster::admin::storage::{lu_is, lu_is_gone};
use crate::cluster::cm::ClusterSight;
use crate::cluster::row::{Event, LuPhase, LuRow, PoolRow, Storage};
use crate::cluster::view::View;
use crate::redirect::name::LuId;
use crate::repository::actor::Repository;
use crate::repository::backing::FileBacking;
use crate::repository::provision::{AskSizes, DeleteLu, MakeLu, NotDeleted, NotMade, Sizes};

/// How long it is waited after the database gave no answer, and for requests of an LU to end.
const PAUSE: Duration = Duration::from_millis(500);
/// How often an LU is tried again that could not be made.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// How long the repository is waited for at once.
const ASK_WITHIN: Duration = Duration::from_secs(60);

/// Provides the LUs of this node's pools.
pub(super) struct Provisioner {
    /// What its pools lie on.
    own: Storage,
    repository: LocalRef<Repository<FileBacking>>,
    cluster: ClusterSight,
    retry_at: Instant,
    /// Bytes of the repository's LUs, once it has told.
    sizes: Option<BTreeMap<LuId, u64>>,
}

/// Why an LU is not yet as the database says.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("the repository: {0}")]
    Ask(#[from] AskError),
    #[error(transparent)]
    Deleting(#[from] NotDeleted),
    #[error("something is being done to it")]
    Busy,
    #[error("it is not made larger: {0}")]
    NotGrown(NotMade),
    #[error(transparent)]
    Db(#[from] AdminError),
}

impl Provisioner {
    pub(super) fn new(
        name: NodeName,
        repository: LocalRef<Repository<FileBacking>>,
        cluster: ClusterSight,
    ) -> Self {
        let (own, retry_at) = (Storage::Node(name), Instant::now());
        Self { own, repository, cluster, retry_at, sizes: None }
    }

    /// Ends with the node.
    pub(super) async fn run(mut self) {
        loop {
            if self.sizes.is_none() {
                let told = self.repository.ask(AskSizes, ASK_WITHIN).await;
                self.sizes = told.ok().map(|Sizes(sizes)| sizes);
            }
            let view = self.cluster.view.borrow_and_update().clone();
            let mut pause = if self.sizes.is_some() { RETRY_EVERY } else { PAUSE };
            let to_do: Vec<_> = view.iter().flat_map(|view| self.to_do(view)).collect();
            for (lu, row) in to_do {
                if let Err(error) = self.provide(lu, row).await {
                    tracing::debug!(lu = lu.0, %error, "an LU is not yet as it is to be");
                    pause = PAUSE;
                }
            }
            if self.retry_at <= Instant::now() {
                self.retry_at = Instant::now() + RETRY_EVERY;
            }
            if !self.cluster.changed(Some(pause)).await {
                return;
            }
        }
    }

    /// The LUs of its pools about which something is to be done.
    fn to_do(&self, view: &View) -> Vec<(LuId, LuRow)> {
        let is_own = |row: &LuRow| {
            view.get::<PoolRow>(&row.pool).is_some_and(|pool| pool.storage == self.own)
        };
        let is_to_do = |row: &LuRow| match row.phase {
            LuPhase::Making | LuPhase::Deleting => true,
            LuPhase::Failed(_) => self.retry_at <= Instant::now(),
            LuPhase::Ready => false,
        };
        let sizes = self.sizes.as_ref();
        let is_small = |lu: &LuId, row: &LuRow| {
            let has = sizes.and_then(|sizes| sizes.get(lu));
            row.phase == LuPhase::Ready && has.is_some_and(|has| *has < row.size)
        };
        let lus = view.all::<LuRow>();
        lus.filter(|(lu, row)| (is_to_do(row) || is_small(lu, row)) && is_own(row)).collect()
    }

    async fn provide(&mut self, lu: LuId, row: LuRow) -> Result<(), Unfinished> {
        let db = &self.cluster.db.clone();
        if row.phase == LuPhase::Deleting {
            let delete = DeleteLu { lu, birth: row.birth };
            self.repository.ask(delete, ASK_WITHIN).await??;
            self.sizes.as_mut().and_then(|sizes| sizes.remove(&lu));
            tracing::info!(lu = lu.0, "LU deleted");
            return Ok(lu_is_gone(db, lu).await?);
        }
        let make = MakeLu { lu, size: row.size, birth: row.birth };
        let phase = match self.repository.ask(make, ASK_WITHIN).await? {
            Ok(()) => {
                self.sizes.as_mut().and_then(|sizes| sizes.insert(lu, row.size));
                LuPhase::Ready
            }
            Err(NotMade::Busy | NotMade::Ending) => return Err(Unfinished::Busy),
            // It is there as it was.
            Err(error) if row.phase == LuPhase::Ready => return Err(Unfinished::NotGrown(error)),
            Err(error) => LuPhase::Failed(error.to_string()),
        };
        let is_news = lu_is(db, lu, &phase).await?;
        if let LuPhase::Failed(why) = phase
            && is_news
        {
            tracing::error!(lu = lu.0, why, "an LU can't be made");
            self.cluster.events.tell(Event::LuFailed { lu: lu.0, why });
        }
        Ok(())
    }
}
