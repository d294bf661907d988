//! Restarts, stops, and what old references say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::time::timeout;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{
    Access, ActorRef, AskError, EndReason, Node, NotDelivered, RestartPolicy, StartError,
};

use crate::support::{Add, Block, Counter, Gate, Panic, SOON, WhoAmI, find, name, pair};

#[tokio::test]
async fn a_panicked_actor_starts_again_from_its_factory_and_old_references_say_so() {
    let (a, b) = pair().await;
    let (gate, made) = (Gate::new(), Arc::new(AtomicU64::new(0)));
    let lives = Arc::clone(&made);
    let builder = b.actor(move || {
        lives.fetch_add(1, Ordering::SeqCst);
        Counter::new(&gate)
    });
    let builder = builder.named(name("counter")).accept::<Add>(Access::nodes());
    let handle = builder.accept::<Panic>(Access::nodes()).start().await.unwrap();
    let first = handle.now().unwrap();
    let old: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(old.ask(Add(1), SOON).await, Ok(1));
    old.tell(Panic).await.unwrap();
    assert_eq!(first.ended().await, EndReason::Panicked("asked to".to_owned()));
    let second = handle.life_after(Some(&first)).await.unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
    let gone = NotDelivered::Gone { actor: first.id().clone() };
    assert_eq!(old.ask(Add(1), SOON).await, Err(AskError::NotDelivered(gone.clone())));
    assert_eq!(first.ask(Add(1), SOON).await, Err(AskError::NotDelivered(gone)));
    assert_eq!(second.ask(Add(7), SOON).await, Ok(7));
    let new: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(new.ask(Add(1), SOON).await, Ok(8));
}

#[tokio::test]
async fn an_actor_that_fails_too_often_is_given_up_and_its_name_is_free() {
    let (_a, b) = pair().await;
    let gate = Gate::new();
    let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
    let handle = builder.restart(RestartPolicy::never()).start().await.unwrap();
    let life = handle.now().unwrap();
    life.fail("on purpose");
    assert_eq!(life.ended().await, EndReason::Failed("on purpose".to_owned()));
    handle.life_after(Some(&life)).await.unwrap_err();
    let gate = Gate::new();
    let again = b.actor(move || Counter::new(&gate)).named(name("counter"));
    again.start().await.unwrap();
}

#[tokio::test]
async fn a_factory_that_panics_at_once_and_a_name_that_is_taken_are_errors_of_the_start() {
    let (_a, b) = pair().await;
    let gate = Gate::new();
    b.actor(move || Counter::new(&gate)).named(name("counter")).start().await.unwrap();
    let gate = Gate::new();
    let taken = b.actor(move || Counter::new(&gate)).named(name("counter")).start().await;
    assert_eq!(taken.unwrap_err(), StartError::NameTaken(name("counter")));
    let broken = b.actor(|| -> Counter { panic!("no parts") }).named(name("other"));
    let ended = EndReason::Panicked("no parts".to_owned());
    assert_eq!(broken.start().await.unwrap_err(), StartError::Ended(ended));
    let gate = Gate::new();
    b.actor(move || Counter::new(&gate)).named(name("other")).start().await.unwrap();
}

#[tokio::test]
async fn a_stop_takes_no_more_and_lets_what_waits_be_handled_first() {
    let (_a, b) = pair().await;
    let gate = Gate::new();
    let seen = gate.clone();
    let handle = b.actor(move || Counter::new(&gate)).start().await.unwrap();
    let counter = handle.now().unwrap();
    counter.tell(Block).await.unwrap();
    let waiting = counter.ask(Add(5), SOON);
    let stop = async {
        Gate::wait(&seen.begun, 1).await;
        let stopping = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.stop().await })
        };
        let gone = NotDelivered::Gone { actor: counter.id().clone() };
        while counter.try_tell(WhoAmI).map_err(|not| not.reason) != Err(gone.clone()) {
            tokio::task::yield_now().await;
        }
        seen.passes.add_permits(1);
        stopping.await.unwrap();
    };
    let (answer, ()) = tokio::join!(biased; waiting, stop);
    assert_eq!(answer, Ok(5), "it waited when the stop came");
    assert_eq!(counter.ended().await, EndReason::Stopped);
}

#[tokio::test]
async fn who_goes_on_telling_an_actor_that_is_gone_is_told_so() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
    let handle = builder.accept::<Add>(Access::nodes()).start().await.unwrap();
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    counter.tell(Add(1)).await.unwrap();
    handle.stop().await;
    let told = async {
        loop {
            match counter.tell(Add(1)).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(not) => break not.reason,
            }
        }
    };
    let gone = NotDelivered::Gone { actor: counter.id().clone() };
    assert_eq!(timeout(SOON, told).await, Ok(gone));
}

async fn threads_become(count: usize) {
    let become_so = async {
        while threads_of("-leaver") != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, become_so).await.unwrap();
}

/// Threads of this process that work for the node of this name.
fn threads_of(node: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end().ends_with(node)).count()
}

#[tokio::test]
async fn a_node_that_is_shut_down_or_dropped_leaves_no_thread_and_no_socket() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let credentials = Arc::new(ca.node("leaver", Roles::none()).unwrap());
    let mut addr = SocketAddr::from(([127, 0, 0, 1], 0));
    for is_in_order in [true, false] {
        let builder = Node::builder(Arc::clone(&credentials)).workers(3).listen(addr);
        let node = builder.start().await.unwrap();
        addr = node.local_addr().unwrap();
        let gate = Gate::new();
        node.actor(move || Counter::new(&gate)).start().await.unwrap();
        // A thread has its name a moment after it was started.
        threads_become(3).await;
        if is_in_order {
            node.shutdown(SOON).await;
        }
        drop(node);
        // The kernel lists a thread for a moment after it was joined.
        threads_become(0).await;
        drop(std::net::UdpSocket::bind(addr).unwrap());
    }
}

#[tokio::test]
async fn a_killed_nodes_references_say_that_it_runs_anew() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
    builder.accept::<Add>(Access::nodes()).start().await.unwrap();
    let old: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(old.ask(Add(1), SOON).await, Ok(1));
    let (addr, credentials, was) =
        (b.local_addr().unwrap(), b.endpoint().credentials(), b.incarnation());
    b.shutdown(Duration::ZERO).await;
    drop(b);
    let b = Node::builder(credentials).listen(addr).start().await.unwrap();
    assert!(b.incarnation() > was);
    let gate = Gate::new();
    let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
    builder.accept::<Add>(Access::nodes()).start().await.unwrap();
    let new: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(new.ask(Add(9), SOON).await, Ok(9));
    let anew = NotDelivered::Restarted { node: b.name().clone(), was };
    assert_eq!(old.ask(Add(1), SOON).await, Err(AskError::NotDelivered(anew)));
}

#[tokio::test]
async fn a_task_beside_an_actor_runs_on_its_thread_and_none_begins_after_the_end() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let counter = a.actor(move || Counter::new(&gate)).on_worker(1).start().await.unwrap();
    let counter = counter.now().unwrap();
    let (told, heard) = tokio::sync::oneshot::channel();
    let task = move || async move {
        told.send(std::thread::current().name().map(str::to_owned)).unwrap();
    };
    a.spawn_beside(&counter, task).await.unwrap();
    assert_eq!(heard.await.unwrap().as_deref(), Some("1-a"));
    a.shutdown(SOON).await;
    b.shutdown(SOON).await;
    let late = a.spawn_beside(&counter, || async { unreachable!() }).await;
    assert_eq!(late, Err(StartError::Closing));
}

#[tokio::test]
async fn whoever_listens_is_told_that_names_have_changed() {
    let (a, b) = pair().await;
    let mut changed = a.names_changed();
    let gate = Gate::new();
    let counter =
        b.actor(move || Counter::new(&gate)).named(name("counter")).start().await.unwrap();
    timeout(SOON, changed.wait_for(|_| a.find::<Counter>(&name("counter")).is_some()))
        .await
        .unwrap()
        .unwrap();
    counter.stop().await;
    timeout(SOON, changed.wait_for(|_| a.find::<Counter>(&name("counter")).is_none()))
        .await
        .unwrap()
        .unwrap();
    a.shutdown(SOON).await;
    b.shutdown(SOON).await;
}
