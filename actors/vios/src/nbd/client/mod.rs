//! A disk that a remote NBD server holds, over one connection.
//!
//! It never connects again by itself: a server that comes back may have forgotten what it
//! acknowledged, and who holds the client's session decides what follows.
//!
//! What became of a request when the connection ended is in the error: [`RequestError::NotSent`]
//! if no byte of it was given to the kernel, [`RequestError::Unanswered`] otherwise.

mod config;
mod connect;
mod driver;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::block::{Failure, Reply, Request};
use crate::disk::{Device, DeviceError, Disk};
use crate::nbd::assembly::ReplyError;
use crate::nbd::handshake::HandshakeError;

pub use config::{Address, Config, TcpOptions};

/// Why there is no connection. Performed: nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server could not be reached. Fault: the network, the server, or the operator.
    #[error("connection: {0}")]
    Connection(#[from] std::io::Error),
    /// It took longer than [`Config::connect_timeout`].
    #[error("neither connected nor greeted in time")]
    Slow,
    /// The server hung up before the handshake was over.
    #[error("the server hung up during the handshake")]
    HungUp,
    /// The handshake came to nothing.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// What the server says of its disk makes no sense. Fault: the server.
    #[error("the server's disk: {0}")]
    Device(#[from] DeviceError),
    /// A setting is out of its range. Fault: the operator.
    #[error("requests_max is {value}; it must be 1 to 65536")]
    Setting {
        /// What it is.
        value: usize,
    },
}

/// Why a request was not carried out, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No byte of it was sent: the connection was over before. Performed: no, and it never will
    /// be.
    #[error("not sent: {0}")]
    NotSent(LinkEnd),
    /// It was sent, at least in part, and the connection ended without an answer. Performed:
    /// unknown; it may still be carried out later.
    #[error("sent, but not answered: {0}")]
    Unanswered(LinkEnd),
    /// The server's answer, or what this client knows of its disk.
    #[error(transparent)]
    Device(#[from] Failure),
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotSent(_) | RequestError::Unanswered(_) => Self::Io,
            RequestError::Device(failure) => failure,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// This side closed it.
    #[error("closed by this side")]
    Closed,
    /// The server closed it.
    #[error("the server hung up")]
    HungUp,
    /// It failed, or the server was silent for longer than the socket's time-out.
    #[error("connection: {0}")]
    Connection(std::io::ErrorKind),
    /// The server's bytes were no replies.
    #[error("the server's reply: {0}")]
    Garbage(ReplyError),
    /// The moment had come from which on nothing was to be sent.
    #[error("nothing may be sent any more")]
    Expired,
    /// The runtime that drove it is gone.
    #[error("the connection's task is gone")]
    Gone,
}

/// A remote server's disk. Dropping it cuts the connection; [`close`](Self::close) ends it in
/// order.
#[derive(Debug)]
pub struct Remote {
    device: Device,
    requests: mpsc::Sender<Call>,
    end: watch::Receiver<Option<LinkEnd>>,
    cut: Arc<Notify>,
    gate: Arc<Gate>,
    driver: JoinHandle<()>,
}

/// One request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Call {
    request: Request,
    waiter: Waiter,
}

/// Until when something may be given to the kernel.
#[derive(Debug, Default)]
struct Gate(Mutex<Option<Instant>>);

impl Gate {
    fn is_shut(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until <= Instant::now())
    }
}

type Waiter = oneshot::Sender<Result<Reply, RequestError>>;

impl Remote {
    /// Connects, and agrees with the server on what the disk can do. Needs a tokio runtime, which
    /// also drives the connection.
    ///
    /// Cancel-safety: dropping the future drops the connection.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(address: &Address, config: &Config) -> Result<Self, ConnectError> {
        connect::connect(address, config).await
    }

    /// The end of the connection, once there is one: its socket is closed then. Cancel-safe.
    pub async fn ended(&self) -> LinkEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(LinkEnd::Gone),
            Err(_driver_gone) => LinkEnd::Gone,
        }
    }

    /// Ends the connection at once, and waits until its socket is closed. Every request that is
    /// under way ends with [`RequestError::NotSent`] or [`RequestError::Unanswered`].
    ///
    /// Cancel-safety: once polled, the connection ends all the same.
    pub async fn cut(&self) -> LinkEnd {
        self.cut.notify_one();
        self.ended().await
    }

    /// From `until` on nothing more is given to the kernel: whatever would be ends the connection
    /// with [`LinkEnd::Expired`]. It holds also for a process that was stopped and runs again.
    pub fn allow_until(&self, until: Instant) {
        *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Waits for what is under way, and takes leave of the server.
    ///
    /// Cancel-safety: dropping the future cuts the connection.
    pub async fn close(mut self) {
        let (closed, _none) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.requests, closed));
        // An error says that the driver has ended, which is what is waited for.
        drop(self.end.wait_for(Option::is_some).await);
    }

    fn not_sent(&self) -> RequestError {
        RequestError::NotSent(self.end.borrow().clone().unwrap_or(LinkEnd::Gone))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Disk for Remote {
    type Error = RequestError;

    fn device(&self) -> Device {
        self.device
    }

    async fn execute(&self, request: Request) -> Result<Reply, RequestError> {
        let (waiter, answer) = oneshot::channel();
        let call = Call { request, waiter };
        if self.requests.send(call).await.is_err() {
            return Err(self.not_sent());
        }
        match answer.await {
            Ok(result) => result,
            // The driver was ended with the request in its queue, or on its way: nobody knows.
            Err(_gone) => {
                let end = self.end.borrow().clone().unwrap_or(LinkEnd::Gone);
                Err(RequestError::Unanswered(end))
            }
        }
    }
}
