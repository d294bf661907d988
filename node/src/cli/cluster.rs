//! `vioduct cluster …`: asks every node of an inventory at once.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::net::lookup_host;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::inventory::{Inventory, NodeAddr};
use vioduct_node::service::{
    ClientConfig, LinkCondition, LinkStatus, NodeStatus, SCHEMA, ServiceClient, ServicePeer,
    TrustStatus,
};

use crate::cli::output::OutputFormat;
use crate::cli::ping::PingArgs;

/// Digits of a serial number that the tables show; JSON has them all.
const SERIAL_SHOWN: usize = 12;
/// How long a command waits for its own links to close.
const CLOSE_MAX: Duration = Duration::from_millis(250);

/// Ask the nodes of a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show every node with its links and certificates. Exit code 1 when something is down.
    Status(StatusArgs),
    /// Send messages to every node and get them back; one line a second tells how it went.
    Ping(PingArgs),
}

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["cluster", "node"]))]
pub(crate) struct TargetArgs {
    /// Directory of a tool's certificate, made with `vioduct ca issue --tool`.
    #[arg(long)]
    certs: PathBuf,
    /// The inventory file, cluster.toml.
    #[arg(long)]
    cluster: Option<PathBuf>,
    /// One node's name.
    #[arg(long, requires = "addr")]
    node: Option<NodeName>,
    /// One node's address.
    #[arg(long, requires = "node")]
    addr: Option<NodeAddr>,
}

/// Arguments of `cluster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait for a node.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

impl ClusterCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let runtime = Runtime::new().context("can't start the runtime")?;
        let exit = match self {
            Self::Status(args) => runtime.block_on(args.run(out)),
            Self::Ping(args) => runtime.block_on(args.run(out)),
        };
        runtime.shutdown_background();
        exit
    }
}

impl TargetArgs {
    /// The nodes to ask.
    pub(crate) fn nodes(&self) -> Result<Vec<(NodeName, NodeAddr)>> {
        match (&self.cluster, &self.node, &self.addr) {
            (Some(path), _, _) => {
                let inventory = Inventory::load(path)
                    .with_context(|| format!("inventory {}", path.display()))?;
                Ok(inventory.nodes.into_iter().map(|node| (node.name, node.addr)).collect())
            }
            (None, Some(node), Some(addr)) => Ok(vec![(node.clone(), addr.clone())]),
            (None, _, _) => bail!("name whom to ask: --cluster FILE, or --node NAME --addr ADDR"),
        }
    }

    /// Makes a client with the tool's certificate, for both families of addresses.
    pub(crate) fn clients(&self) -> Result<Clients> {
        let credentials = Credentials::load(&self.certs, UnixTime::now())
            .with_context(|| format!("certificates in {}", self.certs.display()))?;
        let credentials = Arc::new(credentials);
        let v4 = ServiceClient::start(Arc::clone(&credentials), ClientConfig::default())?;
        let bind = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        // A host without IPv6 has no use for it.
        let v6 = ServiceClient::start(credentials, ClientConfig { bind, ..Default::default() });
        Ok(Clients { v4, v6: v6.ok() })
    }
}

/// A client for each family of addresses.
pub(crate) struct Clients {
    v4: ServiceClient,
    v6: Option<ServiceClient>,
}

impl Clients {
    /// Begins to dial a node.
    pub(crate) async fn connect(&self, node: NodeName, addr: &NodeAddr) -> Result<ServicePeer> {
        let addr = match addr.as_str().parse::<SocketAddr>() {
            Ok(addr) => addr,
            Err(_name) => {
                let mut found = lookup_host(addr.as_str()).await.context("address not found")?;
                found.next().context("address not found")?
            }
        };
        let client = match (addr, &self.v6) {
            (SocketAddr::V4(_), _) => &self.v4,
            (SocketAddr::V6(_), Some(client)) => client,
            (SocketAddr::V6(_), None) => bail!("this host has no IPv6 for {addr}"),
        };
        Ok(client.connect(node, addr).await?)
    }

    /// Closes every link, as far as that is quick.
    pub(crate) async fn close(self) {
        let v6 = async {
            if let Some(client) = &self.v6 {
                client.close().await;
            }
        };
        let both = async { tokio::join!(self.v4.close(), v6) };
        // A node that is down does not answer a close either; it finds out by itself.
        timeout(CLOSE_MAX, both).await.ok();
    }
}

impl StatusArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let nodes = self.target.nodes()?;
        let clients = Arc::new(self.target.clients()?);
        let wait = Duration::from_millis(self.timeout_ms.into());
        let mut asked = JoinSet::new();
        for (position, (node, addr)) in nodes.into_iter().enumerate() {
            let clients = Arc::clone(&clients);
            asked.spawn(async move {
                let answer = ask(&clients, node.clone(), &addr, wait).await;
                (position, NodeAnswer::new(node, addr.to_string(), answer))
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(position, _answer)| *position);
        let answers = answers.into_iter().map(|(_position, answer)| answer).collect();
        let status = ClusterStatus::new(answers);
        out.print(&status)?;
        if let Some(clients) = Arc::into_inner(clients) {
            clients.close().await;
        }
        Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn ask(
    clients: &Clients,
    node: NodeName,
    addr: &NodeAddr,
    wait: Duration,
) -> Result<NodeStatus> {
    let answer = async {
        let peer = clients.connect(node, addr).await?;
        peer.up(wait).await?;
        Ok(peer.status(wait).await?)
    };
    let late = || format!("no answer within {} ms", wait.as_millis());
    timeout(wait, answer).await.map_err(|_elapsed| anyhow::Error::msg(late()))?
}

/// One node's answer, or why there is none.
#[derive(Debug, Serialize)]
struct NodeAnswer {
    node: NodeName,
    addr: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<NodeStatus>,
}

impl NodeAnswer {
    fn new(node: NodeName, addr: String, answer: Result<NodeStatus>) -> Self {
        match answer {
            Ok(status) => Self { node, addr, state: "up", error: None, status: Some(status) },
            Err(error) => {
                let error = Some(format!("{error:#}"));
                Self { node, addr, state: "unreachable", error, status: None }
            }
        }
    }

    fn is_healthy(&self) -> bool {
        let up = |link: &LinkStatus| link.state == LinkCondition::Up || link.kind == Kind::Tool;
        self.status.as_ref().is_some_and(|status| status.links.iter().all(up))
    }
}

/// What `cluster status` answers.
#[derive(Debug, Serialize)]
struct ClusterStatus {
    schema: u32,
    /// Every node answers, and every link between nodes is up.
    healthy: bool,
    nodes: Vec<NodeAnswer>,
}

impl ClusterStatus {
    fn new(nodes: Vec<NodeAnswer>) -> Self {
        Self { schema: SCHEMA, healthy: nodes.iter().all(NodeAnswer::is_healthy), nodes }
    }
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = vec![
            [
                "NODE", "STATE", "RUN", "VERSION", "UPTIME", "ROLES", "SERIAL", "EXPIRES", "DUE",
                "CA", "CRL",
            ]
            .map(str::to_owned),
        ];
        let head = ["NODE", "PEER", "STATE", "GEN", "RTT", "QUEUED", "SENT", "RECEIVED", "SERIAL"];
        let mut links = vec![head.map(str::to_owned)];
        let mut notes = Vec::new();
        for answer in &self.nodes {
            nodes.push(node_row(answer));
            if let Some(error) = &answer.error {
                notes.push(format!("{}: {error}", answer.node));
            }
            let Some(status) = &answer.status else { continue };
            if let Some(error) = &status.trust.reload_error {
                notes.push(format!("{}: certificates on disk not in use: {error}", answer.node));
            }
            let renewal = status.trust.renewal.as_ref();
            if let Some((renewal, error)) =
                renewal.and_then(|renewal| Some((renewal, renewal.last_error.as_ref()?)))
            {
                let (node, times) = (&answer.node, renewal.failures);
                let next = span(renewal.next_try_in_s);
                notes.push(format!(
                    "{node}: certificate not renewed, tried {times} times, again in {next}: {error}"
                ));
            }
            for link in status.links.iter().filter(|link| link.kind == Kind::Node) {
                links.push(link_row(answer, link));
                let (from, to) = (&answer.node, &link.peer);
                let down = link.down_reason.iter().map(|why| format!("{from} -> {to}: {why}"));
                let dial = link.dial_error.iter().map(|why| format!("{from} -> {to}: {why}"));
                notes.extend(down.chain(dial));
            }
        }
        table(f, &nodes)?;
        writeln!(f)?;
        table(f, &links)?;
        if !notes.is_empty() {
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

fn node_row(answer: &NodeAnswer) -> [String; 11] {
    let Some(status) = &answer.status else {
        let mut row = [""; 11].map(|_empty| "-".to_owned());
        let [node, state, ..] = &mut row;
        *node = answer.node.to_string();
        answer.state.clone_into(state);
        return row;
    };
    let trust = &status.trust;
    let root = trust.authorities.iter().map(|root| root.expires_in_s).min();
    let list = trust
        .revocation_lists
        .iter()
        .map(|list| format!("{} ({})", list.number, span(list.expires_in_s)));
    [
        answer.node.to_string(),
        answer.state.to_owned(),
        status.incarnation.to_string(),
        status.version.clone(),
        span(status.uptime_ms / 1000),
        status.roles.to_string(),
        short(&trust.leaf.serial.to_string()),
        span(trust.leaf.expires_in_s),
        due(trust),
        root.map_or_else(|| "-".to_owned(), span),
        list.collect::<Vec<_>>().join(", "),
    ]
}

fn link_row(answer: &NodeAnswer, link: &LinkStatus) -> [String; 9] {
    let connection = link.connection.as_ref();
    let dash = || "-".to_owned();
    [
        answer.node.to_string(),
        link.peer.to_string(),
        link.state.label().to_owned(),
        connection.map_or_else(dash, |up| up.generation.to_string()),
        connection.map_or_else(dash, |up| format!("{} us", up.rtt_us)),
        link.queued_messages.to_string(),
        link.messages_sent.to_string(),
        link.messages_received.to_string(),
        connection.map_or_else(dash, |up| short(&up.serial.to_string())),
    ]
}

/// When the certificate is due for renewal, and whether that takes somebody's hands.
fn due(trust: &TrustStatus) -> String {
    let by_hand = if trust.renewal.is_some() { "" } else { " by hand" };
    format!("{}{by_hand}", span(trust.leaf.due_in_s))
}

fn short(serial: &str) -> String {
    serial.chars().take(SERIAL_SHOWN).collect()
}

/// The two largest units of a span: `6d23h`, `59m4s`.
fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// Rows in columns as wide as their widest cell.
fn table<const COLUMNS: usize>(
    f: &mut fmt::Formatter<'_>,
    rows: &[[String; COLUMNS]],
) -> fmt::Result {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints a line at once, for those who follow along.
pub(crate) fn print_line(line: impl fmt::Display) -> io::Result<()> {
    use io::Write;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        let shown = [0, 59, 61, 3599, 3600, 86_399, 86_400, 604_800].map(span);
        assert_eq!(shown, ["0s", "59s", "1m1s", "59m59s", "1h0m", "23h59m", "1d0h", "7d0h"]);
    }

    #[test]
    fn a_node_without_an_answer_is_shown_as_down_with_the_reason() {
        let answer = NodeAnswer::new(
            "n1".parse().unwrap(),
            "127.0.0.1:7400".to_owned(),
            Err(anyhow::Error::msg("no answer within 5 ms")),
        );
        let status = ClusterStatus::new(vec![answer]);
        assert!(!status.healthy);
        let text = status.to_string();
        assert!(text.contains("\nn1    unreachable  -"), "{text}");
        assert!(text.ends_with("n1: no answer within 5 ms\n"), "{text}");
    }
}
