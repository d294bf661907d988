//! What the system actors are sent, and what they answer.

use actix::{Message, MessageResponse};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{RemoteMessage, Wire};

/// Name of the actor that gives bodies back.
pub const ECHO: &str = "vioduct.echo";
/// Name of the actor that counts what it is told.
pub const SINK: &str = "vioduct.sink";
/// Name of the actor that says how the node is.
pub const STATUS: &str = "vioduct.status";

/// Asks for the body back.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Echoed")]
#[remote(name = "vioduct.Echo")]
pub struct Echo {
    /// Any bytes.
    #[serde(skip)]
    #[remote(body)]
    pub body: Bytes,
}

/// The body back.
#[derive(Debug, MessageResponse, Wire, Serialize, Deserialize)]
pub struct Echoed {
    /// When the message was handled.
    pub turn: Turn,
    /// The bytes of the message.
    #[serde(skip)]
    #[remote(body)]
    pub body: Bytes,
}

/// Orders the echoes of a node: what was handled later has a higher one, also in a later run.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Wire, Serialize, Deserialize,
)]
pub struct Turn {
    /// The run of the node.
    pub run: u64,
    /// Number of the echo in that run, from 1.
    pub number: u64,
}

/// A message that is counted and dropped.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "vioduct.Sink")]
pub struct Sink {
    /// What it is counted with: a number that the sender chooses at random.
    pub series: u64,
    /// Its place in the series, from 1, rising.
    pub sequence: u64,
    /// Any bytes.
    #[serde(skip)]
    #[remote(body)]
    pub body: Bytes,
}

/// Asks what came of a series. What the same node or tool told before is counted.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "SinkCount")]
#[remote(name = "vioduct.SinkQuery")]
pub struct SinkQuery {
    /// The series.
    pub series: u64,
}

/// What came of a series; nothing of one that is unknown or forgotten.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize,
)]
pub struct SinkCount {
    /// Messages that came.
    pub received: u64,
    /// Those among them whose place was not above that of every earlier one.
    pub out_of_order: u64,
}

/// Asks how the node is.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "StatusText")]
#[remote(name = "vioduct.Status")]
pub struct Status;

/// How the node is. In JSON, so that builds with other fields understand it; as a body, since it
/// grows with the number of links.
#[derive(Debug, MessageResponse, Wire, Serialize, Deserialize)]
pub struct StatusText {
    /// A [`NodeStatus`](crate::status::NodeStatus).
    #[serde(skip)]
    #[remote(body)]
    pub json: Bytes,
}
