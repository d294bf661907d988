//! Tells the cluster's database how a VIOS reaches the storage.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use crate::cluster::admin::tell_paths;
use crate::cluster::row::{RedundancyRow, ToldPath};
use crate::redirect::name::ViosId;

/// The least time between two tellings, and how long it is waited after the database gave no
/// answer: paths that flap are told as they are by then.
const PAUSE: Duration = Duration::from_secs(1);

/// Has a VIOS's row say what its DSA has told last. Ends with the DSA.
pub(super) async fn tell(
    db: Db,
    node: NodeName,
    vios: ViosId,
    mut paths: watch::Receiver<Vec<ToldPath>>,
) {
    loop {
        let told = paths.borrow_and_update().clone();
        let row = RedundancyRow { vios: vios.0, paths: told };
        let is_told = match tell_paths(&db, &node, &row).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "the paths are not told yet");
                false
            }
        };
        sleep_until(Instant::now() + PAUSE).await;
        if is_told && paths.changed().await.is_err() {
            return;
        }
    }
}
