//! The node of a hypervisor, which the harness runs itself for the time of a load.

use std::future::pending;
use std::path::Path;

use anyhow::{Context, Error, Result, ensure};
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_node::config::NodeConfig;
use vioduct_node::daemon::Daemon;
use vioduct_vios::roles::phyp::OpenDisks;

/// Runs the node of this file while `load` does. Whatever comes of that, the node is closed in
/// order: what its disks were asked is finished, and their sessions are closed.
///
/// # Errors
/// The file or the node, or what `load` says; also when the node can't go on.
pub(super) async fn beside<T>(
    file: &Path,
    load: impl AsyncFnOnce(OpenDisks) -> Result<T>,
) -> Result<T> {
    let config = NodeConfig::load(file)?;
    ensure!(
        config.disks.phyp.is_some(),
        "{} has no [phyp]: --hypervisor takes the file of a node that carries clients' disks",
        file.display()
    );
    let daemon = Daemon::start(config, UnixTime::now()).await;
    let mut daemon = daemon.context("the hypervisor's node does not start")?;
    let result = drive(&mut daemon, load).await;
    daemon.close().await;
    result
}

async fn drive<T>(
    daemon: &mut Daemon,
    load: impl AsyncFnOnce(OpenDisks) -> Result<T>,
) -> Result<T> {
    let disks = daemon.disks().context("the node has no hypervisor")?.clone();
    let mut load = Box::pin(load(disks));
    loop {
        tokio::select! {
            result = &mut load => return result,
            reason = daemon.expelled() => {
                return Err(Error::new(reason).context("the hypervisor's node left its cluster"));
            }
            end = daemon.database_ended() => {
                return Err(Error::new(end).context("the hypervisor's node has to stop"));
            }
            _looked_long_ago = timeout(daemon.pause(), pending::<()>()) => {
                daemon.look_at_credentials(UnixTime::now()).await;
            }
        }
    }
}
