use vioduct_certs::identity::Identity;

use super::*;
use crate::redirect::name::LuId;

fn registered() -> Registered {
    let (unique, software) = (UniqueId([7; 16]), "0.1.0".to_owned());
    Registered { unique, cec: 2, software, incarnation: 300 }
}

#[test]
fn rows_have_the_bytes_that_they_always_had() {
    let cluster = ClusterRow { name: "blue".into(), id: UniqueId([9; 16]), language: 1 };
    let bytes = [&[1, 4][..], b"blue", &[9; 16], &[1]].concat();
    assert_eq!(cluster.encode(), bytes);
    assert_eq!(ClusterRow::decode(&bytes), Ok(cluster));
    let vios = ViosRow { number: 3, registered: Some(registered()) };
    let bytes = [&[1, 3, 1][..], &[7; 16], &[2, 5], b"0.1.0", &[251, 44, 1]].concat();
    assert_eq!(vios.encode(), bytes);
    assert_eq!(ViosRow::decode(&bytes), Ok(vios));
}

#[test]
fn a_newer_row_and_one_that_is_none_are_told_apart() {
    let newer = RowError::Newer { what: "a VIOS's row", version: 2, known: 1 };
    assert_eq!(ViosRow::decode(&[2, 0, 0]), Err(newer));
    for bytes in [&[][..], &[0], &[1], &[1, 3], &[1, 3, 0, 0]] {
        let unreadable = RowError::Unreadable { what: "a VIOS's row" };
        assert_eq!(ViosRow::decode(bytes), Err(unreadable), "{bytes:?}");
    }
}

#[test]
fn rows_of_the_storage_have_the_bytes_that_they_always_had() {
    let (pool, storage): (ObjectName, _) = ("gold".parse().unwrap(), "s1".parse().unwrap());
    let on_node = PoolRow { storage: Storage::Node(storage), lus: 2 };
    assert_eq!(on_node.encode(), [1, 2, b's', b'1', 2].as_slice());
    assert_eq!(PoolRow::decode(&on_node.encode()), Ok(on_node));
    let phase = LuPhase::Failed("full".into());
    let vtds = vec![VtdKey(7)];
    let lu = LuRow { pool, size: 4096, birth: 8, phase, vtds, export: None };
    let bytes = [&[1, 4][..], b"gold", &[251, 0, 16, 8, 2, 4], b"full", &[1, 7]].concat();
    assert_eq!(lu.encode(), bytes);
    assert_eq!(LuRow::decode(&bytes), Ok(lu.clone()));
    let client: ClientKey = "3/lpar1".parse().unwrap();
    let vtd = VtdRow { lu: 9, client: client.clone(), front: None };
    let bytes = [&[1, 9, 3, 5][..], b"lpar1", &[0]].concat();
    assert_eq!(vtd.encode(), bytes);
    assert_eq!(VtdRow::decode(&bytes), Ok(vtd));
    assert_eq!(client.bytes(), [&[0, 0, 0, 3][..], b"lpar1"].concat());
    assert_eq!(ClientKey::read(&client.bytes()), Some(client));
    assert_eq!(ClientRow { number: 5, vtds: Vec::new() }.encode(), [1, 5, 0].as_slice());
    let shown = Some(("3/a".parse().unwrap(), VtdKey(7)));
    let transfer = TransferRow { kind: TransferKind::Export, run: 9, shown };
    assert_eq!(transfer.encode(), [1, 1, 9, 1, 3, 1, b'a', 7].as_slice());
    assert_eq!(TransferRow::decode(&transfer.encode()), Ok(transfer));
    assert_eq!(RunnerRow { by: "p".into() }.encode(), [1, 1, b'p'].as_slice());
}

#[test]
fn rows_of_a_storage_outside_have_the_bytes_that_they_always_had() {
    let pool = PoolRow { storage: Storage::Outside { request_life_ms: Some(9) }, lus: 2 };
    assert_eq!(pool.encode(), [2, 1, 1, 9, 2].as_slice());
    assert_eq!(PoolRow::decode(&pool.encode()), Ok(pool));
    let export = ExportRow { name: "x".into(), only: Some("v1".parse().unwrap()) };
    let (pool, phase) = ("gold".parse().unwrap(), LuPhase::Ready);
    let lu = LuRow { pool, size: 0, birth: 8, phase, vtds: Vec::new(), export: Some(export) };
    let rest = [0, 8, 1, 0, 1, 1, b'x', 1, 2, b'v', b'1'];
    let bytes = [&[2, 4][..], b"gold", &rest].concat();
    assert_eq!(lu.encode(), bytes);
    assert_eq!(LuRow::decode(&bytes), Ok(lu));
    let owner = OwnerRow { node: "p1".parse().unwrap(), owner: 3, is_clean: true };
    assert_eq!(owner.encode(), [1, 2, b'p', b'1', 3, 1].as_slice());
    let newer = RowError::Newer { what: "a pool's row", version: 3, known: 2 };
    assert_eq!(PoolRow::decode(&[3, 0]), Err(newer));
}

#[test]
fn names_and_clients_are_told_from_other_texts() {
    for text in ["", "-a", "a-", "A", "a b", "a/b", "\u{e4}", &"a".repeat(64)] {
        assert!(text.parse::<ObjectName>().is_err(), "{text}");
    }
    for text in ["lpar1", "/lpar1", "x/lpar1", "1/", "1/A", "-1/a", "4294967296/a"] {
        assert!(text.parse::<ClientKey>().is_err(), "{text}");
    }
    // Nor is a row of another program taken for one.
    assert_eq!(
        LuRow::decode(&[1, 1, b'A', 1, 0, 0]),
        Err(RowError::Unreadable { what: "an LU's row" })
    );
}

#[test]
fn each_table_is_written_by_those_whose_it_is() {
    let schema = with_tables(Schema::new(0));
    let node = |name: &str, roles: &[Role]| {
        let roles = roles.iter().copied().collect();
        Identity::node("blue".parse().unwrap(), name.parse().unwrap(), roles)
    };
    let (vios, storage) = (node("v1", &[Role::Vios]), node("s1", &[Role::Storage]));
    let others = node("x1", &[Role::Db, Role::Phyp]);
    let tool = Identity::tool("blue".parse().unwrap(), "ops".parse().unwrap());
    let (v1, v2) = (&"v1".parse().unwrap(), &"v2".parse().unwrap());
    let (pool, client) = (&"gold".parse().unwrap(), &"1/lpar1".parse().unwrap());
    let rows = [
        (ClusterRow::place(&TheCluster), [false, false]),
        (ViosRow::place(v1), [true, false]),
        (ViosRow::place(v2), [false, false]),
        (RedundancyRow::place(v1), [true, false]),
        (RedundancyRow::place(v2), [false, false]),
        (UniqueRow::place(&UniqueId([1; 16])), [true, false]),
        (PrimaryRow::place(&ThePrimary), [true, false]),
        (PoolRow::place(pool), [false, true]),
        (LuRow::place(&LuId(1)), [false, true]),
        (ClientRow::place(client), [false, false]),
        (VtdRow::place(&VtdKey(1)), [false, false]),
    ];
    for (place, expected) in rows {
        let may = [&vios, &storage, &others, &tool].map(|who| schema.may_write(who, &place));
        assert_eq!(may, [expected, [false, true]].concat().as_slice(), "{place:?}");
    }
    let owner = OwnerRow::place(&LuId(1));
    let may = [&vios, &storage, &others, &tool].map(|who| schema.may_write(who, &owner));
    assert_eq!(may, [false, false, true, true]);
}
