//! A fault proxy as a program of its own, controlled by lines on its standard input.
//!
//! Prints one JSON line with its address when it listens, and one in answer to each line of
//! control: `{"ok":true}`, `{"error":"…"}` or the counts. Ends on `quit`, on ctrl-c and at the end
//! of its input, so it does not outlive whoever started it.
#![expect(clippy::print_stdout, reason = "its answers go to standard output")]

use std::io::BufRead;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use vioduct_tests::fault::command::{Command, CommandError};
use vioduct_tests::fault::{
    Faults, StreamFaults, TcpProxy, TcpProxyConfig, UdpProxy, UdpProxyConfig,
};

/// Lines of control read ahead.
const LINES_MAX: usize = 16;

/// Puts faults between clients and a target.
#[derive(Debug, Parser)]
#[command(name = "fault-proxy", about)]
struct Cli {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Carries datagrams.
    Udp(UdpArgs),
    /// Carries connections.
    Tcp(TcpArgs),
}

/// What both kinds of proxy take.
#[derive(Debug, Args)]
struct Place {
    /// Where clients send to; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where it goes.
    #[arg(long)]
    target: SocketAddr,
    /// Milliseconds added in each direction.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Bytes a second in each direction; for TCP, of each connection. Default: no limit.
    #[arg(long)]
    rate: Option<u64>,
}

#[derive(Debug, Args)]
struct UdpArgs {
    #[command(flatten)]
    place: Place,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the datagrams lost, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Milliseconds of delay, at most, added by a draw for each datagram.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    /// Share of the datagrams held back while later ones pass, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Share of the datagrams sent twice, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
}

#[derive(Debug, Args)]
struct TcpArgs {
    #[command(flatten)]
    place: Place,
}

/// Either proxy.
enum Proxy {
    Udp(UdpProxy),
    Tcp(TcpProxy),
}

impl Proxy {
    fn start(kind: Kind) -> anyhow::Result<Self> {
        match kind {
            Kind::Udp(args) => {
                let Place { listen, target, delay_ms, rate } = args.place;
                let faults = Faults::none()
                    .with_loss(args.loss)?
                    .with_delay(Duration::from_millis(delay_ms))?
                    .with_jitter(Duration::from_millis(args.jitter_ms))?
                    .with_reorder(args.reorder)?
                    .with_duplicate(args.duplicate)?
                    .with_rate(rate)?;
                let proxy = UdpProxy::start(UdpProxyConfig { listen, target, seed: args.seed })
                    .with_context(|| format!("can't listen on {listen}"))?;
                proxy.set_both(faults);
                Ok(Self::Udp(proxy))
            }
            Kind::Tcp(args) => {
                let Place { listen, target, delay_ms, rate } = args.place;
                let faults = StreamFaults::none()
                    .with_delay(Duration::from_millis(delay_ms))?
                    .with_rate(rate)?;
                let proxy = TcpProxy::start(TcpProxyConfig { listen, target })
                    .with_context(|| format!("can't listen on {listen}"))?;
                proxy.set_both(faults);
                Ok(Self::Tcp(proxy))
            }
        }
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Self::Udp(proxy) => proxy.addr(),
            Self::Tcp(proxy) => proxy.addr(),
        }
    }

    fn stats(&self) -> Value {
        match self {
            Self::Udp(proxy) => proxy.stats().to_json(),
            Self::Tcp(proxy) => proxy.stats().to_json(),
        }
    }

    fn apply(&self, command: Command) -> Result<(), CommandError> {
        match self {
            Self::Udp(proxy) => command.apply_udp(proxy),
            Self::Tcp(proxy) => command.apply_tcp(proxy),
        }
    }

    async fn shutdown(self) {
        match self {
            Self::Udp(proxy) => drop(proxy.shutdown().await),
            Self::Tcp(proxy) => drop(proxy.shutdown().await),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let proxy = Proxy::start(Cli::parse().kind)?;
    println!("{}", json!({ "listening": proxy.addr().to_string() }));
    let mut lines = stdin_lines();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("can't wait for ctrl-c")?;
                None
            }
        };
        let Some(line) = line else { break };
        match line.parse::<Command>() {
            Ok(Command::Quit) => break,
            Ok(Command::Stats) => println!("{}", proxy.stats()),
            Ok(command) => println!("{}", answer(proxy.apply(command))),
            Err(CommandError::Empty) => {}
            Err(refused) => println!("{}", answer(Err(refused))),
        }
    }
    proxy.shutdown().await;
    Ok(())
}

fn answer(outcome: Result<(), CommandError>) -> Value {
    match outcome {
        Ok(()) => json!({ "ok": true }),
        Err(error) => json!({ "error": format!("{:#}", anyhow::Error::from(error)) }),
    }
}

/// The lines of standard input, until it ends. Read by a thread, as that read can't be cancelled;
/// the thread ends with the input or with the process.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
