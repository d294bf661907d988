//! The actor of a physical adapter.

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use vioduct_runtime::LocalRef;
use vioduct_transport::Link;

use super::actor::{AdapterNews, Dsa, FromAdapter, Line};
use crate::carry::{CarriedCall, Echo};
use crate::cke::{AdapterDown, AdapterUp, Redirect};
use crate::fabric::{News, OfConn};
use crate::redirect::name::{AdapterId, ConnId};
use crate::way::Way;

/// A physical adapter of a VIOS: it has one connection to the storage at a time, and makes the way
/// by which calls are sent there. Words go past it, to the redirect actor itself.
///
/// Made once, like the redirect actor: its end of the fabric hands over to one life.
#[derive(Debug)]
pub struct PhysicalAdapter {
    id: AdapterId,
    redirect: LocalRef<Redirect>,
    dsa: LocalRef<Dsa>,
    /// The highest connection that was heard of.
    last: Option<ConnId>,
}

/// Nothing more can be sent by this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Broken {
    conn: ConnId,
}

impl PhysicalAdapter {
    pub(super) fn new(id: AdapterId, redirect: LocalRef<Redirect>, dsa: LocalRef<Dsa>) -> Self {
        Self { id, redirect, dsa, last: None }
    }

    fn up(&mut self, conn: ConnId, link: Link, ctx: &mut Context<Self>) {
        if self.last.is_some_and(|last| conn <= last) {
            // Replaced without a gap, or gone already.
            return;
        }
        self.last = Some(conn);
        let me = vioduct_runtime::myself::<Self>();
        let way = Way::<CarriedCall>::over(link.clone(), move || {
            if let Some(me) = me {
                // Without room for it, the next call finds out.
                me.try_tell(Broken { conn }).ok();
            }
        });
        let (redirect, adapter) = (self.redirect.clone(), self.id);
        ctx.wait(wrap_future(async move {
            // Fails only when the redirect actor has ended.
            drop(redirect.tell(AdapterUp { adapter, conn, way }).await);
        }));
        self.report(conn, AdapterNews::Up { line: Line::Fabric(link) }, ctx);
    }

    fn down(&mut self, conn: ConnId, ctx: &mut Context<Self>) {
        self.last = self.last.max(Some(conn));
        let redirect = self.redirect.clone();
        ctx.wait(wrap_future(async move {
            drop(redirect.tell(AdapterDown { conn }).await);
        }));
        self.report(conn, AdapterNews::Down, ctx);
    }

    /// What comes next waits until the DSA has room: what it is told keeps its order.
    fn report(&self, conn: ConnId, news: AdapterNews, ctx: &mut Context<Self>) {
        let (dsa, adapter) = (self.dsa.clone(), self.id);
        ctx.wait(wrap_future(async move {
            // Fails only when the DSA has ended.
            drop(dsa.tell(FromAdapter { adapter, conn, news }).await);
        }));
    }
}

impl Actor for PhysicalAdapter {
    type Context = Context<Self>;
}

impl Handler<OfConn<Echo>> for PhysicalAdapter {
    type Result = ();

    fn handle(&mut self, OfConn { conn, link, news }: OfConn<Echo>, ctx: &mut Self::Context) {
        match news {
            News::Up => self.up(conn, link, ctx),
            News::Pulse { pulse, at } => {
                self.report(conn, AdapterNews::Echoed { echo: pulse, at }, ctx);
            }
            News::Down => self.down(conn, ctx),
        }
    }
}

impl Handler<Broken> for PhysicalAdapter {
    type Result = ();

    fn handle(&mut self, Broken { conn }: Broken, ctx: &mut Self::Context) {
        self.down(conn, ctx);
    }
}
