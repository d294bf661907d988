//! A client's way to its disk. When it is lost, the next request finds another.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::disk::{Device, Disk};
use vioduct_vios::lpar::LparDisk;
use vioduct_vios::nbd::client::{Address, Config, ConnectError, Remote, RequestError};
use vioduct_vios::redirect::name::LuId;
use vioduct_vios::roles::phyp::OpenDisks;

use super::board::Fault;
use super::target::Target;
use super::uri::Server;

/// Pause after a disk could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One disk, and what it is reached by while there is that.
#[derive(Debug)]
pub(crate) struct Link {
    place: Place,
    current: Mutex<Option<Rc<Conn>>>,
}

/// Where a disk is found.
#[derive(Debug)]
enum Place {
    Nbd { server: Server, config: Config },
    Lu { lu: LuId, disks: OpenDisks, within: Duration },
}

/// What requests are given to.
#[derive(Debug)]
pub(crate) enum Conn {
    Nbd(Remote),
    /// The owner of the LU, in this process.
    Actor(Arc<LparDisk>),
}

impl Conn {
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Nbd(remote) => remote.device(),
            Self::Actor(disk) => disk.device(),
        }
    }

    /// Carries out one request; cancel-safe as [`Disk::execute`] is.
    pub(crate) async fn execute(&self, request: Request) -> Result<Reply, RequestError> {
        match self {
            Self::Nbd(remote) => remote.execute(request).await,
            Self::Actor(disk) => Ok(disk.execute(request).await?),
        }
    }

    /// Whether it is of no more use to anybody after a request failed so.
    pub(crate) fn is_over(&self, fault: Fault, error: Option<&RequestError>) -> bool {
        match self {
            Self::Nbd(_) => fault.is_of_link(),
            // One that is late may answer others; it keeps their order.
            Self::Actor(_) => matches!(error, Some(RequestError::Device(Failure::ShuttingDown))),
        }
    }

    /// Nothing more comes of what was sent, as far as this end goes. An actor keeps what it was
    /// asked.
    pub(crate) async fn cut(&self) {
        match self {
            Self::Nbd(remote) => {
                remote.cut().await;
            }
            Self::Actor(_) => {}
        }
    }
}

impl Link {
    /// Connects for the first time; the disk of an LU is waited for. Up to `depth` requests are
    /// sent at once.
    pub(crate) async fn connect(
        target: &Target,
        disks: Option<&OpenDisks>,
        depth: u32,
        within: Duration,
    ) -> Result<Self> {
        let place = match target {
            Target::Nbd(uri) => {
                let requests_max = usize::try_from(depth)?;
                let export = uri.export.clone();
                let config = Config { export, requests_max, ..Config::default() };
                Place::Nbd { server: uri.server.clone(), config }
            }
            Target::Lu(number) => {
                let disks = disks.context("no hypervisor runs here")?.clone();
                Place::Lu { lu: LuId(*number), disks, within }
            }
        };
        let conn = place.open().await.with_context(|| target.to_string())?;
        Ok(Self { place, current: Mutex::const_new(Some(Rc::new(conn))) })
    }

    /// What to give a request to; waits until there is something. Cancel-safe.
    pub(crate) async fn conn(&self) -> Rc<Conn> {
        let mut current = self.current.lock().await;
        loop {
            if let Some(conn) = &*current {
                return Rc::clone(conn);
            }
            match self.place.open().await {
                Ok(conn) => *current = Some(Rc::new(conn)),
                // It is tried until the request's deadline.
                Err(_unreachable) => sleep_until(Instant::now() + RETRY_PAUSE).await,
            }
        }
    }

    /// This one is of no more use. True for the first to say so.
    pub(crate) async fn lose(&self, lost: &Rc<Conn>) -> bool {
        let mut current = self.current.lock().await;
        let is_first = current.as_ref().is_some_and(|conn| Rc::ptr_eq(conn, lost));
        if is_first {
            *current = None;
        }
        is_first
    }

    /// Ends the connection if there is one; the next request makes another, or asks for the disk
    /// anew.
    pub(crate) async fn reset(&self) {
        if let Some(conn) = self.current.lock().await.take() {
            conn.cut().await;
        }
    }
}

impl Place {
    async fn open(&self) -> Result<Conn> {
        match self {
            Self::Nbd { server, config } => Ok(Conn::Nbd(dial(server, config).await?)),
            Self::Lu { lu, disks, within } => Ok(Conn::Actor(disks.disk(*lu, *within).await?)),
        }
    }
}

async fn dial(server: &Server, config: &Config) -> Result<Remote, ConnectError> {
    let address = match server {
        Server::Unix(path) => Address::Unix(path.clone()),
        Server::Tcp { host, port } => {
            let mut found = lookup_host((host.as_str(), *port)).await?;
            let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            Address::Tcp(found.next().ok_or_else(none)?)
        }
    };
    Remote::connect(&address, config).await
}
