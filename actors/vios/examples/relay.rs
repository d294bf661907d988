//! Serves over NBD what another NBD server serves, until it is interrupted.
//!
//! ```console
//! $ qemu-nbd -f raw -t -k /tmp/far.sock disk.img &
//! $ cargo run --release -p vioduct-vios --example relay -- --from /tmp/far.sock --to /tmp/d.sock
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use tokio::net::UnixListener;
use vioduct_vios::nbd::client::{self, Address, Remote};
use vioduct_vios::nbd::server::{Config, Listener, OneExport, serve};

/// Serves over NBD what another NBD server serves.
#[derive(Debug, Parser)]
struct Options {
    /// The other server's Unix socket.
    #[arg(long, required_unless_present = "from_tcp", conflicts_with = "from_tcp")]
    from: Option<PathBuf>,
    /// The other server's address.
    #[arg(long)]
    from_tcp: Option<SocketAddr>,
    /// Name of the export there.
    #[arg(long, default_value = "")]
    export: String,
    /// Listens on this Unix socket, which must not exist.
    #[arg(long)]
    to: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let address = match (options.from, options.from_tcp) {
        (Some(path), _) => Address::Unix(path),
        (None, Some(address)) => Address::Tcp(address),
        (None, None) => unreachable!("clap asks for one"),
    };
    let config = client::Config { export: options.export, ..client::Config::default() };
    let disk = Arc::new(Remote::connect(&address, &config).await?);
    let listener = Listener::Unix(UnixListener::bind(&options.to)?);
    let over = async {
        tokio::select! {
            end = disk.ended() => eprintln!("the other server: {end}"),
            interrupted = tokio::signal::ctrl_c() => {
                if let Err(error) = interrupted {
                    eprintln!("no signal can be waited for: {error}");
                }
            }
        }
    };
    serve(listener, OneExport::new("", Arc::clone(&disk)), Config::default(), over).await?;
    Ok(())
}
