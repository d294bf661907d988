//! Whether a VIOS that registers is one of the cluster's: what the database's rows say of it.
//!
//! A VIOS is admitted by its node's name before it comes. When it registers the first time, its
//! unique ID is bound to that name for ever, so that neither a copy of its disk under another name
//! nor another machine under its name is taken for it.
//!
//! Source: US 8,726,274, registration of a VIOS with the database.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_runtime::Wire;

use super::row::{ClusterRow, Registered, UniqueId, ViosRow};

/// The languages that this program speaks: the rows, and the messages of CMs.
pub const LANGUAGES: RangeInclusive<u32> = 1..=1;

/// Why the database does not take a VIOS. Trying again is of no use before something is mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no cluster yet.
    #[error("the database holds no cluster; make one with `vioduct cluster create`")]
    NoCluster,
    /// Nobody has admitted it.
    #[error("{node} is no VIOS of cluster {cluster}; admit it with `vioduct vios add {node}`")]
    NotAdmitted {
        /// Its node.
        node: String,
        /// The cluster.
        cluster: String,
    },
    /// It does not speak what the cluster speaks.
    #[error(
        "cluster {cluster} needs software that speaks language {needed}; \
         this is {software}, which speaks {oldest} to {newest}"
    )]
    Language {
        /// The cluster.
        cluster: String,
        /// What its members speak.
        needed: u32,
        /// The VIOS's software.
        software: String,
        /// What that speaks at least.
        oldest: u32,
        /// What that speaks at most.
        newest: u32,
    },
    /// Another one has registered under this node's name.
    #[error(
        "{node} has registered as {known}, and this is {told}; if its disk was lost, \
         take it out with `vioduct vios remove {node}` and admit it anew"
    )]
    OtherUnique {
        /// The node.
        node: String,
        /// Which one registered.
        known: UniqueId,
        /// Which one this is.
        told: UniqueId,
    },
    /// Another node has this unique ID: one disk is a copy of the other.
    #[error(
        "unique ID {unique} is that of {holder}: this node's data is a copy of that one's; \
         remove its file `odm` and start it again"
    )]
    UniqueTaken {
        /// Which.
        unique: UniqueId,
        /// Whose.
        holder: String,
    },
}

/// What the database knows when a VIOS registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) cluster: Option<&'a ClusterRow>,
    /// The row of the node.
    pub(super) vios: Option<&'a ViosRow>,
    /// Who has the unique ID.
    pub(super) holder: Option<&'a NodeName>,
}

/// The node's new row, if it is one of the cluster's.
pub(super) fn judge(
    Known { cluster, vios, holder }: Known<'_>,
    node: &NodeName,
    told: &Registered,
) -> Result<ViosRow, Refusal> {
    let cluster = cluster.ok_or(Refusal::NoCluster)?;
    if !LANGUAGES.contains(&cluster.language) {
        let (oldest, newest) = LANGUAGES.into_inner();
        return Err(Refusal::Language {
            cluster: cluster.name.clone(),
            needed: cluster.language,
            software: told.software.clone(),
            oldest,
            newest,
        });
    }
    let not_admitted =
        || Refusal::NotAdmitted { node: node.to_string(), cluster: cluster.name.clone() };
    let vios = vios.ok_or_else(not_admitted)?;
    let unique = told.unique;
    if let Some(holder) = holder.filter(|holder| *holder != node) {
        return Err(Refusal::UniqueTaken { unique, holder: holder.to_string() });
    }
    let known = vios.registered.as_ref().map(|registered| registered.unique);
    if let Some(known) = known.filter(|known| *known != unique) {
        return Err(Refusal::OtherUnique { node: node.to_string(), known, told: unique });
    }
    Ok(ViosRow { number: vios.number, registered: Some(told.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(unique: u8) -> Registered {
        let (unique, software) = (UniqueId([unique; 16]), "0.1.0".to_owned());
        Registered { unique, cec: 1, software, incarnation: 5 }
    }

    fn cluster(language: u32) -> ClusterRow {
        ClusterRow { name: "blue".into(), id: UniqueId([9; 16]), language }
    }

    fn judged(
        cluster: Option<&ClusterRow>,
        vios: Option<&ViosRow>,
        holder: Option<&str>,
    ) -> Result<ViosRow, Refusal> {
        let holder: Option<NodeName> = holder.map(|holder| holder.parse().unwrap());
        let known = Known { cluster, vios, holder: holder.as_ref() };
        judge(known, &"v1".parse().unwrap(), &told(7))
    }

    #[test]
    fn one_that_was_admitted_is_taken_the_first_time_and_each_time_again() {
        let (blue, admitted) = (cluster(1), ViosRow { number: 3, registered: None });
        let taken = judged(Some(&blue), Some(&admitted), None).unwrap();
        assert_eq!(taken, ViosRow { number: 3, registered: Some(told(7)) });
        assert_eq!(judged(Some(&blue), Some(&taken), Some("v1")), Ok(taken));
    }

    #[test]
    fn a_stranger_a_copy_and_another_machine_of_the_same_name_are_refused() {
        let blue = cluster(1);
        assert_eq!(judged(None, None, None), Err(Refusal::NoCluster));
        let (node, name) = ("v1".to_owned(), "blue".to_owned());
        let stranger = Refusal::NotAdmitted { node: node.clone(), cluster: name };
        assert_eq!(judged(Some(&blue), None, None), Err(stranger));
        let admitted = ViosRow { number: 3, registered: None };
        let copy = Refusal::UniqueTaken { unique: UniqueId([7; 16]), holder: "v2".into() };
        assert_eq!(judged(Some(&blue), Some(&admitted), Some("v2")), Err(copy));
        let other = ViosRow { number: 3, registered: Some(told(8)) };
        let (known, told) = (UniqueId([8; 16]), UniqueId([7; 16]));
        let another = Refusal::OtherUnique { node, known, told };
        assert_eq!(judged(Some(&blue), Some(&other), None), Err(another));
    }

    #[test]
    fn software_that_speaks_another_language_is_refused_with_both() {
        let admitted = ViosRow { number: 3, registered: None };
        let refused = judged(Some(&cluster(2)), Some(&admitted), None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cluster blue needs software that speaks language 2; this is 0.1.0, which speaks 1 to 1"
        );
    }
}
