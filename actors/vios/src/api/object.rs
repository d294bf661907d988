//! The objects of a cluster, and what tells them apart.

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_db::command::{Place, TableId};

use crate::cluster::admin::AdminError;
use crate::cluster::row::{
    ClientKey, ClientRow, ClusterRow, ExportRow, LuPhase, LuRow, ObjectName, PoolRow, PrimaryRow,
    Registered, Row, Storage, TheCluster, ThePrimary, ViosRow, VtdKey, VtdRow,
};
use crate::cluster::view::View;
use crate::redirect::name::LuId;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VioKind {
    /// The cluster.
    Cluster,
    /// A virtual I/O server.
    Vios,
    /// A pool of storage.
    Pool,
    /// A logical unit.
    Lu,
    /// A client partition.
    Client,
    /// A virtual target device.
    Vtd,
}

impl VioKind {
    /// The tables that its objects are made of.
    pub(super) const fn tables(self) -> &'static [TableId] {
        match self {
            Self::Cluster => &[ClusterRow::TABLE, PrimaryRow::TABLE],
            Self::Vios => &[ViosRow::TABLE],
            Self::Pool => &[PoolRow::TABLE],
            Self::Lu => &[LuRow::TABLE],
            Self::Client => &[ClientRow::TABLE],
            Self::Vtd => &[VtdRow::TABLE],
        }
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum VioId {
    /// The cluster: there is one.
    Cluster,
    /// The VIOS of this node.
    Vios(NodeName),
    /// The pool of this name.
    Pool(ObjectName),
    /// The LU of this number.
    Lu(u64),
    /// The client of this CEC and name.
    Client(#[serde(with = "text")] ClientKey),
    /// The VTD of this number.
    Vtd(VtdKey),
}

impl VioId {
    pub(super) const fn kind(&self) -> VioKind {
        match self {
            Self::Cluster => VioKind::Cluster,
            Self::Vios(_) => VioKind::Vios,
            Self::Pool(_) => VioKind::Pool,
            Self::Lu(_) => VioKind::Lu,
            Self::Client(_) => VioKind::Client,
            Self::Vtd(_) => VioKind::Vtd,
        }
    }

    /// The rows that it is made of.
    pub(super) fn places(&self) -> Vec<Place> {
        match self {
            Self::Cluster => vec![ClusterRow::place(&TheCluster), PrimaryRow::place(&ThePrimary)],
            Self::Vios(node) => vec![ViosRow::place(node)],
            Self::Pool(name) => vec![PoolRow::place(name)],
            Self::Lu(lu) => vec![LuRow::place(&LuId(*lu))],
            Self::Client(client) => vec![ClientRow::place(client)],
            Self::Vtd(vtd) => vec![VtdRow::place(vtd)],
        }
    }

    /// That there is none.
    pub(super) fn missing(&self) -> AdminError {
        match self.clone() {
            Self::Cluster => AdminError::NoCluster,
            Self::Vios(node) => AdminError::NotAdmitted(node),
            Self::Pool(name) => AdminError::NoPool(name),
            Self::Lu(lu) => AdminError::NoLu(LuId(lu)),
            Self::Client(client) => AdminError::NoClient(client),
            Self::Vtd(vtd) => AdminError::NoVtd(vtd),
        }
    }
}

/// An object as it is, or was when it was remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VioObject {
    /// The cluster.
    Cluster(Cluster),
    /// A virtual I/O server.
    Vios(Vios),
    /// A pool of storage.
    Pool(Pool),
    /// A logical unit.
    Lu(Lu),
    /// A client partition.
    Client(Client),
    /// A virtual target device.
    Vtd(Vtd),
}

/// One kind of objects.
pub trait Object: Sized + Into<VioObject> {
    /// The row that it is made of.
    type Row: Row;

    /// The object whose row has this key, and was written at this revision.
    fn of(key: <Self::Row as Row>::Key, version: u64, row: Self::Row) -> Self;

    /// An object, if it is of this kind.
    fn among(object: VioObject) -> Option<Self>;

    /// All that a view has, in order.
    fn all(view: &View) -> impl Iterator<Item = Self> {
        view.written::<Self::Row>().map(|(key, version, row)| Self::of(key, version, row))
    }
}

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// What operators call it.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Tells it from every other one, also of the same name: 32 hexadecimal digits.
    pub id: String,
    /// The language that its members speak.
    pub language: u32,
    /// The node of its primary, while there is one.
    pub primary: Option<String>,
}

impl Cluster {
    /// As a view has it, if there is one.
    #[must_use]
    pub fn seen(view: &View) -> Option<Self> {
        let primary = view.get::<PrimaryRow>(&ThePrimary).map(|primary| primary.node);
        Self::all(view).next().map(|cluster| Self { primary, ..cluster })
    }
}

/// A virtual I/O server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vios {
    /// Its node.
    pub node: NodeName,
    /// Its version.
    pub version: u64,
    /// Its number, never that of another one.
    pub number: u32,
    /// What it said of itself when it registered last; nothing before the first time.
    pub registered: Option<Registered>,
}

/// A pool of storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: ObjectName,
    /// Its version. Each LU that comes or goes makes another one.
    pub version: u64,
    /// The node that serves it; none if it is a storage outside of the cluster.
    pub storage: Option<NodeName>,
    /// Within what time a storage outside of the cluster carries a request out, or never,
    /// milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_life_ms: Option<u32>,
    /// How many LUs it has.
    pub lus: u32,
}

/// A logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lu {
    /// Its number, never that of another one.
    pub lu: u64,
    /// Its version. Each VTD that comes or goes makes another one.
    pub version: u64,
    /// Its pool.
    pub pool: ObjectName,
    /// Bytes; 0 for an export, which is as large as its server has it.
    pub size: u64,
    /// How far it is.
    pub phase: LuPhase,
    /// The VTDs that show it.
    pub vtds: Vec<VtdKey>,
    /// What it is on a storage outside of the cluster, if it lies there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportRow>,
}

/// A client partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its CEC and its name there.
    #[serde(with = "text")]
    pub client: ClientKey,
    /// Its version. Each VTD that comes or goes makes another one.
    pub version: u64,
    /// Its ClientID, never that of another one.
    pub id: u32,
    /// Its VTDs.
    pub vtds: Vec<VtdKey>,
}

/// A virtual target device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vtd {
    /// Its number, never that of another one.
    pub vtd: VtdKey,
    /// Its version.
    pub version: u64,
    /// The LU that it shows.
    pub lu: u64,
    /// The client that it shows it to.
    #[serde(with = "text")]
    pub client: ClientKey,
    /// Where the client finds it, if an operator has said so.
    pub socket: Option<String>,
}

macro_rules! object {
    ($kind:ident of $row:ident: |$key:pat_param, $version:ident, $pattern:pat_param| $of:expr) => {
        impl Object for $kind {
            type Row = $row;

            fn of($key: <$row as Row>::Key, $version: u64, $pattern: $row) -> Self {
                $of
            }

            fn among(object: VioObject) -> Option<Self> {
                if let VioObject::$kind(object) = object { Some(object) } else { None }
            }
        }

        impl From<$kind> for VioObject {
            fn from(object: $kind) -> Self {
                Self::$kind(object)
            }
        }
    };
}

object!(Cluster of ClusterRow: |TheCluster, version, ClusterRow { name, id, language }| {
    Self { name, version, id: id.to_string(), language, primary: None }
});
object!(Vios of ViosRow: |node, version, ViosRow { number, registered }| {
    Self { node, version, number, registered }
});
object!(Pool of PoolRow: |name, version, PoolRow { storage, lus }| {
    let (storage, request_life_ms) = match storage {
        Storage::Node(node) => (Some(node), None),
        Storage::Outside { request_life_ms } => (None, request_life_ms),
    };
    Self { name, version, storage, request_life_ms, lus }
});
object!(Lu of LuRow: |LuId(lu), version, LuRow { pool, size, phase, vtds, export, .. }| {
    Self { lu, version, pool, size, phase, vtds, export }
});
object!(Client of ClientRow: |client, version, ClientRow { number, vtds }| {
    Self { client, version, id: number, vtds }
});
object!(Vtd of VtdRow: |vtd, version, VtdRow { lu, client, front }| {
    Self { vtd, version, lu, client, socket: front }
});

/// Values whose form is what they display and parse.
pub(super) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::api) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::api) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
