//! The credentials of a run: one CA, one server and one client certificate, in a private directory.
//!
//! Client and server are processes of their own and must trust the same CA, so the parent issues
//! everything once with [`issue`], and each process reads it with [`Pair::load`] or [`pair`].

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::time_provider::DefaultTimeProvider;
use rustls::{ClientConfig, ServerConfig};
use vioduct_certs::UnixTime;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Identity, Roles};
use vioduct_certs::refusal::RefusalSlot;

const SERVER: &str = "server";
const CLIENT: &str = "client";

/// The application protocol of the bare quinn peers.
pub const ALPN: &[u8] = b"vioduct-bench/1";

/// Life of the certificates of a run.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Attempts to find a directory name that is free.
const NAME_ATTEMPTS_MAX: u32 = 100;

/// A directory of mode 0700 that is removed when dropped.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Creates it among the system's temporary files. An existing path is never used.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create() -> Result<Self> {
        Self::create_in(None)
    }

    /// Creates it in `base`, the system's temporary files if none is given.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create_in(base: Option<&Path>) -> Result<Self> {
        let base = base.map_or_else(std::env::temp_dir, Path::to_owned);
        let process_id = std::process::id();
        for attempt in 0..NAME_ATTEMPTS_MAX {
            let path = base.join(format!("vioduct-bench-{process_id}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("create {}", path.display()));
                }
            }
        }
        anyhow::bail!("no free name for a private directory in {}", base.display())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}

/// Issues the credentials of both processes into `dir`.
///
/// # Errors
/// They cannot be written.
pub fn issue(dir: &Path) -> Result<()> {
    let now = UnixTime::now();
    let mut ca = ClusterCa::create("bench".parse()?, VALIDITY, now)?;
    let cluster = ca.cluster().clone();
    let server = Identity::node(cluster.clone(), SERVER.parse()?, Roles::default());
    let client = Identity::tool(cluster, CLIENT.parse()?);
    for (name, identity) in [(SERVER, server), (CLIENT, client)] {
        ca.issue(&identity, VALIDITY, now)?.write_to(&dir.join(name), IfExists::Refuse)?;
    }
    Ok(())
}

/// What [`issue`] wrote.
#[derive(Debug)]
pub struct Pair {
    /// The server's.
    pub server: Arc<Credentials>,
    /// The client's.
    pub client: Arc<Credentials>,
}

impl Pair {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(dir: &Path) -> Result<Self> {
        let load = |name: &str| Credentials::load(&dir.join(name), UnixTime::now()).map(Arc::new);
        Ok(Self { server: load(SERVER)?, client: load(CLIENT)? })
    }
}

/// The name that the other peers dial.
fn server_name(server: &Credentials) -> String {
    server.identity().server_name()
}

/// TLS configurations of the other peers, the same that our transport uses, for one application
/// protocol.
///
/// # Errors
/// The credentials cannot be read.
pub fn pair(dir: &Path, alpn: &[u8]) -> Result<(ServerConfig, ClientConfig, String)> {
    let Pair { server, client } = Pair::load(dir)?;
    let clock = || Arc::new(DefaultTimeProvider);
    let server_config = server.server_config(&[alpn], clock(), RefusalSlot::default())?;
    let client_config = client.client_config(&[alpn], clock(), RefusalSlot::default())?;
    Ok((server_config, client_config, server_name(&server)))
}
