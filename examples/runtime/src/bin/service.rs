//! A web service on a multi-threaded runtime, whose requests are answered by an actor elsewhere.
#![expect(clippy::print_stdout, reason = "it says what happens")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorName, ActorRef, AskError, Node, RemoteMessage};

const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "service.Deposit")]
struct Deposit {
    cents: u64,
}

/// Keeps a balance.
#[derive(Default)]
struct Account {
    cents: u64,
}

impl Actor for Account {
    type Context = Context<Self>;
}

impl Handler<Deposit> for Account {
    type Result = u64;

    fn handle(&mut self, Deposit { cents }: Deposit, _ctx: &mut Self::Context) -> u64 {
        self.cents += cents;
        self.cents
    }
}

/// Nothing was done: 503, and the client may try again. Unknown: 504, and it must not.
async fn deposit(
    State(account): State<ActorRef<Account>>,
    Path(cents): Path<u64>,
) -> Result<Json<u64>, (StatusCode, String)> {
    let balance = account.ask(Deposit { cents }, DEADLINE).await;
    balance.map(Json).map_err(|error| match error {
        AskError::NotDelivered(_) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        AskError::MaybeDelivered(_) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
    })
}

/// What a client of the service would send.
async fn call(service: SocketAddr, path: &str) -> Result<String> {
    let mut client = TcpStream::connect(service).await?;
    let request = format!("POST {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    client.read_to_string(&mut response).await?;
    let (head, body) = response.split_once("\r\n\r\n").context("an HTTP response")?;
    Ok(format!("{} → {body}", head.lines().next().unwrap_or_default()))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut ca = DevCa::new("bank", UnixTime::now())?;
    let vault = Node::builder(Arc::new(ca.node("vault", Roles::none())?)).start().await?;
    let front = Node::builder(Arc::new(ca.node("front", Roles::none())?)).start().await?;
    let name = ActorName::new("account")?;
    let account = vault.actor(Account::default).named(name.clone());
    account.accept::<Deposit>(Access::node(front.name().clone())).start().await?;
    front.connect(vault.name().clone(), vault.local_addr()?).await?;
    let account: ActorRef<Account> = front.lookup(vault.name(), &name).await?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let service = Router::new().route("/deposit/{cents}", post(deposit)).with_state(account);
    let serving = tokio::spawn(axum::serve(listener, service).into_future());
    println!("{}", call(addr, "/deposit/500").await?);
    println!("{}", call(addr, "/deposit/250").await?);
    vault.shutdown(Duration::from_secs(1)).await;
    println!("{}", call(addr, "/deposit/1").await?);

    serving.abort();
    front.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
