//! Where a client finds its disk: an NBD server on a socket, the hypervisor's virtual adapter.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::oneshot;
use vioduct_runtime::{Node, StartError};

use crate::lpar::LparDisk;
use crate::nbd::client::Address;
use crate::nbd::server::{Config, Listener, OneExport, serve};

/// A socket for NBD clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// A Unix socket. Whoever may open the file may use the disk.
    Unix(PathBuf),
    /// A TCP socket, neither encrypted nor authenticated: for loopback and for tests.
    Tcp(SocketAddr),
}

/// As an NBD URI, and for [`FromStr`] what stands behind its scheme: `unix:PATH`, `tcp:ADDR:PORT`.
impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "nbd+unix:///?socket={}", path.display()),
            Self::Tcp(addr) => write!(f, "nbd://{addr}"),
        }
    }
}

/// The text names no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unix:/PATH or tcp:ADDR:PORT, the path from the root on")]
pub struct FrontError;

impl Front {
    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        if let Some(path) = uri.strip_prefix("nbd+unix:///?socket=") {
            return Some(Self::Unix(path.into()));
        }
        uri.strip_prefix("nbd://")?.parse().ok().map(Self::Tcp)
    }
}

impl From<Front> for Address {
    fn from(front: Front) -> Self {
        match front {
            Front::Unix(path) => Self::Unix(path),
            Front::Tcp(addr) => Self::Tcp(addr),
        }
    }
}

impl FromStr for Front {
    type Err = FrontError;

    fn from_str(text: &str) -> Result<Self, FrontError> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", addr)) => addr.parse().map(Self::Tcp).map_err(|_wrong| FrontError),
            Some(_) | None => Err(FrontError),
        }
    }
}

/// A socket that listens; its file goes with it.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    file: Option<PathBuf>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
    Taken,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // What is left of it is taken away by the next start.
            fs::remove_file(file).ok();
        }
    }
}

impl Front {
    /// Listens. Clients that come early wait.
    ///
    /// # Errors
    /// The system refuses, or somebody listens there.
    pub(super) fn bind(&self) -> io::Result<Bound> {
        match self {
            Self::Unix(path) => {
                remove_stale(path)?;
                let socket = UnixListener::bind(path)?;
                socket.set_nonblocking(true)?;
                Ok(Bound { socket: Socket::Unix(socket), file: Some(path.clone()) })
            }
            Self::Tcp(addr) => {
                let socket = TcpListener::bind(addr)?;
                socket.set_nonblocking(true)?;
                Ok(Bound { socket: Socket::Tcp(socket), file: None })
            }
        }
    }
}

/// The socket of a process that died is in the way of the next one.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is another file"));
        }
        Ok(_socket) => {}
    }
    match UnixStream::connect(path) {
        Ok(_answered) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Err(_nobody) => fs::remove_file(path),
    }
}

impl Bound {
    /// Serves a disk on the worker of its owner until the owner ends or `stop` says so.
    ///
    /// # Errors
    /// The node is ending.
    pub(super) async fn serve(
        mut self,
        node: &Node,
        disk: Arc<LparDisk>,
        name: String,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        let socket = std::mem::replace(&mut self.socket, Socket::Taken);
        let (over, served) = oneshot::channel::<()>();
        let owner = disk.owner().clone();
        let begin = move || async move {
            let _over = over;
            let listener = match listener(socket) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "clients can't be taken in"),
            };
            let stopped = async {
                tokio::select! {
                    () = disk.ended() => {}
                    () = stop => {}
                }
            };
            let exports = OneExport::new(name, Arc::clone(&disk));
            if let Err(error) = serve(listener, exports, Config::default(), stopped).await {
                tracing::error!(%error, "clients are not served");
            }
        };
        node.spawn_beside(&owner, begin).await?;
        // An error says that it is over too.
        drop(served.await);
        Ok(())
    }
}

fn listener(socket: Socket) -> io::Result<Listener> {
    match socket {
        Socket::Unix(socket) => Ok(Listener::Unix(tokio::net::UnixListener::from_std(socket)?)),
        Socket::Tcp(socket) => Ok(Listener::Tcp(tokio::net::TcpListener::from_std(socket)?)),
        Socket::Taken => Err(io::Error::other("the socket is served already")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_written_as_scheme_and_place() {
        assert_eq!("unix:/run/a.sock".parse(), Ok(Front::Unix("/run/a.sock".into())));
        assert_eq!("tcp:127.0.0.1:10809".parse(), Ok(Front::Tcp(([127, 0, 0, 1], 10809).into())));
        for front in [Front::Unix("/run/a.sock".into()), Front::Tcp(([127, 0, 0, 1], 10809).into())]
        {
            assert_eq!(Front::from_uri(&front.to_string()), Some(front));
        }
        for wrong in ["unix:a.sock", "tcp:10809", "/run/a.sock", ""] {
            assert_eq!(wrong.parse::<Front>(), Err(FrontError), "{wrong}");
        }
    }

    #[test]
    fn a_dead_process_s_socket_is_replaced_and_a_live_one_and_a_file_are_not() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("disk.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its socket");
        let front = Front::Unix(path.clone());
        let bound = front.bind().unwrap();
        assert_eq!(front.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert_eq!(front.bind().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
