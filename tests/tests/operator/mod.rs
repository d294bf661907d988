//! What tests do as the cluster's operator.

use std::time::Duration;

use tokio::time::{interval, timeout};
use vioduct_tests::disks::DiskCluster;

const WITHIN: Duration = Duration::from_secs(30);

/// A command fails, and says this.
pub(crate) async fn fails_with(disks: &DiskCluster, words: &[&str], said: &str) {
    let error = disks.command(words).await.expect_err("it is wrong").to_string();
    assert!(error.contains(said), "{words:?}: {error}");
}

/// Waits until this holds.
pub(crate) async fn so(what: &str, is: impl AsyncFn() -> bool) {
    let looking = async {
        let mut looks = interval(Duration::from_millis(50));
        while !is().await {
            looks.tick().await;
        }
    };
    timeout(WITHIN, looking).await.unwrap_or_else(|_late| panic!("not seen: {what}"));
}
