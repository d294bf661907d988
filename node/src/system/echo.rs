//! Gives bodies back: `cluster ping` and load tests ask it. It sends to nobody; when it dies, it is
//! started again, and turns go on rising.

use std::sync::Arc;

use actix::{Actor, Context, Handler};

use super::messages::{Echo, Echoed, Turn};
use super::{Counts, count};

/// Answers [`Echo`].
#[derive(Debug)]
pub struct EchoActor {
    run: u64,
    counts: Arc<Counts>,
}

impl EchoActor {
    pub(super) const fn new(run: u64, counts: Arc<Counts>) -> Self {
        Self { run, counts }
    }
}

impl Actor for EchoActor {
    type Context = Context<Self>;
}

impl Handler<Echo> for EchoActor {
    type Result = Echoed;

    fn handle(&mut self, Echo { body }: Echo, _ctx: &mut Self::Context) -> Echoed {
        Echoed { turn: Turn { run: self.run, number: count(&self.counts.echoes) }, body }
    }
}
