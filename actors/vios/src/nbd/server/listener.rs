//! Takes clients in, and sees them out.

use std::io;
use std::sync::Arc;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};
use tracing::{debug, info, warn};

use super::config::{Config, ConfigError};
use super::connection::{self, Common, SessionEnd};
use super::exports::Exports;

/// Where clients knock.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket: who may open it is a matter of its file's permissions.
    Unix(UnixListener),
    /// A TCP socket. It is neither encrypted nor authenticated: for loopback and for tests.
    Tcp(TcpListener),
}

enum Client {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// How long to wait after no client could be taken in, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how long a silent client is probed, how often, and how many probes it may miss.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Serves clients until `stop` ends; then sees to it that what is under way is answered, for
/// [`Config::drain_timeout`] at most.
///
/// Cancel-safety: dropping the future cuts every client off at once.
///
/// # Errors
/// [`ConfigError`]; nothing was served.
pub async fn serve<E: Exports>(
    listener: Listener,
    exports: E,
    config: Config,
    stop: impl Future<Output = ()>,
) -> Result<(), ConfigError> {
    config.check()?;
    let common = Arc::new(Common { exports, config });
    let (stopper, stopped) = watch::channel(false);
    let mut sessions = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let is_full = sessions.len() >= config.connections_max;
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(ended),
            client = accept(&listener), if !is_full => {
                let (common, stopped) = (Arc::clone(&common), stopped.clone());
                sessions.spawn(async move {
                    match client {
                        Client::Unix(socket) => connection::serve(socket, common, stopped).await,
                        Client::Tcp(socket) => connection::serve(socket, common, stopped).await,
                    }
                });
            }
        }
    }
    drop(listener);
    stopper.send_replace(true);
    while let Some(ended) = sessions.join_next().await {
        report(ended);
    }
    Ok(())
}

async fn accept(listener: &Listener) -> Client {
    loop {
        let accepted = match listener {
            Listener::Unix(listener) => {
                listener.accept().await.map(|(socket, _)| Client::Unix(socket))
            }
            Listener::Tcp(listener) => listener.accept().await.and_then(|(socket, _)| {
                set_options(&socket)?;
                Ok(Client::Tcp(socket))
            }),
        };
        match accepted {
            Ok(client) => return client,
            Err(error) => {
                warn!(%error, "a client could not be taken in");
                sleep_until(Instant::now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Small replies leave at once, and a client whose host is gone does not keep its place.
fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}

fn report(ended: Result<SessionEnd, tokio::task::JoinError>) {
    match ended {
        Ok(SessionEnd::Disconnected | SessionEnd::HungUp | SessionEnd::Stopped) => {
            debug!("a client left");
        }
        Ok(end) => info!(%end, "a connection ended"),
        Err(error) => tracing::error!(%error, "a session failed"),
    }
}
