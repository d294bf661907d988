//! The exports of an outside storage as the cluster's database has them.

use std::collections::BTreeMap;
use std::time::Duration;

use vioduct_certs::identity::NodeName;
use vioduct_runtime::LocalRef;

use super::actor::SetExports;
use super::{Export, Outside};
use crate::cluster::cm::ClusterSight;
use crate::cluster::row::{LuPhase, LuRow};
use crate::cluster::view::View;
use crate::redirect::name::LuId;

/// How long its adapter, which is on this node, may take.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// Tells the adapter of the VIOS on this node which exports are its own, whenever that changes.
/// Ends with the adapter.
pub(crate) async fn follow(node: NodeName, outside: LocalRef<Outside>, mut cluster: ClusterSight) {
    let mut told = None;
    loop {
        let view = cluster.view.borrow_and_update().clone();
        // Nothing is taken away as long as nothing is known.
        if let Some(view) = view {
            let exports = exports_of(&view, &node);
            if told.as_ref() != Some(&exports) {
                if outside.ask(SetExports(exports.clone()), TELL_WITHIN).await.is_err() {
                    return;
                }
                told = Some(exports);
            }
        }
        if !cluster.changed(None).await {
            return;
        }
    }
}

fn exports_of(view: &View, node: &NodeName) -> BTreeMap<LuId, Export> {
    let exports = view.all::<LuRow>().filter_map(|(lu, row)| {
        let export = row.export.filter(|_export| row.phase == LuPhase::Ready)?;
        let is_own = export.only.as_ref().is_none_or(|only| only == node);
        is_own.then(|| (lu, Export { name: export.name, is_sole: export.only.is_some() }))
    });
    exports.collect()
}
