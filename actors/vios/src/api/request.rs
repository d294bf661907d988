//! What is asked, and what is answered.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;

use super::object::{
    Client, Cluster, Lu, Object, Pool, VioId, VioKind, VioObject, Vios, Vtd, text,
};
use crate::cluster::admin::Written;
use crate::cluster::row::{ClientKey, ObjectName};
use crate::cluster::view::View;

/// What is asked of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum VioRequest {
    /// All objects of these kinds, as they are at one moment.
    List {
        /// The kinds; the answer has them in this order.
        kinds: Vec<VioKind>,
    },
    /// One object.
    Read {
        /// Which.
        id: VioId,
    },
    /// A new object.
    Create {
        /// What it is to be.
        object: VioNew,
    },
    /// Another state of an object.
    Change {
        /// Which.
        change: VioChange,
        /// The version that the caller has seen; whatever it is, if none is given.
        version: Option<u64>,
    },
    /// No such object any more. An LU is there, being deleted, until its storage has freed its
    /// room.
    Delete {
        /// Which.
        id: VioId,
        /// The version that the caller has seen; whatever it is, if none is given.
        version: Option<u64>,
    },
}

/// An object that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum VioNew {
    /// The cluster, in a database that has none.
    Cluster {
        /// What operators call it: 1 to 64 bytes, printable.
        name: String,
        /// The nodes of the VIOSes that it begins with.
        vioses: BTreeSet<NodeName>,
    },
    /// A VIOS that may register.
    Vios {
        /// Its node.
        node: NodeName,
    },
    /// A pool of what a storage node serves.
    Pool {
        /// Its name.
        name: ObjectName,
        /// The node.
        storage: NodeName,
    },
    /// The pool of a storage outside of the cluster, to which VIOSes lead by their own settings.
    OutsidePool {
        /// Its name.
        name: ObjectName,
        /// Within what time the storage carries a request out, or never, milliseconds; none if
        /// nobody knows.
        request_life_ms: Option<u32>,
    },
    /// A logical unit; its storage makes it when it sees that.
    Lu {
        /// The pool that it is carved from.
        pool: ObjectName,
        /// Bytes, a multiple of 512.
        size: u64,
    },
    /// A logical unit that is an export of a storage outside of the cluster.
    Export {
        /// The pool of that storage.
        pool: ObjectName,
        /// Its name there, 4096 bytes at most; the empty one is the server's default.
        name: String,
        /// The node of the VIOS that alone uses it, if not all do.
        only: Option<NodeName>,
    },
    /// A client partition.
    Client {
        /// Its CEC and its name there.
        #[serde(with = "text")]
        client: ClientKey,
    },
    /// A virtual target device; the hypervisor of the client's CEC attaches the LU when it sees
    /// that.
    Vtd {
        /// The LU that it shows.
        lu: u64,
        /// The client that it shows it to.
        #[serde(with = "text")]
        client: ClientKey,
        /// Where the client finds it: `unix:/PATH` or `tcp:ADDR:PORT`; where its hypervisor says
        /// if none is given.
        socket: Option<String>,
    },
}

/// How an object is to be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum VioChange {
    /// A larger LU.
    LuSize {
        /// Its number.
        lu: u64,
        /// Bytes, a multiple of 512, not less than it has.
        size: u64,
    },
    /// An LU on a storage outside of the cluster whose hypervisor is gone: nothing that it sent can
    /// land any more. No VTD may show the LU.
    LuRelease {
        /// Its number.
        lu: u64,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VioResponse {
    /// The revision of the database that it is of.
    pub revision: u64,
    /// The objects that were asked for, made, or changed, as they are then; none that is gone.
    pub objects: Vec<VioObject>,
    /// Why rows of the database are passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

impl VioResponse {
    /// Of one object that was written.
    pub(super) fn of<T: Object>(written: Written<T::Row>) -> Self {
        let (key, revision, row) = written;
        let objects = vec![T::of(key, revision, row).into()];
        Self { revision, objects, unreadable: Vec::new() }
    }

    /// Of all objects of these kinds in a view.
    pub(super) fn all(view: &View, kinds: &[VioKind]) -> Self {
        let objects = kinds.iter().flat_map(|kind| match kind {
            VioKind::Cluster => Cluster::seen(view).into_iter().map(Into::into).collect(),
            VioKind::Vios => objects::<Vios>(view),
            VioKind::Pool => objects::<Pool>(view),
            VioKind::Lu => objects::<Lu>(view),
            VioKind::Client => objects::<Client>(view),
            VioKind::Vtd => objects::<Vtd>(view),
        });
        let unreadable = view.unreadable().map(|error| error.to_string()).collect();
        Self { revision: view.revision, objects: objects.collect(), unreadable }
    }

    /// The first of its objects if it is of this kind.
    #[must_use]
    pub fn first<T: Object>(self) -> Option<T> {
        self.objects.into_iter().next().and_then(T::among)
    }
}

fn objects<T: Object>(view: &View) -> Vec<VioObject> {
    T::all(view).map(Into::into).collect()
}
