//! Where actors run: threads with a local set each, or the local set of a simulated host.
//!
//! actix needs a local set, and its arbiters cannot live on a simulated host: jobs are carried to
//! workers as plain functions, so that the same actors run in both.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use actix::System;
use tokio::sync::mpsc;

/// Jobs that wait for a worker; one is placing an actor, not a message.
const JOBS_MAX: usize = 1024;
/// Most workers of a node.
pub const WORKERS_MAX: usize = 256;

/// Something to be done on a worker's local set.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Where a node's actors run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosting {
    /// So many threads of their own.
    Threads(usize),
    /// The local set of the task that starts the node.
    Here,
}

impl Hosting {
    pub(crate) const fn workers(self) -> usize {
        match self {
            Self::Threads(count) => count,
            Self::Here => 1,
        }
    }
}

/// The workers of one node. Dropping it ends them, and all that runs on them.
#[derive(Debug)]
pub(crate) struct Workers {
    jobs: Vec<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    next: AtomicUsize,
}

impl Workers {
    pub(crate) fn start(hosting: Hosting, name: &str) -> std::io::Result<Self> {
        let (mut jobs, mut threads) = (Vec::new(), Vec::new());
        match hosting {
            Hosting::Here => {
                let (sender, received) = mpsc::channel(JOBS_MAX);
                tokio::task::spawn_local(work(received));
                jobs.push(sender);
            }
            Hosting::Threads(count) => {
                for index in 0..count {
                    let (sender, received) = mpsc::channel(JOBS_MAX);
                    // The kernel keeps fifteen bytes of a thread's name.
                    let thread = std::thread::Builder::new().name(format!("{index}-{name}"));
                    threads.push(thread.spawn(move || System::new().block_on(work(received)))?);
                    jobs.push(sender);
                }
            }
        }
        Ok(Self { jobs, threads, next: AtomicUsize::new(0) })
    }

    pub(crate) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// The workers in turn.
    pub(crate) fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.jobs.len().max(1)
    }

    /// Has a worker do something. False when there is no such worker any more.
    pub(crate) async fn place(&self, worker: usize, job: Job) -> bool {
        match self.jobs.get(worker) {
            Some(jobs) => jobs.send(job).await.is_ok(),
            None => false,
        }
    }

    /// Ends the workers, and waits for their threads.
    pub(crate) async fn stop(mut self) {
        self.jobs.clear();
        let threads = std::mem::take(&mut self.threads);
        if threads.is_empty() {
            return;
        }
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        // Fails only when the embedder's runtime is itself going down.
        tokio::task::spawn_blocking(join).await.ok();
    }
}

async fn work(mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        job();
    }
}
