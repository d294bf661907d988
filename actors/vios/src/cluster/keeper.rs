//! The task by which a node follows the database, and keeps what that answers.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use vioduct_db::client::{Db, Freshness};

use super::admin::AdminError;
use super::explain;
use super::follow::Follower;
use super::local::LocalStores;
use super::view::View;
use crate::roles::layout::Layout;

/// How long it is waited before all is read again after that failed; between half of it and all.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a view that has changed again is not kept yet: its file is written as a whole.
const KEEP_AFTER: Duration = Duration::from_secs(2);

/// Keeps a node's view.
pub(super) struct Keeper {
    pub(super) db: Db,
    pub(super) stores: LocalStores,
    /// What the database answered in an earlier life, until it answers in this one.
    pub(super) stored: Option<View>,
    pub(super) view: watch::Sender<Option<Arc<View>>>,
    pub(super) layout: watch::Sender<Layout>,
}

impl Keeper {
    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            tracing::debug!(why = explain(&error), "the cluster is not followed");
            // The database is silent: what it said last has to do.
            if let Some(view) = self.stored.take() {
                let revision = view.revision;
                tracing::warn!(revision, "the local store stands in for the database");
                self.show(view);
            }
            let pause = PAUSE.mul_f64(rand::rng().random_range(0.5..=1.0));
            sleep_until(Instant::now() + pause).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, AdminError> {
        let view = View::read(&self.db, Freshness::Linearizable).await?;
        self.stored = None;
        self.show(view.clone());
        self.keep(&view).await;
        let mut follower = Follower::after(self.db.clone(), view).await?;
        let mut unkept: Option<(View, Instant)> = None;
        loop {
            let keep_at = unkept.as_ref().map_or_else(Instant::now, |(_view, at)| *at);
            tokio::select! {
                view = follower.next() => {
                    let view = view?;
                    self.show(view.clone());
                    let at = unkept.map_or_else(|| Instant::now() + KEEP_AFTER, |(_view, at)| at);
                    unkept = Some((view, at));
                }
                () = sleep_until(keep_at), if unkept.is_some() => {
                    if let Some((view, _at)) = unkept.take() {
                        self.keep(&view).await;
                    }
                }
            }
        }
    }

    /// Keeps a view for the time when the database is away. It may be lost.
    async fn keep(&self, view: &View) {
        let (stores, view) = (self.stores.clone(), view.clone());
        // Fails only when the process ends.
        let kept = spawn_blocking(move || stores.keep_view(&view)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the cluster view is not kept");
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
