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
    /// Each thread sleeps on its own.
    has_work: Box<[Condvar]>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that sleep, by number. The one that worked last is the next to work: what it needs
    /// is still in its core's caches.
    idle: Vec<usize>,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("idle", &self.idle).finish()
    }
}

impl Pool {
    pub(super) fn new(threads: usize, queue_max: usize) -> io::Result<Self> {
        let has_work = (0..threads).map(|_thread| Condvar::new()).collect();
        let queue = Queue { state: Mutex::default(), has_work };
        let room = Semaphore::new(threads + queue_max);
        let mut pool = Self { queue: Arc::new(queue), room, threads: Vec::new() };
        for number in 0..threads {
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new().name(format!("disk-{number}"));
            pool.threads.push(thread.spawn(move || queue.work(number))?);
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
        for sleeper in &self.queue.has_work {
            sleeper.notify_one();
        }
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
    fn wake(&self, mut state: MutexGuard<'_, State>, has_work: bool) {
        let sleeper = if has_work { state.idle.pop() } else { None };
        drop(state);
        if let Some(sleeper) = sleeper.and_then(|number| self.has_work.get(number)) {
            sleeper.notify_one();
        }
    }

    fn work(&self, number: usize) {
        let Some(sleeper) = self.has_work.get(number) else { return };
        while let Some(job) = self.next(number, sleeper) {
            // A job that panics must not take the thread along; its caller sees that it is gone.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a request of a disk panicked");
            }
        }
    }

    /// Waits for a job; `None` once there are none and none will come.
    fn next(&self, number: usize, sleeper: &Condvar) -> Option<Job> {
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
            state.idle.push(number);
            state = sleeper.wait(state).unwrap_or_else(PoisonError::into_inner);
            // Nobody has, when it woke by itself or for the end.
            state.idle.retain(|idle| *idle != number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_fell_asleep_last_is_woken_and_one_for_many_jobs() {
        let queue = Queue {
            state: Mutex::new(State { idle: vec![2, 0, 1], ..State::default() }),
            has_work: (0..3).map(|_thread| Condvar::new()).collect(),
        };
        queue.push(Box::new(|| ()));
        assert_eq!(queue.lock().idle, [2, 0]);
        queue.push(Box::new(|| ()));
        assert_eq!(queue.lock().idle, [2, 0], "it wakes the next one when it has begun");
        assert!(queue.next(1, &Condvar::new()).is_some());
        assert_eq!(queue.lock().idle, [2]);
    }
}
