//! `sleeper CREDENTIALS LISTEN [NODE ADDR]`: a node with two actors, until its input ends or it is
//! killed. With a node to join through, it is a member of its cluster.
#![expect(clippy::print_stdout, reason = "says where it listens")]

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_runtime::membership::Seed;
use vioduct_runtime::{Access, ActorName, Node};
use vioduct_tests::sleeper::{Count, Nap, Sleep, Sleeper, joined_through};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (credentials, listen) = args.next().zip(args.next()).context("CREDENTIALS LISTEN")?;
    let credentials = Credentials::load(Path::new(&credentials), UnixTime::now())?;
    let mut node = Node::builder(Arc::new(credentials)).listen(listen.parse()?).workers(1);
    if let Some((name, addr)) = args.next().zip(args.next()) {
        node =
            node.cluster(joined_through(vec![Seed { node: name.parse()?, addr: addr.parse()? }]));
    }
    let node = node.start().await?;
    let sleeper = node.actor(Sleeper::default).named(ActorName::new("sleeper")?);
    let sleeper = sleeper.accept::<Count>(Access::nodes()).accept::<Sleep>(Access::nodes());
    sleeper.start().await?;
    let slow = node.actor(Sleeper::default).named(ActorName::new("slow")?);
    slow.accept::<Nap>(Access::nodes()).start().await?;
    println!("{}", node.local_addr()?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
