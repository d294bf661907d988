//! Says how the node is: `cluster status` asks it. It sends to nobody, and keeps nothing of its
//! own.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use vioduct_certs::UnixTime;

use super::count;
use super::messages::{Status, StatusText};
use crate::reporter::Reporter;

/// Answers [`Status`].
#[derive(Debug)]
pub struct StatusActor {
    reporter: Arc<Reporter>,
}

impl StatusActor {
    pub(super) const fn new(reporter: Arc<Reporter>) -> Self {
        Self { reporter }
    }
}

impl Actor for StatusActor {
    type Context = Context<Self>;
}

impl Handler<Status> for StatusActor {
    type Result = StatusText;

    fn handle(&mut self, Status: Status, _ctx: &mut Self::Context) -> StatusText {
        count(&self.reporter.counts().statuses);
        let status = self.reporter.status(UnixTime::now());
        let json = serde_json::to_vec(&status).expect("a status is plain data");
        StatusText { json: json.into() }
    }
}
