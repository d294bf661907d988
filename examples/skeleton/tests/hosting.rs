//! What of actix runs on a simulated host, and what its mailboxes bound: the facts that
//! `docs/adr/0005-what-the-skeleton-taught.md` rests on.
#![expect(clippy::unwrap_used, reason = "its actors and hosts belong to the tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use actix::{
    Actor, Addr, Arbiter, AsyncContext, Context, Handler, Message, ResponseFuture, SyncArbiter,
    SyncContext, System, WrapFuture,
};
use turmoil::net::UdpSocket;

type Log = Arc<Mutex<Vec<String>>>;

fn panics<T>(act: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

/// Answers each datagram's number with its double, one virtual second later.
struct Doubler;

struct Double(u8);

impl Message for Double {
    type Result = u8;
}

impl Actor for Doubler {
    type Context = Context<Self>;
}

impl Handler<Double> for Doubler {
    type Result = ResponseFuture<u8>;

    fn handle(&mut self, Double(number): Double, _ctx: &mut Self::Context) -> Self::Result {
        let due = tokio::time::Instant::now() + Duration::from_secs(1);
        Box::pin(async move {
            tokio::time::sleep_until(due).await;
            number * 2
        })
    }
}

/// One host serves an actor over turmoil's network; another asks it with eight numbers at once.
fn simulate() -> Vec<String> {
    let log = Log::default();
    let mut sim = turmoil::Builder::new().rng_seed(7).build();
    sim.host("server", || async {
        let actor = Doubler.start();
        let socket = Arc::new(UdpSocket::bind(("0.0.0.0", 1)).await?);
        let mut datagram = [0; 1];
        loop {
            let (_length, from) = socket.recv_from(&mut datagram).await?;
            let (asked, socket) = (actor.send(Double(datagram[0])), Arc::clone(&socket));
            // As a link's task would: off the local set, waiting for an actor that is on it.
            tokio::spawn(async move {
                let double = asked.await.unwrap();
                socket.send_to(&[double], from).await.unwrap();
            });
        }
    });
    let noted = Arc::clone(&log);
    sim.client("client", async move {
        let socket = UdpSocket::bind(("0.0.0.0", 1)).await?;
        for number in 1..=8 {
            socket.send_to(&[number], ("server", 1)).await?;
        }
        let mut datagram = [0; 1];
        for _number in 1..=8 {
            socket.recv_from(&mut datagram).await?;
            noted.lock().unwrap().push(format!("{} at {:?}", datagram[0], turmoil::elapsed()));
        }
        Ok(())
    });
    sim.run().unwrap();
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn actors_run_on_a_simulated_host_in_virtual_time_and_the_same_each_time() {
    let history = simulate();
    assert_eq!(history.len(), 8);
    for round in 0..20 {
        assert_eq!(simulate(), history, "round {round}");
    }
}

#[test]
fn a_simulated_host_has_no_system_no_arbiter_and_no_other_thread() {
    let mut sim = turmoil::Builder::new().build();
    sim.client("host", async {
        assert!(System::try_current().is_none());
        assert!(Arbiter::try_current().is_none());
        assert!(panics(System::new), "a runtime of its own, inside a runtime");
        assert!(panics(Arbiter::new), "a thread, out of reach of virtual time");
        assert!(!panics(|| Doubler.start()));
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn an_actor_is_started_from_the_local_set_only_here_and_in_the_simulation() {
    async fn try_both() -> (bool, bool) {
        let on_the_local_set = !panics(|| Doubler.start());
        // Where an endpoint's tasks run, and so where its deliveries do.
        let off_it = tokio::spawn(async { !panics(|| Doubler.start()) }).await.unwrap();
        (on_the_local_set, off_it)
    }
    assert_eq!(System::new().block_on(try_both()), (true, false));
    let mut sim = turmoil::Builder::new().build();
    sim.client("host", async {
        assert_eq!(try_both().await, (true, false));
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_host_that_crashes_takes_its_actors_with_it() {
    struct Counter(Arc<Mutex<u32>>);
    impl Actor for Counter {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.run_interval(Duration::from_millis(10), |counter, _ctx| {
                *counter.0.lock().unwrap() += 1;
            });
        }
    }
    let (count, mut sim) = (Arc::new(Mutex::new(0)), turmoil::Builder::new().build());
    let counted = Arc::clone(&count);
    sim.host("host", move || {
        let counter = Counter(Arc::clone(&counted));
        async move {
            let _counter = counter.start();
            std::future::pending().await
        }
    });
    let mut pass_100_ms = || {
        let until = sim.elapsed() + Duration::from_millis(100);
        while sim.elapsed() < until {
            sim.step().unwrap();
        }
        *count.lock().unwrap()
    };
    assert!(pass_100_ms() >= 8);
    sim.crash("host");
    let at_the_crash = *count.lock().unwrap();
    sim.run().unwrap();
    assert_eq!((*count.lock().unwrap(), Arc::strong_count(&count)), (at_the_crash, 2));
}

/// Starts, and then never handles a message.
struct Stuck;

/// Counted by the clones of what it holds.
struct Counted(Arc<()>);

impl Message for Counted {
    type Result = ();
}

impl Actor for Stuck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        ctx.wait(std::future::pending::<()>().into_actor(self));
    }
}

impl Handler<Counted> for Stuck {
    type Result = ();

    fn handle(&mut self, Counted(count): Counted, _ctx: &mut Self::Context) {
        drop(count);
    }
}

/// How many of 100 messages a mailbox with room for one holds in the end.
async fn held(send_all: impl AsyncFn(&Addr<Stuck>, &Arc<()>)) -> usize {
    let (addr, count) = (Stuck.start(), Arc::new(()));
    // Its first poll sets the capacity.
    tokio::task::yield_now().await;
    send_all(&addr, &count).await;
    Arc::strong_count(&count) - 1
}

#[test]
fn a_mailbox_bounds_what_is_tried_through_one_address_and_nothing_else() {
    System::new().block_on(async {
        let by_one_address = held(async |addr, count| {
            for _message in 0..100 {
                addr.try_send(Counted(Arc::clone(count))).ok();
            }
        });
        assert_eq!(by_one_address.await, 1);

        let by_clones = held(async |addr, count| {
            for _message in 0..100 {
                addr.clone().try_send(Counted(Arc::clone(count))).ok();
            }
        });
        assert_eq!(by_clones.await, 100, "each clone may put one past the bound");

        let by_send = held(async |addr, count| {
            for _message in 0..100 {
                let mut sent = Box::pin(addr.send(Counted(Arc::clone(count))));
                let polled = std::future::poll_fn(|cx| Poll::Ready(sent.as_mut().poll(cx)));
                assert!(polled.await.is_pending());
            }
        });
        assert_eq!(by_send.await, 100, "what is sent to a full mailbox goes by a new clone");
    });
}

/// Holds its thread until the test lets go.
struct Blocked(Arc<Mutex<std::sync::mpsc::Receiver<()>>>);

impl Actor for Blocked {
    type Context = SyncContext<Self>;
}

impl Handler<Counted> for Blocked {
    type Result = ();

    fn handle(&mut self, _message: Counted, _ctx: &mut Self::Context) {
        // An error says that the test has ended.
        self.0.lock().unwrap().recv().ok();
    }
}

#[test]
fn a_sync_arbiter_has_no_bound() {
    System::new().block_on(async {
        let (go, wait) = std::sync::mpsc::sync_channel(1);
        let wait = Arc::new(Mutex::new(wait));
        let addr = SyncArbiter::start(1, move || Blocked(Arc::clone(&wait)));
        let message = Arc::new(());
        let taken = (0..1000).filter(|_| addr.try_send(Counted(Arc::clone(&message))).is_ok());
        assert_eq!(taken.count(), 1000);
        drop(go);
    });
}
