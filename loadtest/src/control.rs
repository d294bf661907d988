//! What leads a run: the thread it is on, signals, and a line each second.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::interval;

use crate::schedule::{Halt, Kept};
use crate::signals::Signals;

/// Runs to the end. Links and senders share a thread: a message crosses none but its pacer's.
pub(crate) fn on_one_thread<T>(measure: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("can't start the runtime")?;
    let result = LocalSet::new().block_on(&runtime, measure);
    runtime.shutdown_background();
    result
}

/// Hears signals, and tells the senders.
#[derive(Debug)]
pub(crate) struct Control {
    signals: Signals,
    /// How often one came.
    halt: watch::Sender<u8>,
    is_shown: bool,
}

impl Control {
    /// Lines are shown on a terminal, and wherever they are asked for.
    pub(crate) fn begin(wants_progress: bool) -> Result<Self> {
        let is_shown = wants_progress || std::io::stderr().is_terminal();
        Ok(Self { signals: Signals::listen()?, halt: watch::Sender::new(0), is_shown })
    }

    pub(crate) fn told(&self) -> Halt {
        Halt(self.halt.subscribe())
    }

    /// With which a run can be ended by what happens in it.
    pub(crate) fn teller(&self) -> watch::Sender<u8> {
        self.halt.clone()
    }

    pub(crate) fn is_told(&self) -> bool {
        *self.halt.borrow() > 0
    }

    /// What has to be done before the load; any signal ends it, and the run.
    pub(crate) async fn before<T>(
        &mut self,
        first: &str,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = future => done,
            () = self.signals.next() => bail!("stopped before the first {first}"),
        }
    }

    /// Until every sender is done. The first signal stops the sending, the second the waiting.
    /// `show` is called with each second that has passed, if it is to be shown.
    pub(crate) async fn drive(
        &mut self,
        mut drivers: JoinSet<Kept>,
        mut show: impl FnMut(u64),
    ) -> Result<Kept> {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await; // The first is now.
        let (mut kept, mut second) = (Kept::default(), 0);
        loop {
            tokio::select! {
                joined = drivers.join_next() => match joined {
                    None => return Ok(kept),
                    Some(Ok(one)) => kept.add(one),
                    // The second signal has ended it.
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Err(error)) => return Err(error).context("a sender ended by itself"),
                },
                _over = seconds.tick() => {
                    second += 1;
                    if self.is_shown {
                        show(second);
                    }
                }
                () = self.signals.next() => {
                    if self.hear() {
                        drivers.abort_all();
                    }
                }
            }
        }
    }

    /// What is done after the load; none if a signal other than the run's first one ended it.
    pub(crate) async fn after<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Some(done),
                () = self.signals.next() => {
                    if self.hear() {
                        return None;
                    }
                }
            }
        }
    }

    /// Tells of a signal; whether nothing more is waited for.
    fn hear(&self) -> bool {
        self.halt.send_modify(|told| *told = told.saturating_add(1));
        *self.halt.borrow() > 1
    }
}
