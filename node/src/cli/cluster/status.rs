//! `vioduct cluster status`: how every node is, asked all at once.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::inventory::NodeAddr;
use vioduct_node::status::{
    LinkCondition, LinkStatus, MemberCondition, MembershipStatus, NodeStatus, SCHEMA,
    StandingLabel, TrustStatus,
};
use vioduct_node::tool::{Tool, ToolError};

use super::TargetArgs;
use crate::cli::output::OutputFormat;
use crate::cli::table::{Table, span};

const NODE_HEAD: [&str; 12] = [
    "NODE", "STATE", "RUN", "VERSION", "UPTIME", "ROLES", "MEMBERS", "SERIAL", "EXPIRES", "DUE",
    "CA", "CRL",
];
const LINK_HEAD: [&str; 9] =
    ["NODE", "PEER", "STATE", "GEN", "RTT", "QUEUED", "SENT", "RECEIVED", "SERIAL"];
/// Digits of a serial number that the tables show; JSON has them all.
const SERIAL_SHOWN: usize = 12;

/// Arguments of `cluster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait for a node.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

impl StatusArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (nodes, tool) = (self.target.nodes()?, self.target.tool()?);
        let within = Duration::from_millis(self.timeout_ms.into());
        let asked = nodes.into_iter().map(async |(node, addr)| {
            let answer = ask(&tool, node.clone(), &addr, within).await;
            NodeAnswer::new(node, addr.to_string(), answer.map_err(anyhow::Error::new))
        });
        let status = ClusterStatus::new(join_all(asked).await);
        out.print(&status)?;
        tool.close().await;
        Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn ask(
    tool: &Tool,
    node: NodeName,
    addr: &NodeAddr,
    within: Duration,
) -> Result<NodeStatus, ToolError> {
    tool.connect(node, addr).await?.status(within).await
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
        self.status.as_ref().is_some_and(|status| {
            status.links.iter().all(up) && status.membership.standing == StandingLabel::Member
        })
    }
}

/// What `cluster status` answers.
#[derive(Debug, Serialize)]
struct ClusterStatus {
    schema: u32,
    /// Every node answers and is a member, and every link between nodes is up.
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
        let (mut nodes, mut links) = (Table::new(NODE_HEAD), Table::new(LINK_HEAD));
        let mut notes = Vec::new();
        for answer in &self.nodes {
            nodes.row(node_row(answer));
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
            notes.extend(member_notes(&answer.node, &status.membership));
            for link in status.links.iter().filter(|link| link.kind == Kind::Node) {
                links.row(link_row(answer, link));
                let (from, to) = (&answer.node, &link.peer);
                let down = link.down_reason.iter().map(|why| format!("{from} -> {to}: {why}"));
                let dial = link.dial_error.iter().map(|why| format!("{from} -> {to}: {why}"));
                notes.extend(down.chain(dial));
            }
        }
        write!(f, "{nodes}\n{links}")?;
        if !notes.is_empty() {
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// What is not as it should be with the members that a node sees.
fn member_notes(node: &NodeName, membership: &MembershipStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if membership.standing != StandingLabel::Member {
        notes.push(format!("{node}: no member of the cluster any more; it has to be started anew"));
    }
    let suspects = membership.members.iter().filter(|it| it.state == MemberCondition::Suspect);
    notes.extend(suspects.map(|member| format!("{node}: {} did not answer lately", member.node)));
    notes
}

fn node_row(answer: &NodeAnswer) -> [String; 12] {
    let Some(status) = &answer.status else {
        let mut row = [""; 12].map(|_empty| "-".to_owned());
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
        status.membership.up_count().to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
