//! Serves a local file over NBD until it is interrupted.
//!
//! ```console
//! $ cargo run --release -p vioduct-vios --example serve_file -- --socket /run/d.sock disk.img
//! $ fio --ioengine=nbd --uri='nbd+unix:///?socket=/run/d.sock' --name=a --rw=randread
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::net::{TcpListener, UnixListener};
use vioduct_vios::file::{self, FileDisk};
use vioduct_vios::nbd::server::{Config, Listener, OneExport, serve};

/// Serves a local file over NBD.
#[derive(Debug, Parser)]
struct Options {
    /// The file or block device.
    file: PathBuf,
    /// Listens on this Unix socket, which must not exist.
    #[arg(long, required_unless_present = "tcp", conflicts_with = "tcp")]
    socket: Option<PathBuf>,
    /// Listens on this address, such as 127.0.0.1:10809.
    #[arg(long)]
    tcp: Option<String>,
    /// Name of the export.
    #[arg(long, default_value = "")]
    export: String,
    /// Goes around the page cache.
    #[arg(long)]
    direct: bool,
    /// Takes no writes.
    #[arg(long)]
    read_only: bool,
    /// Requests that the kernel has at once.
    #[arg(long, default_value_t = file::Config::default().threads)]
    threads: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let config = file::Config {
        is_read_only: options.read_only,
        is_direct: options.direct,
        threads: options.threads,
        ..file::Config::default()
    };
    let disk = FileDisk::open(&options.file, config)
        .with_context(|| options.file.display().to_string())?;
    let listener = match (&options.socket, &options.tcp) {
        (Some(socket), _) => Listener::Unix(UnixListener::bind(socket)?),
        (None, Some(address)) => Listener::Tcp(TcpListener::bind(address).await?),
        (None, None) => unreachable!("clap asks for one"),
    };
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("no signal can be waited for: {error}");
        }
    };
    serve(listener, OneExport::new(options.export, Arc::new(disk)), Config::default(), interrupted)
        .await?;
    Ok(())
}
