//! Two builds of one program meet: `rollout serve CREDENTIALS` and `rollout ask CREDENTIALS ADDR`.
//!
//! Built with the feature `changed`, it has another idea of one of its messages.

use std::env;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Access, ActorName, ActorRef, Node, RemoteMessage};

const SOON: Duration = Duration::from_secs(5);

/// Differs between the builds, under one name and version.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "rollout.Deposit")]
struct Deposit {
    #[cfg(not(feature = "changed"))]
    amount: u32,
    #[cfg(feature = "changed")]
    amount: u64,
}

/// The same in both.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "rollout.Balance")]
struct Balance;

#[derive(Default)]
struct Account {
    balance: u64,
}

impl Actor for Account {
    type Context = Context<Self>;
}

impl Handler<Deposit> for Account {
    type Result = u64;

    fn handle(&mut self, Deposit { amount }: Deposit, _ctx: &mut Self::Context) -> u64 {
        self.balance += u64::from(amount);
        self.balance
    }
}

impl Handler<Balance> for Account {
    type Result = u64;

    fn handle(&mut self, Balance: Balance, _ctx: &mut Self::Context) -> u64 {
        self.balance
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", credentials] => serve(&start(credentials).await?).await,
        ["ask", credentials, addr] => ask(&start(credentials).await?, addr).await,
        _other => Err("rollout serve CREDENTIALS | rollout ask CREDENTIALS ADDR".into()),
    }
}

async fn start(credentials: &str) -> Result<Node, Box<dyn Error>> {
    let credentials = Credentials::load(Path::new(credentials), UnixTime::now())?;
    Ok(Node::builder(Arc::new(credentials)).start().await?)
}

/// Until its input ends.
async fn serve(node: &Node) -> Result<(), Box<dyn Error>> {
    let account = node.actor(Account::default).named(ActorName::new("account")?);
    let account = account.accept::<Deposit>(Access::nodes()).accept::<Balance>(Access::nodes());
    account.start().await?;
    println!("{}", node.local_addr()?);
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn ask(node: &Node, addr: &str) -> Result<(), Box<dyn Error>> {
    let server: NodeName = "server".parse()?;
    node.connect(server.clone(), addr.parse()?).await?;
    let account: ActorRef<Account> = node.lookup(&server, &ActorName::new("account")?).await?;
    match account.ask(Deposit { amount: 5 }, SOON).await {
        Ok(balance) => println!("deposited: {balance}"),
        Err(error) => println!("deposit: {error}"),
    }
    println!("balance: {}", account.ask(Balance, SOON).await?);
    Ok(())
}
