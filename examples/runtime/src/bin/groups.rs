//! A group of actors on three nodes is reached in turn, by key and all at once; who may not ask it
//! is refused, and told so.
#![expect(clippy::print_stdout, reason = "it says what happens")]

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use anyhow::{Context as _, Result};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_runtime::membership::Seed;
use vioduct_runtime::{Access, ClusterConfig, Group, GroupName, Node, RemoteMessage};

const SOON: Duration = Duration::from_secs(10);

#[derive(Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "shelf.WhereIs")]
struct WhereIs {
    book: String,
}

struct Shelf {
    at: String,
}

impl Actor for Shelf {
    type Context = Context<Self>;
}

impl Handler<WhereIs> for Shelf {
    type Result = String;

    fn handle(&mut self, WhereIs { book }: WhereIs, _ctx: &mut Self::Context) -> String {
        format!("{book} on {}", self.at)
    }
}

/// Starts a node of the cluster that is joined through `seeds`.
async fn join(ca: &mut DevCa, name: &str, roles: Roles, seeds: &[Seed]) -> Result<Node> {
    let config = ClusterConfig { seeds: seeds.to_vec(), ..ClusterConfig::default() };
    let builder = Node::builder(Arc::new(ca.node(name, roles)?)).workers(1);
    Ok(builder.cluster(config).start().await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut ca = DevCa::new("library", UnixTime::now())?;
    let group = GroupName::new("shelves")?;
    let (mut nodes, mut seeds) = (Vec::new(), Vec::new());
    for name in ["east", "north", "west"] {
        let node = join(&mut ca, name, Roles::none(), &seeds).await?;
        let shelf = node.actor(move || Shelf { at: name.to_owned() }).in_group(group.clone());
        // Whoever holds the role `vios` may ask; nobody else.
        shelf.accept::<WhereIs>(Access::roles([Role::Vios])).start().await?;
        seeds.push(Seed { node: node.name().clone(), addr: node.local_addr()? });
        nodes.push(node);
    }
    let reader = join(&mut ca, "reader", Roles::from_iter([Role::Vios]), &seeds).await?;
    let stranger = join(&mut ca, "stranger", Roles::none(), &seeds).await?;

    let shelves: Group<Shelf> = reader.group(group.clone());
    shelves.grown_to(3).await;
    for book in ["atlas", "bible", "comic"] {
        let shelf = shelves.next().context("the group has members")?;
        println!("in turn: {}", shelf.ask(WhereIs { book: book.to_owned() }, SOON).await?);
    }
    for _again in 0..2 {
        let shelf = shelves.owner_of(b"atlas").context("the group has members")?;
        println!("by key: {}", shelf.ask(WhereIs { book: "atlas".to_owned() }, SOON).await?);
    }
    for (_shelf, answer) in shelves.ask_all(WhereIs { book: "any".to_owned() }, SOON).await {
        println!("all: {}", answer?);
    }

    let shelves: Group<Shelf> = stranger.group(group);
    shelves.grown_to(1).await;
    let shelf = shelves.next().context("it has a member")?;
    match shelf.ask(WhereIs { book: "atlas".to_owned() }, SOON).await {
        Ok(answer) => println!("the stranger was told: {answer}"),
        Err(error) => println!("the stranger: {error}"),
    }

    for node in [stranger, reader].into_iter().chain(nodes) {
        node.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}
