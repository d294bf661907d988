//! Time as the link machines see it, and the one place where it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{AsyncTimer, Runtime};

/// Monotonic time: nanoseconds since the endpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Instant(u64);

impl Instant {
    /// The moment the endpoint was made.
    pub(crate) const START: Self = Self(0);

    /// This moment and `wait` more.
    #[must_use]
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time since `earlier`; zero when that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Reads the surroundings' monotonic clock and makes timers on it.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    runtime: Arc<dyn Runtime>,
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let origin = runtime.now();
        Self { runtime, origin }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::START.after(self.runtime.now().saturating_duration_since(self.origin))
    }

    /// A timer that is not armed.
    pub(crate) fn timer(&self) -> Timer {
        Timer { clock: self.clone(), inner: None, due: None }
    }

    /// Runs `work` for at most `wait`; `None` when it was not done by then.
    pub(crate) async fn within<F: Future>(&self, wait: Duration, work: F) -> Option<F::Output> {
        let mut timer = self.timer();
        timer.arm(Some(self.now().after(wait)));
        tokio::select! {
            biased;
            output = work => Some(output),
            () = timer.expired() => None,
        }
    }

    fn to_std(&self, at: Instant) -> std::time::Instant {
        let since = at.since(Instant::START);
        // A moment too far away to be written is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        self.origin.checked_add(since).unwrap_or_else(|| self.runtime.now() + year)
    }
}

/// A timer that can be armed again and again.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: Clock,
    inner: Option<Pin<Box<dyn AsyncTimer>>>,
    due: Option<Instant>,
}

impl Timer {
    /// Sets when the timer expires; `None` is never.
    pub(crate) fn arm(&mut self, due: Option<Instant>) {
        if self.due == due && due.is_some() {
            return;
        }
        self.due = due;
        let Some(due) = due else { return };
        let at = self.clock.to_std(due);
        match &mut self.inner {
            Some(timer) => timer.as_mut().reset(at),
            None => self.inner = Some(self.clock.runtime.new_timer(at)),
        }
    }

    /// Waits until the timer expires, then disarms it. Cancel-safe.
    pub(crate) async fn expired(&mut self) {
        poll_fn(|cx| match (&mut self.inner, self.due) {
            (Some(timer), Some(_)) => timer.as_mut().poll(cx),
            _ => std::task::Poll::Pending,
        })
        .await;
        self.due = None;
    }
}
