//! A few threads for calls that wait for the kernel.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// Threads, and jobs that wait for them. Dropping it waits for all of its jobs.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    /// One for each job, waiting or under way.
    room: Semaphore,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("idle", &self.idle).finish()
    }
}

impl Pool {
    pub(super) fn new(threads: usize, queue_max: usize) -> io::Result<Self> {
        let queue = Queue { state: Mutex::default(), has_work: Condvar::new() };
        let room = Semaphore::new(threads + queue_max);
        let mut pool = Self { queue: Arc::new(queue), room, threads: Vec::new() };
        for number in 0..threads {
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new().name(format!("disk-{number}"));
            pool.threads.push(thread.spawn(move || queue.work())?);
        }
        Ok(pool)
    }

    /// Has a thread do `job`. `None` if the job panicked.
    ///
    /// Cancel-safety: once the job is queued it is done, whether somebody waits for it or not.
    pub(super) async fn run<T, F>(&self, job: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // Never closed.
        let _place = self.room.acquire().await.ok()?;
        let (result, outcome) = oneshot::channel();
        self.queue.push(Box::new(move || drop(result.send(job()))));
        outcome.await.ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.has_work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of a disk panicked");
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut state = self.lock();
        // Behind others it is seen by the thread that was woken for the first of them.
        let is_first = state.jobs.is_empty();
        state.jobs.push_back(job);
        self.wake(state, is_first);
    }

    /// Wakes one thread if there is work for it and it sleeps.
    ///
    /// One at a time, each waking the next: what is done in less time than it takes to wake a
    /// thread is then done by few of them.
    fn wake(&self, state: MutexGuard<'_, State>, has_work: bool) {
        let is_awaited = has_work && state.idle > 0;
        drop(state);
        if is_awaited {
            self.has_work.notify_one();
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // A job that panics must not take the thread along; its caller sees that it is gone.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a request of a disk panicked");
            }
        }
    }

    /// Waits for a job; `None` once there are none and none will come.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                let is_more = !state.jobs.is_empty();
                self.wake(state, is_more);
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            state = self.has_work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
