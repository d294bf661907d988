//! Who may change the rows of which table.

use vioduct_certs::identity::Role;
use vioduct_db::client::{Db, DbError, Freshness};
use vioduct_db::command::{Change, Place, TableId};

use crate::cluster::{Cluster, OF_EACH_VIOS, OF_STORAGES, bytes, system};

fn place(table: u16, key: &str) -> Place {
    Place { table: TableId(table), key: bytes(key) }
}

/// Whether this client may write that row, and take it away.
async fn may(db: &Db, place: Place) -> bool {
    let put = db.put(place.clone(), bytes("new")).await;
    let deleted = db.delete(place.clone()).await;
    for refused in [put.as_ref().err(), deleted.as_ref().err()].into_iter().flatten() {
        assert!(
            matches!(refused, DbError::NotItsTable { table, .. } if *table == place.table.0),
            "{refused}"
        );
    }
    assert_eq!(put.is_ok(), deleted.is_ok());
    put.is_ok()
}

#[tokio::test]
async fn a_node_changes_the_rows_of_its_role_and_a_tool_all() {
    let mut cluster = Cluster::start(3, 0).await;
    let (_s1, storage) = cluster.client_with("s1", &[Role::Storage]).await;
    let (_v1, vios) = cluster.client_with("v1", &[Role::Vios, Role::Phyp]).await;
    let (_x1, nobody) = cluster.client_with("x1", &[]).await;
    let (_ops, tool) = cluster.tool().await;
    let rows = [
        place(OF_STORAGES, "s1"),
        place(OF_EACH_VIOS, "v1"),
        place(OF_EACH_VIOS, "v1\0a"),
        place(OF_EACH_VIOS, "v10"),
        place(OF_EACH_VIOS, "v"),
        system("open"),
    ];
    let expected = [
        (&storage, [true, false, false, false, false, true]),
        (&vios, [false, true, true, false, false, true]),
        (&nobody, [false, false, false, false, false, true]),
        (&tool, [true; 6]),
    ];
    for (turn, (db, expected)) in expected.into_iter().enumerate() {
        for (row, expected) in rows.iter().zip(expected) {
            assert_eq!(may(db, row.clone()).await, expected, "client {turn}, {row:?}");
        }
    }
}

#[tokio::test]
async fn of_a_transaction_that_changes_one_row_too_many_nothing_is_done() {
    let mut cluster = Cluster::start(3, 0).await;
    let (_s1, storage) = cluster.client_with("s1", &[Role::Storage]).await;
    let put = |place| Change::Put { place, value: bytes("new"), lease: None };
    let (own, other) = (place(OF_STORAGES, "a"), place(OF_EACH_VIOS, "v1"));
    let refused = storage.transact(Vec::new(), vec![put(own.clone()), put(other)]).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, DbError::NotItsTable { table: OF_EACH_VIOS, .. }), "{refused}");
    assert!(refused.to_string().contains("s1"), "{refused}");
    // Everybody may read.
    let found = storage.get(own, Freshness::Linearizable).await.unwrap();
    assert_eq!(found, None);
}
