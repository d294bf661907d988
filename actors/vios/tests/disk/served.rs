//! A client's disk behind an NBD socket.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vioduct_vios::lpar::LparDisk;
use vioduct_vios::nbd::client::{self, Address, Remote};
use vioduct_vios::nbd::server::{Config, ConfigError, Listener, OneExport, serve};

pub(crate) struct Served {
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ConfigError>>,
    _dir: TempDir,
}

impl Served {
    /// Serves it, and gives a client of it.
    pub(crate) async fn start(disk: &Arc<LparDisk>) -> (Self, Remote) {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("disk.sock");
        let listener = Listener::Unix(UnixListener::bind(&socket).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let exports = OneExport::new("", Arc::clone(disk));
        let server = tokio::spawn(serve(listener, exports, Config::default(), async {
            drop(stopped.await);
        }));
        let address = Address::Unix(socket);
        let remote = Remote::connect(&address, &client::Config::default()).await.unwrap();
        (Self { stop, server, _dir: dir }, remote)
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
    }
}
