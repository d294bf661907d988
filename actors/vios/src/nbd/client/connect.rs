//! From an address to a connection in its transmission phase.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::sockopt::{set_socket_linger, set_tcp_user_timeout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::config::{Address, Config, TcpOptions};
use super::driver::Driver;
use super::{ConnectError, Gate, LinkEnd, Remote};
use crate::nbd::handshake::{self, ClientHandshake, ClientStep, Wanted};

/// Bytes that one read of a handshake may bring.
const READ_BYTES: usize = 4096;
const REQUESTS_MAX: usize = 65_536;

pub(super) async fn connect(address: &Address, config: &Config) -> Result<Remote, ConnectError> {
    if !(1..=REQUESTS_MAX).contains(&config.requests_max) {
        return Err(ConnectError::Setting { value: config.requests_max });
    }
    let connecting = async {
        match address {
            Address::Unix(path) => begin(UnixStream::connect(path).await?, config).await,
            Address::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                set_options(&socket, &config.tcp)?;
                begin(socket, config).await
            }
        }
    };
    timeout(config.connect_timeout, connecting).await.map_err(|_elapsed| ConnectError::Slow)?
}

fn set_options(socket: &TcpStream, options: &TcpOptions) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if options.zero_linger {
        set_socket_linger(socket, Some(Duration::ZERO))?;
    }
    if let Some(timeout) = options.user_timeout {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        set_tcp_user_timeout(socket, millis)?;
    }
    Ok(())
}

async fn begin<S>(mut socket: S, config: &Config) -> Result<Remote, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut input = BytesMut::new();
    let agreed = greet(&mut socket, &mut input, config).await?;
    agreed.device.check()?;
    let (requests, calls) = mpsc::channel(config.requests_max);
    let (ender, end) = watch::channel(None::<LinkEnd>);
    let gate = Arc::new(Gate::default());
    let driver = Driver::new(socket, agreed, input, config.requests_max, Arc::clone(&gate));
    let cut = Arc::new(Notify::new());
    let driver = tokio::spawn(driver.run(calls, ender, Arc::clone(&cut)));
    Ok(Remote { device: agreed.device, requests, end, cut, gate, driver })
}

/// The handshake; what is left in `input` belongs to the transmission phase.
async fn greet<S>(
    socket: &mut S,
    input: &mut BytesMut,
    config: &Config,
) -> Result<handshake::Remote, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wanted = Wanted { export: config.export.clone(), structured: config.structured };
    let (mut handshake, mut output) = (ClientHandshake::new(wanted), BytesMut::new());
    loop {
        input.reserve(READ_BYTES);
        if socket.read_buf(input).await? == 0 {
            return Err(ConnectError::HungUp);
        }
        if let ClientStep::Go(remote) = handshake.step(input, &mut output)? {
            return Ok(remote);
        }
        socket.write_all_buf(&mut output).await?;
    }
}
