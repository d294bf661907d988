//! `sleeper CREDENTIALS LISTEN`: a node with one actor, until its input ends or it is killed.
#![expect(clippy::print_stdout, reason = "says where it listens")]

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_runtime::{Access, ActorName, Node};
use vioduct_tests::sleeper::{Count, Sleep, Sleeper};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (credentials, listen) = args.next().zip(args.next()).context("CREDENTIALS LISTEN")?;
    let credentials = Credentials::load(Path::new(&credentials), UnixTime::now())?;
    let node = Node::builder(Arc::new(credentials)).listen(listen.parse()?).workers(1);
    let node = node.start().await?;
    let sleeper = node.actor(Sleeper::default).named(ActorName::new("sleeper")?);
    let sleeper = sleeper.accept::<Count>(Access::nodes()).accept::<Sleep>(Access::nodes());
    sleeper.start().await?;
    println!("{}", node.local_addr()?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
