//! A failing actor is started again, with back-off, until it fails too often.
#![expect(clippy::print_stdout, reason = "it says what happens")]

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use anyhow::Result;
use rustls_pki_types::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Node, RestartPolicy};

/// Of this node only: it needs no name on the wire, and is never encoded.
#[derive(Message)]
#[rtype(result = "u32")]
struct Divide(u32, u32);

struct Calculator;

impl Actor for Calculator {
    type Context = Context<Self>;
}

impl Handler<Divide> for Calculator {
    type Result = u32;

    fn handle(&mut self, Divide(dividend, divisor): Divide, _ctx: &mut Self::Context) -> u32 {
        assert!(divisor != 0, "asked to divide by zero");
        dividend / divisor
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The panics are part of the show; their traces are not.
    std::panic::set_hook(Box::new(|_panic| {}));
    let mut ca = DevCa::new("sums", UnixTime::now())?;
    let credentials = Arc::new(ca.node("abacus", Roles::none())?);
    let node = Node::builder(credentials).workers(1).start().await?;
    let policy = RestartPolicy { max_restarts: 2, ..RestartPolicy::default() };
    let calculator = node.actor(|| Calculator).restart(policy).start().await?;

    let mut last = None;
    while let Ok(life) = calculator.life_after(last.as_ref()).await {
        let soon = Duration::from_secs(5);
        println!("{}: 6 / 3 is {}", life.id(), life.ask(Divide(6, 3), soon).await?);
        if let Err(error) = life.ask(Divide(6, 0), soon).await {
            println!("{}: 6 / 0 is {error}", life.id());
        }
        println!("{}: {}", life.id(), life.ended().await);
        last = Some(life);
    }
    println!("given up");

    node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
