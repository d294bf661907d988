//! What VIOSes say of their paths.

use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use super::{AdminError, Looked, Plan, contended};
use crate::cluster::row::{RedundancyRow, Row, ViosRow};

/// The paths of the VIOS of this node, which has this number, are like that. Nothing is written for
/// one that the cluster does not have any more.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn tell_paths(
    db: &Db,
    node: &NodeName,
    row: &RedundancyRow,
) -> Result<(), AdminError> {
    contended(move || async move {
        let places = vec![ViosRow::place(node), RedundancyRow::place(node)];
        let looked = Looked::at(db, places).await?;
        let Some((member, vios)) = looked.get::<ViosRow>(node)? else { return Ok(()) };
        let before = looked.get::<RedundancyRow>(node)?;
        let is_told = before.as_ref().is_some_and(|(_revision, before)| before == row);
        if vios.number != row.vios || is_told {
            return Ok(());
        }
        let mut plan = Plan::default();
        plan.expect::<ViosRow>(node, member);
        plan.replace(node, before.map_or(0, |(revision, _row)| revision), row);
        plan.commit(db).await.map(drop)
    })
    .await
}
