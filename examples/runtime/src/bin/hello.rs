//! An actor on one node is found by name and asked from another.
#![expect(clippy::print_stdout, reason = "it says what happens")]

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use anyhow::Result;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorName, ActorRef, Node, RemoteMessage};

/// An ordinary actix message, which may travel.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "hello.Greet")]
struct Greet {
    whom: String,
}

/// An ordinary actix actor.
struct Greeter;

impl Actor for Greeter {
    type Context = Context<Self>;
}

impl Handler<Greet> for Greeter {
    type Result = String;

    fn handle(&mut self, Greet { whom }: Greet, _ctx: &mut Self::Context) -> String {
        let from = vioduct_runtime::caller().map_or("here".to_owned(), |it| it.name.to_string());
        format!("hello {whom}, from {from}")
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // A cluster of one process needs no files; real ones are issued by `vioduct ca`.
    let mut ca = DevCa::new("hello", UnixTime::now())?;
    let north = Node::builder(Arc::new(ca.node("north", Roles::none())?)).start().await?;
    let south = Node::builder(Arc::new(ca.node("south", Roles::none())?)).start().await?;

    let name = ActorName::new("greeter")?;
    let greeter = north.actor(|| Greeter).named(name.clone());
    greeter.accept::<Greet>(Access::nodes()).start().await?;

    south.connect(north.name().clone(), north.local_addr()?).await?;
    let greeter: ActorRef<Greeter> = south.lookup(north.name(), &name).await?;
    let greeting = greeter.ask(Greet { whom: "world".to_owned() }, Duration::from_secs(5)).await?;
    println!("{greeting}");

    south.shutdown(Duration::from_secs(1)).await;
    north.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
