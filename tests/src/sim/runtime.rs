//! Spawning and timers of a simulated node.

use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::TokioRuntime;
use vioduct_transport::seam::{AsyncTimer, AsyncUdpSocket, Runtime};

use super::executor::{Driver, Spawner, Task};
use super::history::{Kind, Recorder};

/// Timers of the current turmoil host's tokio runtime, whose clock is paused, and tasks in an order
/// that the simulation decides.
#[derive(Debug)]
pub(super) struct SimRuntime(Spawner);

impl SimRuntime {
    /// Runs on the current turmoil host until that is crashed.
    pub(super) fn start(recorder: Recorder) -> Arc<Self> {
        let spawner = Spawner::default();
        tokio::spawn(Driver::new(spawner.clone(), move || recorder.record(Kind::Panicked)));
        Arc::new(Self(spawner))
    }
}

impl SimRuntime {
    /// How many tasks have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.0.alive()
    }
}

impl Runtime for SimRuntime {
    fn new_timer(&self, due: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(due)
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }

    fn wrap_udp_socket(&self, _socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the simulation has no real sockets"))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
