//! A process that is killed, and runs again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use vioduct_certs::UnixTime;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Identity, Roles};
use vioduct_runtime::{ActorRef, AskError, Doubt, EndReason, Node, NotDelivered};
use vioduct_tests::cluster::Scratch;
use vioduct_tests::sleeper::{Count, Sleep, Sleeper};

use crate::support::{BOUND, SILENCE_MAX, UNREACHABLE_AFTER, attentive, name};

const LIFE: Duration = Duration::from_secs(3600);

/// A node in a process of its own; gives where it listens.
async fn start(credentials: &Path, listen: SocketAddr) -> (Child, SocketAddr) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_sleeper"))
        .arg(credentials)
        .arg(listen.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let addr = timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    (process, addr.parse().unwrap())
}

#[tokio::test]
async fn a_killed_process_is_noticed_told_of_and_comes_back_as_another() {
    let dir = Scratch::create().unwrap();
    let now = UnixTime::now();
    let mut ca = ClusterCa::create("killed".parse().unwrap(), LIFE, now).unwrap();
    let cluster = ca.cluster().clone();
    for node in ["here", "there"] {
        let identity = Identity::node(cluster.clone(), node.parse().unwrap(), Roles::none());
        let bundle = ca.issue(&identity, LIFE, now).unwrap();
        bundle.write_to(&dir.path().join(node), IfExists::Refuse).unwrap();
    }
    let credentials = Credentials::load(&dir.path().join("here"), now).unwrap();
    let here = Node::builder(Arc::new(credentials)).transport(attentive());
    let here = here.start().await.unwrap();
    let there = "there".parse().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut process, addr) = start(&dir.path().join("there"), any).await;
    here.connect(there, addr).await.unwrap();
    let there = "there".parse().unwrap();
    let old: ActorRef<Sleeper> = here.lookup(&there, &name("sleeper")).await.unwrap();
    assert_eq!(old.ask(Count, BOUND).await, Ok(1));

    let asking = {
        let old = old.clone();
        tokio::spawn(async move { old.ask(Sleep, BOUND).await })
    };
    let watching = {
        let old = old.clone();
        tokio::spawn(async move { old.ended().await })
    };
    // Two asks later, the ask and the watch are over there.
    for count in 2..4 {
        assert_eq!(old.ask(Count, BOUND).await, Ok(count));
    }
    process.start_kill().unwrap();
    let killed = Instant::now();
    process.wait().await.unwrap();
    let asked = timeout(BOUND, asking).await.unwrap().unwrap();
    let noticed = killed.elapsed();
    assert_eq!(asked, Err(AskError::MaybeDelivered(Doubt::LinkLost)));
    let end = timeout(BOUND, watching).await.unwrap().unwrap();
    let told = killed.elapsed();
    assert_eq!(end, EndReason::NodeDown);
    eprintln!("noticed after {noticed:?}, watchers told after {told:?}");
    let slack = Duration::from_millis(500);
    assert!(noticed < SILENCE_MAX + slack, "noticed after {noticed:?}");
    assert!(told < SILENCE_MAX + UNREACHABLE_AFTER + slack, "told after {told:?}");

    let (_process, addr_again) = start(&dir.path().join("there"), addr).await;
    assert_eq!(addr_again, addr);
    let new: ActorRef<Sleeper> = loop {
        // Without a pause: links do not need this thread.
        if let Ok(new) = here.lookup(&there, &name("sleeper")).await {
            break new;
        }
    };
    assert_eq!(new.ask(Count, BOUND).await, Ok(1), "another run");
    assert!(new.id().incarnation > old.id().incarnation);
    let anew = NotDelivered::Restarted { node: there, was: old.id().incarnation };
    assert_eq!(old.ask(Count, BOUND).await, Err(AskError::NotDelivered(anew)));
}
