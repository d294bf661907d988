//! A client's connection to its disk. When it is lost, the next request makes another.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use vioduct_vios::nbd::client::{Address, Config, ConnectError, Remote};

use super::uri::{Server, Uri};

/// Pause after a server could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One server, and the connection to it while there is one.
#[derive(Debug)]
pub(crate) struct Link {
    server: Server,
    config: Config,
    current: Mutex<Option<Rc<Remote>>>,
}

impl Link {
    /// Connects for the first time. Up to `depth` requests are sent at once.
    pub(crate) async fn connect(uri: &Uri, depth: u32) -> Result<Self> {
        let requests_max = usize::try_from(depth)?;
        let export = uri.export.clone();
        let config = Config { export, requests_max, ..Config::default() };
        let link = Self { server: uri.server.clone(), config, current: Mutex::const_new(None) };
        let remote = link.open().await.with_context(|| uri.to_string())?;
        *link.current.lock().await = Some(Rc::new(remote));
        Ok(link)
    }

    async fn open(&self) -> Result<Remote, ConnectError> {
        let address = match &self.server {
            Server::Unix(path) => Address::Unix(path.clone()),
            Server::Tcp { host, port } => {
                let mut found = lookup_host((host.as_str(), *port)).await?;
                let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                Address::Tcp(found.next().ok_or_else(none)?)
            }
        };
        Remote::connect(&address, &self.config).await
    }

    /// The connection; waits until there is one. Cancel-safe.
    pub(crate) async fn remote(&self) -> Rc<Remote> {
        let mut current = self.current.lock().await;
        loop {
            if let Some(remote) = &*current {
                return Rc::clone(remote);
            }
            match self.open().await {
                Ok(remote) => *current = Some(Rc::new(remote)),
                // It is tried until the request's deadline.
                Err(_unreachable) => sleep_until(Instant::now() + RETRY_PAUSE).await,
            }
        }
    }

    /// This connection is of no more use. True for the first to say so.
    pub(crate) async fn lose(&self, lost: &Rc<Remote>) -> bool {
        let mut current = self.current.lock().await;
        let is_first = current.as_ref().is_some_and(|remote| Rc::ptr_eq(remote, lost));
        if is_first {
            *current = None;
        }
        is_first
    }

    /// Ends the connection if there is one; the next request makes another.
    pub(crate) async fn reset(&self) {
        if let Some(remote) = self.current.lock().await.take() {
            remote.cut().await;
        }
    }
}
