//! The task by which a node follows the database, and keeps what that answers.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use super::admin::AdminError;
use super::cm::Standing;
use super::explain;
use super::follow::Follower;
use super::local::LocalStores;
use super::row::ViosRow;
use super::view::View;
use crate::roles::layout::Layout;

/// How long it is waited before all is read again after that failed; between half of it and all.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a view that has changed again is not kept yet, at least, and at most: its file is
/// written as a whole.
const KEEP_AFTER: Duration = Duration::from_secs(2);
const KEEP_AFTER_MAX: Duration = Duration::from_secs(60);
/// That long times as long as it took to keep the last one.
const KEEP_TIMES: u32 = 256;

/// Keeps a node's view.
pub(super) struct Keeper {
    pub(super) name: NodeName,
    pub(super) db: Db,
    /// What the database answered in an earlier life, until it answers in this one.
    pub(super) stored: Option<View>,
    pub(super) view: watch::Sender<Option<Arc<View>>>,
    pub(super) layout: watch::Sender<Layout>,
    /// How far the node's VIOS is with the cluster.
    pub(super) standing: watch::Receiver<Standing>,
}

impl Keeper {
    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        self.own_goes_first().await;
        loop {
            let Err(error) = self.follow().await;
            tracing::debug!(why = explain(&error), "the cluster is not followed");
            self.use_stored();
            let pause = PAUSE.mul_f64(rand::rng().random_range(0.5..=1.0));
            sleep_until(Instant::now() + pause).await;
        }
    }

    /// The node's own VIOS registers before all others are read: when many start at once, each
    /// would else wait for what all of them read.
    async fn own_goes_first(&mut self) {
        let is_over = |standing: &Standing| match standing {
            Standing::Registering { attempt, .. } => *attempt > 1,
            Standing::NoVios | Standing::Member { .. } | Standing::Failed { .. } => true,
        };
        let is_silent = match self.standing.wait_for(is_over).await {
            Ok(standing) => matches!(*standing, Standing::Registering { .. }),
            Err(_ended) => false,
        };
        if is_silent {
            self.use_stored();
        }
    }

    /// The database is silent: what it said last has to do, unless it has given this VIOS another
    /// number since.
    fn use_stored(&mut self) {
        if let Some(view) = self.stored.take() {
            let known = view.get::<ViosRow>(&self.name).map(|row| row.number);
            if let Standing::Member { number } = *self.standing.borrow()
                && known != Some(number)
            {
                return;
            }
            let revision = view.revision;
            tracing::warn!(revision, "the local store stands in for the database");
            self.show(view);
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, AdminError> {
        let mut follower = Follower::begin(self.db.clone()).await?;
        self.stored = None;
        self.show(follower.view().clone());
        loop {
            let view = follower.next().await?;
            self.show(view);
        }
    }

    fn show(&self, view: View) {
        let layout = Layout::of(&view);
        self.view.send_replace(Some(Arc::new(view)));
        self.layout.send_if_modified(|before| {
            let is_other = *before != layout;
            *before = layout;
            is_other
        });
    }
}

/// Keeps the views that are shown, for the time when the database is away. The last one may be
/// lost. Ends with who shows them.
pub(super) async fn store(stores: LocalStores, mut view: watch::Receiver<Option<Arc<View>>>) {
    let mut keep_after = Duration::ZERO;
    while view.changed().await.is_ok() {
        sleep_until(Instant::now() + keep_after).await;
        let Some(view) = view.borrow_and_update().clone() else { continue };
        let (stores, begun) = (stores.clone(), Instant::now());
        // Fails only when the process ends.
        let kept = spawn_blocking(move || stores.keep_view(&view)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the cluster view is not kept");
        }
        keep_after = (begun.elapsed() * KEEP_TIMES).clamp(KEEP_AFTER, KEEP_AFTER_MAX);
    }
}
