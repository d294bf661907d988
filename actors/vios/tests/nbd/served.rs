//! A server of ours on a Unix socket, for one test.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vioduct_vios::disk::Disk;
use vioduct_vios::file::{self, FileDisk};
use vioduct_vios::nbd::client::{self, Address, Remote};
use vioduct_vios::nbd::server::{Config, Listener, OneExport, serve};

/// Bytes of the files that are served.
pub(crate) const SIZE: u64 = 128 << 20;
/// The export's name.
pub(crate) const NAME: &str = "lu0";

pub(crate) struct Served {
    dir: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Served {
    /// Serves an empty file of [`SIZE`] bytes.
    pub(crate) fn file() -> Self {
        Self::file_with(file::Config::default())
    }

    pub(crate) fn file_with(config: file::Config) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("disk.img");
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        let disk = Arc::new(FileDisk::open(&path, config).unwrap());
        Self::start(dir, disk, Config::default())
    }

    pub(crate) fn disk(disk: Arc<impl Disk>, config: Config) -> Self {
        Self::start(TempDir::new().unwrap(), disk, config)
    }

    fn start(dir: TempDir, disk: Arc<impl Disk>, config: Config) -> Self {
        let listener = UnixListener::bind(dir.path().join("nbd.sock")).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            // Dropping the sender stops it as well.
            let stopped = async { drop(stopped.await) };
            let exports = OneExport::new(NAME, disk);
            serve(Listener::Unix(listener), exports, config, stopped).await.unwrap();
        });
        Self { dir, stop, server }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    /// As libnbd and QEMU write it.
    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///{NAME}?socket={}", self.socket().display())
    }

    /// A path beside the socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What lies in the file that is served.
    pub(crate) fn stored(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let file = File::open(self.dir.path().join("disk.img")).unwrap();
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub(crate) async fn connect(&self) -> Remote {
        let config = client::Config { export: NAME.to_owned(), ..client::Config::default() };
        Remote::connect(&Address::Unix(self.socket()), &config).await.unwrap()
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }
}
