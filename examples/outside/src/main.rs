//! What an embedding project writes: an actor, its message, and two nodes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use serde::{Deserialize, Serialize};
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorName, ActorRef, Node, RemoteMessage};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "outside.Double")]
struct Double(u64);

struct Doubler;

impl Actor for Doubler {
    type Context = Context<Self>;
}

impl Handler<Double> for Doubler {
    type Result = u64;

    fn handle(&mut self, Double(number): Double, _ctx: &mut Self::Context) -> u64 {
        2 * number
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut ca = DevCa::new("outside", UnixTime::now())?;
    let one = Node::builder(Arc::new(ca.node("one", Roles::none())?)).start().await?;
    let two = Node::builder(Arc::new(ca.node("two", Roles::none())?)).start().await?;
    let name = ActorName::new("doubler")?;
    let doubler = one.actor(|| Doubler).named(name.clone());
    doubler.accept::<Double>(Access::nodes()).start().await?;
    two.connect(one.name().clone(), one.local_addr()?).await?;
    let doubler: ActorRef<Doubler> = two.lookup(one.name(), &name).await?;
    println!("twice 21 is {}", doubler.ask(Double(21), Duration::from_secs(5)).await?);
    Ok(())
}
