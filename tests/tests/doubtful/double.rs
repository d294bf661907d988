//! A storage of which one write can be held back, and whose cache can be lost.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::{Abilities, Device, Disk};
use vioduct_vios::repository::backing::Backing;

use super::client::{BLOCK, BOUND, SIZE};

struct Image {
    cache: Vec<u8>,
    durable: Vec<u8>,
}

/// Carries out what reaches it, whoever sent it.
pub(crate) struct Double {
    image: Arc<Mutex<Image>>,
    to_hold: Mutex<Option<Duration>>,
    /// Writes that are held back now, and that ever were.
    held: Arc<watch::Sender<usize>>,
    ever: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Double {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; usize::try_from(SIZE).unwrap()];
        let image = Image { cache: bytes.clone(), durable: bytes };
        Self {
            image: Arc::new(Mutex::new(image)),
            to_hold: Mutex::new(None),
            held: Arc::new(watch::Sender::new(0)),
            ever: AtomicUsize::new(0),
        }
    }

    /// The next write is carried out after so long, whatever becomes of its connection.
    pub(crate) fn hold_next(&self, time: Duration) {
        *lock(&self.to_hold) = Some(time);
    }

    /// Until a write is held back, or was.
    pub(crate) async fn holds(&self) {
        let mut held = self.held.subscribe();
        let is_there = held.wait_for(|_| self.ever.load(Ordering::Relaxed) > 0);
        timeout(BOUND, is_there).await.expect("a write is held back").unwrap();
    }

    /// Until nothing is held back.
    pub(crate) async fn let_go(&self) {
        let mut held = self.held.subscribe();
        timeout(BOUND, held.wait_for(|held| *held == 0)).await.expect("it lands").unwrap();
    }

    /// A power cut.
    pub(crate) fn lose_cache(&self) {
        let mut image = lock(&self.image);
        image.cache = image.durable.clone();
    }

    pub(crate) fn durable(&self, block: u64) -> u8 {
        lock(&self.image).durable[usize::try_from(block * u64::from(BLOCK)).unwrap()]
    }

    fn make_durable(&self) {
        let mut image = lock(&self.image);
        image.durable = image.cache.clone();
    }

    async fn hold(&self, time: Duration, request: Request) -> Result<Reply, Failure> {
        let (image, held) = (Arc::clone(&self.image), Arc::clone(&self.held));
        let (done, is_done) = oneshot::channel();
        let until = Instant::now() + time;
        self.ever.fetch_add(1, Ordering::Relaxed);
        held.send_modify(|held| *held += 1);
        tokio::spawn(async move {
            sleep_until(until).await;
            done.send(perform(&mut lock(&image), &request)).ok();
            held.send_modify(|held| *held -= 1);
        });
        is_done.await.unwrap()
    }
}

fn range(extent: Extent) -> std::ops::Range<usize> {
    let start = usize::try_from(extent.offset).unwrap();
    start..start + extent.length as usize
}

fn perform(image: &mut Image, request: &Request) -> Result<Reply, Failure> {
    match request {
        Request::Read { extent } => {
            return Ok(Reply::Data(Bytes::copy_from_slice(&image.cache[range(*extent)])));
        }
        Request::Write { data, .. } => {
            let range = range(request.extent().unwrap());
            image.cache[range].copy_from_slice(data);
        }
        Request::Flush => image.durable = image.cache.clone(),
        Request::Trim { .. } | Request::WriteZeroes { .. } | Request::Status { .. } => {
            return Err(Failure::NotSupported);
        }
    }
    Ok(Reply::Done)
}

impl Disk for Double {
    type Error = Failure;

    fn device(&self) -> Device {
        let (is_shared, can_flush) = (true, true);
        Device {
            abilities: Abilities { is_shared, can_flush, ..Abilities::default() },
            ..Device::new(SIZE)
        }
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.device().admit(&request)?;
        let is_write = matches!(request, Request::Write { .. });
        let time = if is_write { lock(&self.to_hold).take() } else { None };
        match time {
            Some(time) => self.hold(time, request).await,
            None => perform(&mut lock(&self.image), &request),
        }
    }
}

/// The same storage as the bytes of an LU.
pub(crate) struct Behind(pub(crate) Arc<Double>);

impl Disk for Behind {
    type Error = Failure;

    fn device(&self) -> Device {
        self.0.device()
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.0.execute(request).await
    }
}

impl Backing for Behind {
    fn sync(&self) -> io::Result<()> {
        self.0.make_durable();
        Ok(())
    }

    fn grown(&self, _size: u64) {}
}
