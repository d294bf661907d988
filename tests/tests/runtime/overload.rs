//! An actor that gets more than it can handle: nobody's memory grows, and its neighbours go on.
//!
//! `VIODUCT_OVERLOAD_S=60 cargo test -p vioduct-tests --test runtime overload -- --nocapture` does
//! it for longer.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorRef, Node};
use vioduct_tests::cluster::Scratch;
use vioduct_tests::sleeper::{Count, Nap, Sleeper};

use crate::process::{anywhere, issue, start};
use crate::support::{BOUND, name};

const SENDERS: usize = 16;
const BALLAST_BYTES: usize = 1000;
/// How much more memory either side may use at the end than after a quarter of the time.
const GROWTH_MAX_KIB: u64 = 4096;
/// What the slow actor's neighbour may take longer meanwhile, and what is noise on a busy machine.
const SLOWER_MAX: f64 = 1.5;
const NOISE: Duration = Duration::from_millis(2);

fn overload_for() -> Duration {
    let seconds = std::env::var("VIODUCT_OVERLOAD_S").map_or(8, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// Resident memory of a process, KiB.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Asks one after another for this long; gives the time within which 99 of 100 were answered.
async fn p99(quick: &ActorRef<Sleeper>, time: Duration) -> Duration {
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let asked = Instant::now();
        quick.ask(Count, BOUND).await.unwrap();
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_overloaded_actor_costs_no_memory_and_its_neighbour_goes_on() {
    let dir = Scratch::create().unwrap();
    issue(dir.path());
    let credentials = Credentials::load(&dir.path().join("here"), UnixTime::now()).unwrap();
    let here = Node::builder(Arc::new(credentials)).workers(1).start().await.unwrap();
    let (process, addr) = start(&dir.path().join("there"), anywhere(), None).await;
    let there: NodeName = "there".parse().unwrap();
    here.connect(there.clone(), addr).await.unwrap();
    let slow: ActorRef<Sleeper> = here.lookup(&there, &name("slow")).await.unwrap();
    let quick: ActorRef<Sleeper> = here.lookup(&there, &name("sleeper")).await.unwrap();
    let quarter = overload_for() / 4;
    let before = p99(&quick, quarter).await;

    let mut senders = JoinSet::new();
    for _sender in 0..SENDERS {
        let slow = slow.clone();
        senders.spawn(async move {
            loop {
                slow.tell(Nap { ballast: vec![0; BALLAST_BYTES] }).await.unwrap();
            }
        });
    }
    let sides = [std::process::id(), process.id().unwrap()];
    // By then the window is full.
    let first = p99(&quick, quarter).await;
    let early = sides.map(resident_kib);
    let later = p99(&quick, 3 * quarter).await;
    let late = sides.map(resident_kib);
    senders.abort_all();
    eprintln!(
        "p99 of the neighbour: {before:?} before, {first:?} and {later:?} under overload; \
         memory of sender and receiver: {early:?}, then {late:?} KiB"
    );
    for (early, late) in early.into_iter().zip(late) {
        assert!(late < early + GROWTH_MAX_KIB, "{early} KiB grew to {late} KiB");
    }
    assert!(later < before.mul_f64(SLOWER_MAX) + NOISE, "{before:?} became {later:?}");
}
