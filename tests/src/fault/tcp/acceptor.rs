//! The accepting task of a TCP proxy; it owns the tasks of the connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::connection::{self, Ended};
use super::{Control, Shared, open};

/// Connections that a proxy serves at a time; more are reset as they come.
pub const CONNECTIONS_MAX: usize = 256;

/// How long the target may take to answer a connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts clients until the proxy stops, then ends their connections.
pub(super) async fn run(shared: Arc<Shared>, target: SocketAddr) {
    let mut control = shared.control.subscribe();
    let mut connections = JoinSet::new();
    while !control.borrow_and_update().stopping {
        tokio::select! {
            biased;
            changed = control.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            Some(ended) = connections.join_next() => {
                let resets = u64::from(matches!(ended, Ok(Ended::Reset)));
                shared.count(|stats| {
                    stats.open -= 1;
                    stats.reset += resets;
                });
            }
            accepted = poll_fn(|cx| shared.poll_accept(cx)) => match accepted {
                Ok(client) => admit(&shared, &mut connections, client, target),
                Err(_refused) => sleep_until(tokio::time::Instant::now() + ACCEPT_RETRY).await,
            },
            () = shared.listener_changed.notified() => {}
        }
    }
    connections.shutdown().await;
    shared.count(|stats| stats.open = 0);
}

/// Starts the task of a new client's connection, or turns the client away.
fn admit(
    shared: &Arc<Shared>,
    connections: &mut JoinSet<Ended>,
    client: TcpStream,
    target: SocketAddr,
) {
    if connections.len() >= CONNECTIONS_MAX {
        shared.count(|stats| stats.dropped_by_bound += 1);
        connection::reset(client);
        return;
    }
    shared.count(|stats| {
        stats.accepted += 1;
        stats.open += 1;
    });
    let resets = shared.control.borrow().resets;
    connections.spawn(serve(Arc::clone(shared), client, target, resets));
}

/// One connection, from the connect to the target on.
async fn serve(shared: Arc<Shared>, client: TcpStream, target: SocketAddr, resets: u64) -> Ended {
    let mut control = shared.control.subscribe();
    let reset = control.wait_for(|control: &Control| control.resets != resets);
    let connected = tokio::select! {
        biased;
        _reset = reset => None,
        connected = timeout(CONNECT_WITHIN, connect(&client, target)) => {
            connected.ok().and_then(Result::ok)
        }
    };
    match connected {
        Some(target) => connection::run(shared, client, target, resets).await,
        None => {
            connection::reset(client);
            Ended::Reset
        }
    }
}

async fn connect(client: &TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    client.set_nodelay(true)?;
    let socket = open(target)?;
    // Until it is in use, dropping it is to reach the target as a reset.
    socket.set_zero_linger()?;
    let target = socket.connect(target).await?;
    SockRef::from(&target).set_linger(None)?;
    target.set_nodelay(true)?;
    Ok(target)
}
