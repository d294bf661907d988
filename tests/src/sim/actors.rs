//! Actors of the real runtime on two simulated nodes, in virtual time, from a seed.
//!
//! One node asks and tells an actor on the other, while the way between is cut, and either node
//! crashes. They meet by a link to a known address, or as members of one cluster, of which one that
//! is expelled starts anew. [`run`] gives what each side saw; it is the same whenever the same seed
//! runs.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::NameError;
use vioduct_runtime::membership::{MembershipConfig, Seed};
use vioduct_runtime::{
    Access, ActorName, ActorRef, AskError, Cancellable, ClusterConfig, Node, NotDelivered,
    RemoteMessage, Standing,
};
use vioduct_transport::TransportConfig;
use vioduct_transport::seam::{ResetSecret, Runtime, Surroundings};

use super::clock::SimClock;
use super::history::Recorder;
use super::identity::{Held, SimCa};
use super::message::NodeId;
use super::runtime::SimRuntime;
use super::socket::SimSocket;
use super::weather::{Conditions, Weather};
use super::world::SimError;

const ASKER: NodeId = NodeId(1);
const ANSWERER: NodeId = NodeId(2);
const PORT: u16 = 7400;
const TICK: Duration = Duration::from_millis(1);
/// Faults happen until then, virtual milliseconds.
const FAULTS_END_MS: u64 = 9000;
/// By then everything has recovered.
const RECOVERED_MS: u64 = 13_000;
const END_MS: u64 = 15_000;
const DEADLINE: Duration = Duration::from_millis(400);
/// Answers of odd messages come this much later.
const WORK: Duration = Duration::from_millis(30);
/// How often the asker sends many messages at once: more than there is credit for.
const BURSTS: f64 = 0.05;
/// How many.
const BURST_MESSAGES: u32 = 100;
/// Messages of one run of the asker have numbers below this, and those of the next above it.
const RUN_NUMBERS: u64 = 1 << 32;
/// Credit of the asker, bytes.
const WINDOW: u32 = 4 << 10;
const ACTOR: &str = "answerer";

/// How the two nodes find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// The asker links to the answerer, and looks the actor up there.
    ByLink,
    /// Each is a seed of the other's cluster, and the name is found in it.
    ByMembership,
}

/// What happened, and when, in virtual milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// When.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// The actor was called, in this run of its node.
    Handled {
        /// The run.
        run: u64,
        /// Number of the message.
        number: u64,
    },
    /// The asker was told of a message.
    Told {
        /// Number of the message.
        number: u64,
        /// What.
        fate: Fate,
    },
    /// No reference was to be had.
    NoReference,
    /// A run of a node was told that it is over.
    Expelled {
        /// Which node.
        node: NodeId,
        /// The run.
        run: u64,
    },
}

/// What was told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was answered.
    Answered,
    /// It was not handled, and will not be.
    Not,
    /// It may be.
    Maybe,
    /// The answer is another message's.
    Wrong,
}

#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "sim.Number")]
struct Number(u64);

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<Entry>>>);

impl Trace {
    fn add(&self, clock: &SimClock, what: What) {
        let entry = Entry { at_ms: clock.now_ms(), what };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

struct Answerer {
    run: u64,
    trace: Trace,
    clock: SimClock,
}

impl Actor for Answerer {
    type Context = Context<Self>;
}

impl Handler<Number> for Answerer {
    type Result = Cancellable<u64>;

    fn handle(&mut self, Number(number): Number, _ctx: &mut Self::Context) -> Self::Result {
        self.trace.add(&self.clock, What::Handled { run: self.run, number });
        let due = Instant::now() + WORK;
        Cancellable::new(async move {
            if number % 2 == 1 {
                sleep_until(due).await;
            }
            number
        })
    }
}

/// Nodes that wait to be started again.
type Ended = Arc<Mutex<BTreeSet<NodeId>>>;

/// What a node of the simulation needs, again and again.
struct Site {
    meeting: Meeting,
    node: NodeId,
    addr: SocketAddr,
    other: SocketAddr,
    seed: u64,
    held: Held,
    weather: Arc<Mutex<Weather>>,
    clock: SimClock,
    recorder: Recorder,
    runs: AtomicU64,
    trace: Trace,
    ended: Ended,
}

/// Times short enough for every time-out to be met within a simulation.
pub(super) fn config() -> TransportConfig {
    TransportConfig {
        keep_alive: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(800),
        handshake_timeout: Duration::from_secs(1),
        unreachable_after: Duration::from_millis(600),
        backoff_max: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(500),
        segmentation_offload: false,
        ..TransportConfig::default()
    }
}

impl Site {
    /// A random generator of its own for each purpose and run.
    fn rng(&self, purpose: u64, run: u64) -> StdRng {
        let mut seed = [0; 32];
        let words = [self.seed, u64::from(self.node.0), purpose, run];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        StdRng::from_seed(seed)
    }

    async fn start(&self, run: u64) -> Result<Node, Box<dyn std::error::Error>> {
        let runtime = SimRuntime::start(self.recorder.of_node(self.node, run));
        let socket =
            SimSocket::bind(self.addr, Arc::clone(&self.weather), self.clock.clone()).await?;
        let surroundings = Surroundings {
            runtime: runtime as Arc<dyn Runtime>,
            socket,
            wall_clock: Arc::new(self.clock.clone()),
            seed: self.rng(1, run).random(),
            reset_secret: ResetSecret::from([7; 32]),
        };
        let builder = Node::builder(Arc::clone(&self.held.credentials)).on_this_local_set();
        let mut builder = builder.incarnation(run).transport(config());
        if self.meeting == Meeting::ByMembership {
            builder = builder.cluster(self.cluster()?);
        }
        Ok(builder.surroundings(surroundings).start().await?)
    }

    fn cluster(&self) -> Result<ClusterConfig, NameError> {
        let other = if self.node == ASKER { ANSWERER } else { ASKER };
        let membership = MembershipConfig {
            probe_period: Duration::from_millis(200),
            probe_rtt: Duration::from_millis(90),
            gossip_period: Duration::from_millis(100),
            join_period: Duration::from_millis(200),
            heal_period: Duration::from_secs(1),
            ..MembershipConfig::default()
        };
        let seeds = vec![Seed { node: other.to_string().parse()?, addr: self.other }];
        Ok(ClusterConfig { seeds, advertise: Some(self.addr), membership })
    }

    /// Whether this run of the node is over for the others.
    fn is_expelled(&self, node: &Node, run: u64) -> bool {
        let standing = node.cluster().map(|view| view.standing);
        let is_expelled = standing.is_some_and(|standing| standing != Standing::Member);
        if is_expelled {
            self.trace.add(&self.clock, What::Expelled { node: self.node, run });
        }
        is_expelled
    }

    fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed) + 1
    }
}

async fn answer(site: Arc<Site>) -> turmoil::Result {
    let run = site.next_run();
    let node = site.start(run).await?;
    let (trace, clock) = (site.trace.clone(), site.clock.clone());
    let make = move || Answerer { run, trace: trace.clone(), clock: clock.clone() };
    let actor = node.actor(make).named(ActorName::new(ACTOR)?);
    actor.accept::<Number>(Access::nodes()).window(WINDOW).start().await?;
    node.cluster_is(|view| view.standing != Standing::Member).await;
    site.is_expelled(&node, run);
    start_anew(site, node).await
}

/// Ends an expelled node in order, and has its process started again.
async fn start_anew(site: Arc<Site>, node: Node) -> turmoil::Result {
    node.shutdown(Duration::ZERO).await;
    site.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(site.node);
    pending().await
}

async fn ask(site: Arc<Site>) -> turmoil::Result {
    let run = site.next_run();
    let node = site.start(run).await?;
    if site.meeting == Meeting::ByLink {
        node.connect(ANSWERER.to_string().parse()?, site.other).await?;
    }
    ask_from(&site, &node, run).await;
    start_anew(site, node).await
}

/// Asks and tells until this run is expelled.
async fn ask_from(site: &Site, node: &Node, run: u64) {
    let mut rng = site.rng(2, run);
    let (mut actor, mut burst) = (None, 0);
    for number in run * RUN_NUMBERS.. {
        if site.is_expelled(node, run) {
            return;
        }
        if burst == 0 {
            let pause = Duration::from_millis(rng.random_range(1..40));
            sleep_until(Instant::now() + pause).await;
            burst = if rng.random_bool(BURSTS) { BURST_MESSAGES } else { 1 };
        }
        burst -= 1;
        let known = match actor.take() {
            Some(known) => known,
            None => match find(site, node).await {
                Ok(found) => found,
                Err(_reason) => {
                    site.trace.add(&site.clock, What::NoReference);
                    burst = 0;
                    continue;
                }
            },
        };
        let is_ask = burst == 0 && rng.random_bool(0.5);
        let (fate, is_good) = send(&known, number, is_ask).await;
        actor = is_good.then_some(known);
        site.trace.add(&site.clock, What::Told { number, fate });
    }
}

async fn find(site: &Site, node: &Node) -> Result<ActorRef<Answerer>, Box<dyn std::error::Error>> {
    let name = ActorName::new(ACTOR)?;
    Ok(match site.meeting {
        Meeting::ByLink => node.lookup(&ANSWERER.to_string().parse()?, &name).await?,
        Meeting::ByMembership => node.find_within(&name, DEADLINE).await?,
    })
}

/// What was told, and whether the reference is still good.
async fn send(actor: &ActorRef<Answerer>, number: u64, is_ask: bool) -> (Fate, bool) {
    let is_good = |reason: &NotDelivered| {
        !matches!(reason, NotDelivered::Gone { .. } | NotDelivered::Restarted { .. })
    };
    if is_ask {
        return match actor.ask(Number(number), DEADLINE).await {
            Ok(answer) if answer == number => (Fate::Answered, true),
            Ok(_other) => (Fate::Wrong, false),
            Err(AskError::NotDelivered(reason)) => (Fate::Not, is_good(&reason)),
            Err(AskError::MaybeDelivered(_doubt)) => (Fate::Maybe, true),
        };
    }
    match actor.tell(Number(number)).await {
        Ok(()) => (Fate::Maybe, true),
        Err(not) => (Fate::Not, is_good(&not.reason)),
    }
}

/// Runs one simulation to its end, and gives what happened.
///
/// # Errors
/// [`SimError`] when it cannot be run.
pub fn run(seed: u64, meeting: Meeting) -> Result<Vec<Entry>, SimError> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .min_message_latency(TICK)
        .max_message_latency(TICK)
        .udp_capacity(4096)
        .simulation_duration(Duration::from_millis(2 * END_MS))
        .build();
    let (clock, trace, weather) =
        (SimClock::default(), Trace::default(), Arc::<Mutex<Weather>>::default());
    let ended = Ended::default();
    let recorder = Recorder::new(clock.clone());
    let mut ca = SimCa::new()?;
    let [asker, answerer] = [ASKER, ANSWERER].map(|node| sim.lookup(node.to_string()));
    let conditions = Conditions {
        delay_ms: 2,
        jitter_ms: 3,
        overtaking_per_mille: 10,
        lost_per_mille: 30,
        doubled_per_mille: 10,
    };
    for (number, from, to) in [(0, asker, answerer), (1, answerer, asker)] {
        let mut weather = weather.lock().unwrap_or_else(PoisonError::into_inner);
        weather.add(from, to, conditions, seed.wrapping_mul(2).wrapping_add(number));
    }
    for (node, addr, other) in [(ASKER, asker, answerer), (ANSWERER, answerer, asker)] {
        let site = Arc::new(Site {
            meeting,
            node,
            addr: SocketAddr::new(addr, PORT),
            other: SocketAddr::new(other, PORT),
            seed,
            held: ca.issue(node, clock.wall(), None)?,
            weather: Arc::clone(&weather),
            clock: clock.clone(),
            recorder: recorder.clone(),
            runs: AtomicU64::new(0),
            trace: trace.clone(),
            ended: Arc::clone(&ended),
        });
        let is_asker = node == ASKER;
        sim.host(node.to_string(), move || {
            let site = Arc::clone(&site);
            async move { if is_asker { ask(site).await } else { answer(site).await } }
        });
    }
    step_through(&mut sim, seed, &clock, &ended)?;
    drop(sim);
    let trace = std::mem::take(&mut *trace.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(trace)
}

/// Steps to the end, with a fault now and then: a cut of one or both ways, or a crash.
fn step_through(
    sim: &mut turmoil::Sim<'_>,
    seed: u64,
    clock: &SimClock,
    ended: &Ended,
) -> Result<(), SimError> {
    let (asker, answerer) = (ASKER.to_string(), ANSWERER.to_string());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut next_ms = rng.random_range(500..1500);
    let mut is_faulty = false;
    loop {
        let now_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        clock.set_ms(now_ms);
        if now_ms >= END_MS {
            return Ok(());
        }
        if now_ms >= next_ms && (is_faulty || now_ms < FAULTS_END_MS) {
            if is_faulty {
                sim.repair(&*asker, &*answerer);
            } else {
                match rng.random_range(0..5) {
                    0 => sim.partition(&*asker, &*answerer),
                    1 => sim.partition_oneway(&*asker, &*answerer),
                    2 => sim.partition_oneway(&*answerer, &*asker),
                    3 => sim.bounce(&*asker),
                    _crash => sim.bounce(&*answerer),
                }
            }
            is_faulty = !is_faulty;
            next_ms = now_ms + rng.random_range(200..2500);
        }
        let again = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
        again.iter().for_each(|node| sim.bounce(node.to_string()));
        sim.step().map_err(|error| {
            let reason = error.to_string();
            SimError::Node { seed, at_ms: now_ms, reason }
        })?;
    }
}

/// What a history breaks of what the runtime promises; none when it keeps everything.
#[must_use]
pub fn breach(trace: &[Entry]) -> Option<String> {
    let mut handled = BTreeSet::new();
    let mut last = BTreeMap::new();
    for Entry { at_ms, what } in trace {
        if let What::Handled { run, number } = what {
            if !handled.insert(*number) {
                return Some(format!("{at_ms} ms: {number} is handled twice"));
            }
            let sender = number / RUN_NUMBERS;
            if last.insert((*run, sender), *number).is_some_and(|earlier| earlier >= *number) {
                return Some(format!("{at_ms} ms: {number} is handled out of order"));
            }
        }
    }
    let mut answered_at_last = 0;
    for Entry { at_ms, what } in trace {
        let What::Told { number, fate } = what else { continue };
        match (fate, handled.contains(number)) {
            (Fate::Answered, false) => {
                return Some(format!("{at_ms} ms: {number} was answered and never handled"));
            }
            (Fate::Not, true) => {
                return Some(format!("{at_ms} ms: {number} was not delivered, and handled"));
            }
            (Fate::Wrong, _) => {
                return Some(format!("{at_ms} ms: {number} got the answer to another"));
            }
            (Fate::Answered, true) if *at_ms > RECOVERED_MS => answered_at_last += 1,
            (Fate::Answered | Fate::Not | Fate::Maybe, _) => {}
        }
    }
    (answered_at_last == 0).then(|| "nothing is answered at the end".to_owned())
}
