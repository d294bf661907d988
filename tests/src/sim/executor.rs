//! Runs the transport's tasks of one node in an order that only the simulation decides.
//!
//! tokio wakes the waiters of a `watch` in an order of its own randomness, which cannot be seeded
//! without `--cfg tokio_unstable`. Here a wake only marks a task; all that are marked are polled in
//! the order in which they were spawned, round by round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::unconstrained;

/// A task of the transport.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct State {
    spawned: u64,
    /// Not polled yet.
    new: Vec<(u64, Task)>,
    woken: BTreeSet<u64>,
    /// Tasks that have not ended.
    alive: usize,
    driver: Option<Waker>,
    /// The driver was dropped: nothing runs any more.
    is_over: bool,
}

/// Takes tasks. Clones give them to the same [`Driver`].
#[derive(Clone, Default)]
pub(super) struct Spawner(Arc<Mutex<State>>);

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

impl Spawner {
    pub(super) fn spawn(&self, task: Task) {
        let mut state = self.state();
        if state.is_over {
            drop(state);
            // It may hold what spawns, and so itself: kept, it would never go.
            return drop(task);
        }
        state.spawned += 1;
        state.alive += 1;
        let id = state.spawned;
        state.new.push((id, task));
        state.wake(id);
    }

    /// How many tasks have not ended.
    pub(super) fn alive(&self) -> usize {
        self.state().alive
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, id: u64) {
        self.woken.insert(id);
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

struct TaskWaker {
    id: u64,
    spawner: Spawner,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.spawner.state().wake(self.id);
    }
}

/// Polls the tasks of one [`Spawner`]; never ready. Dropping it drops them all.
pub(super) struct Driver<F> {
    spawner: Spawner,
    tasks: BTreeMap<u64, Task>,
    on_panic: F,
}

impl<F: FnMut()> Driver<F> {
    /// `on_panic` is called for each task that panics; tokio would keep it to itself, as nobody
    /// joins the transport's tasks.
    pub(super) fn new(spawner: Spawner, on_panic: F) -> Self {
        Self { spawner, tasks: BTreeMap::new(), on_panic }
    }

    fn poll_task(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let waker = Waker::from(Arc::new(TaskWaker { id, spawner: self.spawner.clone() }));
        let mut cx = Context::from_waker(&waker);
        // Without this, the tasks of a round would share the poll budget of one tokio task.
        let mut polled = unconstrained(std::future::poll_fn(|cx| {
            Poll::Ready(catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))))
        }));
        match Pin::new(&mut polled).poll(&mut cx) {
            Poll::Ready(Ok(Poll::Pending)) | Poll::Pending => return,
            Poll::Ready(Ok(Poll::Ready(()))) => {}
            Poll::Ready(Err(_panic)) => (self.on_panic)(),
        }
        self.tasks.remove(&id);
        self.spawner.state().alive -= 1;
    }
}

impl<F: FnMut() + Unpin> Future for Driver<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let round = {
            let mut state = self.spawner.state();
            let (new, woken) = (std::mem::take(&mut state.new), std::mem::take(&mut state.woken));
            drop(state);
            self.tasks.extend(new);
            woken
        };
        for id in round {
            self.poll_task(id);
        }
        let mut state = self.spawner.state();
        if state.woken.is_empty() {
            state.driver = Some(cx.waker().clone());
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<F> Drop for Driver<F> {
    fn drop(&mut self) {
        // Tasks that were never polled hold the spawner that holds them.
        let new = {
            let mut state = self.spawner.state();
            state.is_over = true;
            std::mem::take(&mut state.new)
        };
        drop(new);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn waiters_of_a_watch_run_in_the_order_they_were_spawned() {
        for _round in 0..50 {
            let (spawner, sender) = (Spawner::default(), watch::Sender::new(false));
            let order = Arc::new(Mutex::new(Vec::new()));
            for number in 0..10 {
                let (mut values, order) = (sender.subscribe(), Arc::clone(&order));
                spawner.spawn(Box::pin(async move {
                    values.wait_for(|is_set| *is_set).await.unwrap();
                    order.lock().unwrap().push(number);
                }));
            }
            let driver = tokio::spawn(Driver::new(spawner.clone(), || {}));
            tokio::task::yield_now().await;
            sender.send_replace(true);
            tokio::task::yield_now().await;
            assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..10));
            driver.abort();
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_and_hurts_no_other_task() {
        let (spawner, panics) = (Spawner::default(), Arc::new(AtomicU32::new(0)));
        let (done, is_done) = tokio::sync::oneshot::channel();
        spawner.spawn(Box::pin(async { panic!("expected by the test") }));
        spawner.spawn(Box::pin(async move { done.send(()).unwrap() }));
        let counted = Arc::clone(&panics);
        let on_panic = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let driver = tokio::spawn(Driver::new(spawner, on_panic));
        is_done.await.unwrap();
        assert_eq!(panics.load(Ordering::Relaxed), 1);
        driver.abort();
    }
}
