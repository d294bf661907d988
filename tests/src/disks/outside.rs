//! A storage outside of the cluster: a file behind an NBD server, in this process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use vioduct_vios::file::{Config, FileDisk};
use vioduct_vios::nbd::server::{self, Listener, OneExport, serve};

use super::ANY;

/// Its export.
pub(super) const EXPORT: &str = "outside";
/// What operators declare: longer than a local file takes with a request.
pub(super) const REQUEST_LIFE: Duration = Duration::from_secs(2);

/// The server; it ends with this.
#[derive(Debug)]
pub(super) struct OutsideStorage {
    pub(super) addr: SocketAddr,
    server: JoinHandle<()>,
}

impl OutsideStorage {
    pub(super) async fn start(file: &Path, size: u64) -> Result<Self> {
        File::create_new(file)?.set_len(size)?;
        let disk = Arc::new(FileDisk::open(file, Config::default())?);
        let listener = TcpListener::bind(ANY).await?;
        let addr = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let (listener, export) = (Listener::Tcp(listener), OneExport::new(EXPORT, disk));
            let never = std::future::pending();
            if let Err(error) = serve(listener, export, server::Config::default(), never).await {
                tracing::error!(%error, "the outside storage is not served");
            }
        });
        Ok(Self { addr, server })
    }
}

impl Drop for OutsideStorage {
    fn drop(&mut self) {
        self.server.abort();
    }
}
