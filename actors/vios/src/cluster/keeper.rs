//! The task by which a node follows the database, and keeps what that answers.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use vioduct_db::client::Db;

use super::admin::AdminError;
use super::cm::Standing;
use super::explain;
use super::follow::Follower;
use super::local::LocalStores;
use super::view::View;
use crate::roles::layout::Layout;

/// How long it is waited before all is read again after that failed; between half of it and all.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a view that has changed again is not kept yet, at least, and at most: its file is
/// written as a whole.
const KEEP_AFTER: Duration = Duration::from_secs(2);
const KEEP_AFTER_MAX: Duration = Duration::from_secs(60);
/// That long times as long as it took to keep the last one.
const KEEP_TIMES: u32 = 32;

/// Keeps a node's view.
pub(super) struct Keeper {
    pub(super) db: Db,
    pub(super) stores: LocalStores,
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
            Standing::NoVios | Standing::Member | Standing::Failed { .. } => true,
        };
        let is_silent = match self.standing.wait_for(is_over).await {
            Ok(standing) => matches!(*standing, Standing::Registering { .. }),
            Err(_ended) => false,
        };
        if is_silent {
            self.use_stored();
        }
    }

    /// The database is silent: what it said last has to do.
    fn use_stored(&mut self) {
        if let Some(view) = self.stored.take() {
            let revision = view.revision;
            tracing::warn!(revision, "the local store stands in for the database");
            self.show(Arc::new(view));
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, AdminError> {
        let mut follower = Follower::begin(self.db.clone()).await?;
        self.stored = None;
        let first = Arc::new(follower.view().clone());
        self.show(Arc::clone(&first));
        let mut keep_after = self.keep(first).await;
        let mut unkept: Option<(Arc<View>, Instant)> = None;
        loop {
            let keep_at = unkept.as_ref().map_or_else(Instant::now, |(_view, at)| *at);
            tokio::select! {
                view = follower.next() => {
                    let view = Arc::new(view?);
                    self.show(Arc::clone(&view));
                    let at = unkept.map_or_else(|| Instant::now() + keep_after, |(_view, at)| at);
                    unkept = Some((view, at));
                }
                () = sleep_until(keep_at), if unkept.is_some() => {
                    if let Some((view, _at)) = unkept.take() {
                        keep_after = self.keep(view).await;
                    }
                }
            }
        }
    }

    /// Keeps a view for the time when the database is away; says for how long the next one is not
    /// kept. It may be lost.
    async fn keep(&self, view: Arc<View>) -> Duration {
        let (stores, begun) = (self.stores.clone(), Instant::now());
        // Fails only when the process ends.
        let kept = spawn_blocking(move || stores.keep_view(&view)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the cluster view is not kept");
        }
        (begun.elapsed() * KEEP_TIMES).clamp(KEEP_AFTER, KEEP_AFTER_MAX)
    }

    fn show(&self, view: Arc<View>) {
        let layout = Layout::of(&view);
        self.view.send_replace(Some(view));
        self.layout.send_if_modified(|before| {
            let is_other = *before != layout;
            *before = layout;
            is_other
        });
    }
}
