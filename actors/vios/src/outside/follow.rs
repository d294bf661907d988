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

/// How long its adapter, which is on this node, may take, and when it is told again.
const TELL_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the adapter of the VIOS on this node which exports are its own, whenever that changes.
pub(crate) async fn follow(node: NodeName, outside: LocalRef<Outside>, mut cluster: ClusterSight) {
    let mut told = BTreeMap::new();
    loop {
        let view = cluster.view.borrow_and_update().clone();
        // Nothing is taken away as long as nothing is known.
        let exports = view.map(|view| exports_of(&view, &node, &told));
        let mut pause = None;
        if let Some(exports) = exports.filter(|exports| *exports != told) {
            match outside.ask(SetExports(exports.clone()), TELL_WITHIN).await {
                Ok(()) => told = exports,
                Err(error) => {
                    tracing::warn!(%error, "exports are not told yet");
                    pause = Some(PAUSE);
                }
            }
        }
        if !cluster.changed(pause).await {
            return;
        }
    }
}

/// Those of this node's VIOS. An LU whose row this program can't read stays as it was told.
fn exports_of(
    view: &View,
    node: &NodeName,
    told: &BTreeMap<LuId, Export>,
) -> BTreeMap<LuId, Export> {
    let known = view.all::<LuRow>().filter_map(|(lu, row)| {
        let export = row.export.filter(|_export| row.phase == LuPhase::Ready)?;
        let is_own = export.only.as_ref().is_none_or(|only| only == node);
        is_own.then(|| (lu, Export { name: export.name, is_sole: export.only.is_some() }))
    });
    let kept = told.iter().filter(|(lu, _export)| view.is_unreadable::<LuRow>(lu));
    known.chain(kept.map(|(lu, export)| (*lu, export.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use vioduct_db::query::FoundRow;

    use super::*;
    use crate::cluster::row::{ExportRow, Row};

    #[test]
    fn a_vios_has_the_exports_that_are_its_own_and_keeps_one_that_it_can_read_no_more() {
        let mut view = View::default();
        let mut set = |lu, value| {
            view.set(FoundRow { place: LuRow::place(&LuId(lu)), revision: 1, value });
        };
        let row = |only: Option<&str>, phase| {
            let only = only.map(|node| node.parse().unwrap());
            let export = Some(ExportRow { name: "x".into(), only });
            let pool = "san".parse().unwrap();
            LuRow { pool, size: 0, birth: 1, phase, vtds: Vec::new(), export }.encode()
        };
        set(1, row(None, LuPhase::Ready));
        set(2, row(Some("v1"), LuPhase::Ready));
        set(3, row(Some("v2"), LuPhase::Ready));
        set(4, row(None, LuPhase::Deleting));
        set(5, vec![99].into());
        set(6, vec![99].into());
        let export = |is_sole| Export { name: "x".into(), is_sole };
        let told = BTreeMap::from([(LuId(5), export(false)), (LuId(7), export(false))]);
        let expected =
            [(LuId(1), export(false)), (LuId(2), export(true)), (LuId(5), export(false))];
        assert_eq!(exports_of(&view, &"v1".parse().unwrap(), &told), expected.into());
    }
}
