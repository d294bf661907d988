//! An owner by hand: it hears what a VIOS says, and says nothing by itself.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use tokio::sync::mpsc;
use tokio::time::timeout;
use vioduct_runtime::{Access, ActorRef, Node};
use vioduct_vios::carry::{CarriedWord, WordTaker};

struct Ear(mpsc::Sender<CarriedWord>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<CarriedWord> for Ear {
    type Result = ();

    fn handle(&mut self, word: CarriedWord, _ctx: &mut Self::Context) {
        // The test may have ended.
        self.0.try_send(word).ok();
    }
}

pub(crate) struct Heard(mpsc::Receiver<CarriedWord>);

impl Heard {
    pub(crate) async fn next(&mut self) -> CarriedWord {
        timeout(Duration::from_secs(20), self.0.recv()).await.expect("a word").unwrap()
    }
}

pub(crate) async fn listen(node: &Node) -> (ActorRef<WordTaker>, Heard) {
    let (sender, heard) = mpsc::channel(64);
    let ear = node.actor(move || Ear(sender.clone())).accept::<CarriedWord>(Access::nodes());
    let ear = ear.start().await.unwrap().now().unwrap();
    (ear.actor_ref().as_protocol(), Heard(heard))
}
