//! A process that is killed, and runs again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, timeout};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorRef, AskError, Doubt, EndReason, Node, NodeBuilder, NotDelivered};
use vioduct_tests::cluster::Scratch;
use vioduct_tests::sleeper::{Count, Sleep, Sleeper, joined_through};

use crate::process::{anywhere, issue, start};
use crate::support::{BOUND, SILENCE_MAX, UNREACHABLE_AFTER, attentive, name};

fn here(dir: &Path) -> NodeBuilder {
    let credentials = Credentials::load(&dir.join("here"), UnixTime::now()).unwrap();
    Node::builder(Arc::new(credentials)).transport(attentive())
}

/// What a kill ends, and how long after.
struct Ends {
    asked: Duration,
    told: Duration,
}

/// Kills a process that is asked and watched, and waits until both are over.
async fn kill(process: &mut Child, victim: &ActorRef<Sleeper>) -> Ends {
    let asking = {
        let victim = victim.clone();
        tokio::spawn(async move { victim.ask(Sleep, BOUND).await })
    };
    let watching = {
        let victim = victim.clone();
        tokio::spawn(async move { victim.ended().await })
    };
    // Two asks later, the ask and the watch are over there.
    for count in 2..4 {
        assert_eq!(victim.ask(Count, BOUND).await, Ok(count));
    }
    process.start_kill().unwrap();
    let killed = Instant::now();
    process.wait().await.unwrap();
    let answer = timeout(BOUND, asking).await.unwrap().unwrap();
    let asked = killed.elapsed();
    assert_eq!(answer, Err(AskError::MaybeDelivered(Doubt::LinkLost)));
    let end = timeout(BOUND, watching).await.unwrap().unwrap();
    let told = killed.elapsed();
    assert_eq!(end, EndReason::NodeDown);
    eprintln!("asks ended after {asked:?}, watchers told after {told:?}");
    Ends { asked, told }
}

async fn is_another_run(old: &ActorRef<Sleeper>, new: &ActorRef<Sleeper>) {
    assert_eq!(new.ask(Count, BOUND).await, Ok(1), "another run");
    assert!(new.id().incarnation > old.id().incarnation);
    let anew = NotDelivered::Restarted { node: old.id().node.clone(), was: old.id().incarnation };
    assert_eq!(old.ask(Count, BOUND).await, Err(AskError::NotDelivered(anew)));
}

/// For a machine that is busy with other tests.
const SLACK: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_killed_process_is_noticed_told_of_and_comes_back_as_another() {
    let dir = Scratch::create().unwrap();
    issue(dir.path());
    let here = here(dir.path()).start().await.unwrap();
    let (mut process, addr) = start(&dir.path().join("there"), anywhere(), None).await;
    let there: NodeName = "there".parse().unwrap();
    here.connect(there.clone(), addr).await.unwrap();
    let old: ActorRef<Sleeper> = here.lookup(&there, &name("sleeper")).await.unwrap();
    assert_eq!(old.ask(Count, BOUND).await, Ok(1));
    let Ends { asked, told } = kill(&mut process, &old).await;
    assert!(asked < SILENCE_MAX + SLACK, "{asked:?}");
    assert!(told < SILENCE_MAX + UNREACHABLE_AFTER + SLACK, "{told:?}");

    let (_process, addr_again) = start(&dir.path().join("there"), addr, None).await;
    assert_eq!(addr_again, addr);
    let new: ActorRef<Sleeper> = loop {
        // Without a pause: links do not need this thread.
        if let Ok(new) = here.lookup(&there, &name("sleeper")).await {
            break new;
        }
    };
    is_another_run(&old, &new).await;
}

#[tokio::test]
async fn a_killed_member_is_declared_down_and_returns_as_another() {
    let dir = Scratch::create().unwrap();
    issue(dir.path());
    let config = joined_through(Vec::new());
    // A probe may just have begun, and is answered for by nobody else.
    let detected = config.membership.suspicion(2) + 3 * config.membership.probe_period;
    let here = here(dir.path()).cluster(config).start().await.unwrap();
    let there = dir.path().join("there");
    let (mut process, _addr) = start(&there, anywhere(), Some(&here)).await;
    let old: ActorRef<Sleeper> = here.find_within(&name("sleeper"), BOUND).await.unwrap();
    assert_eq!(old.ask(Count, BOUND).await, Ok(1));
    let Ends { asked, told } = kill(&mut process, &old).await;
    assert!(asked < detected.min(SILENCE_MAX) + SLACK, "{asked:?}");
    assert!(told < detected + SLACK, "{told:?}, not {detected:?}");
    assert_eq!(here.find::<Sleeper>(&name("sleeper")), None);

    // Elsewhere this time.
    let (_process, _addr) = start(&there, anywhere(), Some(&here)).await;
    let new: ActorRef<Sleeper> = here.find_within(&name("sleeper"), BOUND).await.unwrap();
    is_another_run(&old, &new).await;
}
