//! How a node is, as it tells in JSON.
//!
//! Fields are added, never renamed or given another meaning; a change of those raises [`SCHEMA`].

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::{ClusterName, Kind, NodeName, Roles};
use vioduct_certs::serial::Serial;

/// Version of the JSON documents here.
pub const SCHEMA: u32 = 2;

/// How one node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// [`SCHEMA`] of the node that answers.
    pub schema: u32,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub node: NodeName,
    /// Version of its program.
    pub version: String,
    /// Number of its run.
    pub incarnation: u64,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Where it listens.
    pub listen: String,
    /// What its certificate lets it do.
    pub roles: Roles,
    /// The credentials in use.
    pub trust: TrustStatus,
    /// What its system actors have done.
    pub service: ServiceCounts,
    /// The cluster as it sees it.
    #[serde(default)]
    pub membership: MembershipStatus,
    /// Its links to nodes, and those to tools that are up, by the peer's name.
    pub links: Vec<LinkStatus>,
    /// Connections from outside that were turned down: the latest, oldest first.
    pub refused_dials: Vec<RefusedDial>,
    /// All of them since the start.
    pub refused_dials_count: u64,
}

/// The cluster as one node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipStatus {
    /// How the node itself stands in it.
    pub standing: StandingLabel,
    /// Every other node that it knows of, by name, those that are down too.
    pub members: Vec<MemberStatus>,
}

impl MembershipStatus {
    /// How many members there are, the node itself counted.
    pub fn up_count(&self) -> usize {
        let up = self.members.iter().filter(|member| member.state != MemberCondition::Down);
        up.count() + usize::from(self.standing == StandingLabel::Member)
    }
}

/// How a node stands in its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandingLabel {
    /// It takes part.
    #[default]
    Member,
    /// It took its leave.
    Left,
    /// The others hold this run of it for down.
    Expelled,
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub node: NodeName,
    /// How it fares.
    pub state: MemberCondition,
    /// Its run.
    pub incarnation: u64,
    /// Where others dial it, as it says.
    pub addr: String,
    /// What it says it may do.
    pub roles: Roles,
}

/// How a member fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberCondition {
    /// It answers.
    Alive,
    /// It did not answer lately.
    Suspect,
    /// It left, or was declared down.
    Down,
}

/// The credentials that a node uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// The node's own certificate.
    pub leaf: LeafStatus,
    /// The roots, in the file's order.
    pub authorities: Vec<AuthorityStatus>,
    /// One revocation list for each root.
    pub revocation_lists: Vec<RevocationStatus>,
    /// Times that changed files were taken into use since the start.
    pub reloads: u64,
    /// Why the files on disk are not in use; absent when they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
    /// How the node renews its certificate; absent when that is done by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<RenewalStatus>,
}

/// A node's renewal of its own certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalStatus {
    /// Seconds until the next try: until the certificate is due, or after a failure until it is
    /// tried again. 0 while the command runs.
    pub next_try_in_s: u64,
    /// Certificates that the node had signed since its start.
    pub renewed: u64,
    /// Tries that failed since the last good one.
    pub failures: u32,
    /// Why the last try failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A certificate of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafStatus {
    /// Its serial number.
    pub serial: Serial,
    /// Subject name of the root that signed it; empty from a node that does not tell.
    #[serde(default)]
    pub issuer: String,
    /// End of its life, RFC 3339.
    pub not_after: String,
    /// Seconds until then.
    pub expires_in_s: u64,
    /// Seconds until it is due for renewal.
    #[serde(default)]
    pub due_in_s: u64,
    /// `fresh`, `due`, `warning`, `critical` or `expired`.
    pub urgency: String,
}

/// A root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityStatus {
    /// Its subject name.
    pub subject: String,
    /// End of its life, RFC 3339.
    pub not_after: String,
    /// Seconds until then.
    pub expires_in_s: u64,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationStatus {
    /// Its number.
    pub number: u64,
    /// How many certificates it revokes.
    pub revoked_count: u64,
    /// When it becomes too old to be believed, RFC 3339.
    pub next_update: String,
    /// Seconds until then.
    pub expires_in_s: u64,
}

/// What a node's system actors have done since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceCounts {
    /// Echoes answered.
    pub echoes: u64,
    /// Statuses told.
    pub statuses: u64,
    /// Sink messages counted.
    pub sunk: u64,
}

/// Whether a link carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkCondition {
    /// Messages are queued until there is a connection.
    Connecting,
    /// Messages flow.
    Up,
    /// Messages are refused until there is a connection.
    Unreachable,
    /// Shut down for good.
    Closed,
}

impl LinkCondition {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
        }
    }
}

/// One link of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The peer's name.
    pub peer: NodeName,
    /// Node or tool.
    pub kind: Kind,
    /// Whether it carries messages.
    pub state: LinkCondition,
    /// The connection that carries it, while it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStatus>,
    /// Why its last connection ended, while it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_reason: Option<String>,
    /// Why the latest dial of this node failed, while it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_error: Option<String>,
    /// Messages that wait to be sent.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Messages sent, over all connections.
    pub messages_sent: u64,
    /// Messages received, over all connections.
    pub messages_received: u64,
    /// Connections that have carried it.
    pub connections: u64,
}

/// The connection that carries a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its number between the two.
    pub generation: u64,
    /// The peer's run.
    pub incarnation: u64,
    /// Serial number of the certificate that the peer showed on it.
    pub serial: Serial,
    /// Seconds until that certificate expires.
    pub expires_in_s: u64,
    /// What the peer may do.
    pub roles: Roles,
    /// The peer's address.
    pub addr: String,
    /// Whether this node dialled.
    pub dialled: bool,
    /// Round-trip time, microseconds.
    pub rtt_us: u64,
    /// Packets lost on it.
    pub packets_lost: u64,
}

/// A connection from outside that was turned down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDial {
    /// Where it came from.
    pub addr: String,
    /// The reason's label.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// When, RFC 3339.
    pub at: String,
}
