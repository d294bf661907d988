//! One node: its endpoint, the actors that its certificate's roles call for, and their threads.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Arbiter, ArbiterHandle, System};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::UnixListener;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{Endpoint, Inbound, TransportConfig};

use crate::lpar::Lpar;
use crate::names::Names;
use crate::nbd::{self, Export};
use crate::storage::{Storage, Volume};
use crate::trace::{Trace, percentiles};
use crate::vios::Vios;
use crate::wire::{Question, Request};

/// How long a node waits for the answer to what it may not ask.
const TRESPASS_MAX: Duration = Duration::from_secs(5);

/// What runs on which thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threads {
    /// QUIC and all actors on one.
    One,
    /// QUIC on a runtime of two, all actors on one arbiter beside it.
    Beside,
    /// QUIC on one, each actor on an arbiter of its own.
    Apart,
}

/// Where the volume works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// On a thread of its own.
    Thread,
    /// On the storage actor's.
    Inline,
}

/// How processes are laid out.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Layout {
    #[arg(long, value_enum, default_value = "one")]
    pub(crate) threads: Threads,
    #[arg(long, value_enum, default_value = "thread")]
    pub(crate) device: Device,
}

/// A node's place in the run.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Its certificates, its disk and its socket.
    #[arg(long)]
    dir: PathBuf,
    /// Peers to dial, as `name=address`.
    #[arg(long)]
    peer: Vec<String>,
    #[command(flatten)]
    layout: Layout,
}

/// Runs a node until its standard input ends.
pub(crate) fn run(args: &NodeArgs) -> Result<()> {
    match args.layout.threads {
        Threads::One => System::new().block_on(async { live(args, Arbiter::current).await }),
        Threads::Apart => {
            System::new().block_on(async { live(args, || Arbiter::new().handle()).await })
        }
        Threads::Beside => {
            let (sent, system) = std::sync::mpsc::sync_channel(1);
            let actors = std::thread::spawn(move || {
                let runner = System::new();
                // Fails only when the thread that waits for it has gone.
                sent.send(System::current()).ok();
                runner.run()
            });
            let system = system.recv()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let lived = runtime.block_on(live(args, || system.arbiter().clone()));
            system.stop();
            actors.join().map_err(|_panic| anyhow::anyhow!("the actors' thread panicked"))??;
            lived
        }
    }
}

async fn live(args: &NodeArgs, arbiter: impl Fn() -> ArbiterHandle) -> Result<()> {
    let credentials = Arc::new(Credentials::load(&args.dir, UnixTime::now())?);
    let config = TransportConfig::default();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let surroundings = Surroundings::bind(addr, config.socket_buffer_bytes)?;
    let names = Arc::new(Names::default());
    let inbound = Arc::clone(&names) as Arc<dyn Inbound>;
    let endpoint = Endpoint::new(config, 1, Arc::clone(&credentials), surroundings, inbound)?;
    for peer in &args.peer {
        let (name, addr) = peer.split_once('=').context("a peer is name=address")?;
        names.add_link(endpoint.connect(name.parse()?, addr.parse()?).await?);
    }
    let traces = Arc::new(Mutex::new(Vec::new()));
    let identity = credentials.identity();
    for role in identity.roles.iter() {
        let name = format!("{role}@{}", identity.name);
        start(role.as_str(), name, args, &arbiter(), &names, &traces)?;
    }
    println!("ready {}", endpoint.local_addr()?);
    let mut orders = BufReader::new(stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        if order == "trespass" {
            let request = Request::Read { offset: 0, length: 1 };
            let (epoch, trace) = Default::default();
            let asked = names.ask("storage@n3", Question { epoch, request, trace }, TRESPASS_MAX);
            println!("trespassed {:?}", asked.await.map(|answer| answer.status));
        }
        if order == "hops" {
            let mut traces = traces.lock().unwrap_or_else(PoisonError::into_inner);
            let (count, rows) = percentiles(&traces);
            for (hop, p50, p99) in rows {
                println!("hop {p50} {p99} {hop}");
            }
            println!("traces {count}");
            traces.clear();
        }
    }
    endpoint.close().await;
    Ok(())
}

/// Starts the actor of a role on an arbiter.
fn start(
    role: &str,
    name: String,
    args: &NodeArgs,
    arbiter: &ArbiterHandle,
    names: &Arc<Names>,
    traces: &Arc<Mutex<Vec<Trace>>>,
) -> Result<()> {
    let known = Arc::clone(names);
    let actor = match role {
        "phyp" => {
            let entries = ["vios@n2".to_owned(), "vios@n3".to_owned()];
            let listener = std::os::unix::net::UnixListener::bind(args.dir.join("nbd.sock"))?;
            listener.set_nonblocking(true)?;
            let export =
                Export { names: Arc::clone(names), lpar: name.clone(), traces: Arc::clone(traces) };
            arbiter.spawn_fn(move || match UnixListener::from_std(listener) {
                Ok(listener) => drop(actix::spawn(nbd::serve(listener, export))),
                Err(error) => eprintln!("NBD socket: {error}"),
            });
            Lpar::start_in_arbiter(arbiter, move |_ctx| Lpar::new(known, entries, 1)).recipient()
        }
        "vios" => {
            let vios = Vios { names: known, storage: "storage@n3".to_owned() };
            Vios::start_in_arbiter(arbiter, move |_ctx| vios).recipient()
        }
        "storage" => {
            let volume = Volume::open(&args.dir)?;
            let storage = match args.layout.device {
                Device::Thread => Storage::on_thread(volume),
                Device::Inline => Storage::Inline(volume),
            };
            Storage::start_in_arbiter(arbiter, move |_ctx| storage).recipient()
        }
        _no_actor => return Ok(()),
    };
    names.add_actor(&name, actor);
    Ok(())
}
