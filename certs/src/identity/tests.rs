use proptest::prelude::{any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;

fn node(cluster: &str, name: &str, roles: &str) -> Identity {
    Identity::node(cluster.parse().unwrap(), name.parse().unwrap(), roles.parse().unwrap())
}

#[test]
fn identities_have_these_uris() {
    let full = node("prod", "n1", "vios.storage.phyp.db");
    assert_eq!(full.uri(), "spiffe://prod/node/n1/db.phyp.storage.vios");
    assert_eq!(full.server_name(), "n1.prod.vioduct.internal");
    assert_eq!(node("prod", "n1", "none").uri(), "spiffe://prod/node/n1/none");
    let tool = Identity::tool("prod".parse().unwrap(), "load".parse().unwrap());
    assert_eq!(tool.uri(), "spiffe://prod/tool/load");
}

#[test]
fn everything_but_the_one_spelling_is_refused() {
    for uri in [
        "",
        "spiffe://",
        "spiffe://prod",
        "spiffe://prod/node/n1",
        "spiffe://prod/node/n1/",
        "spiffe://prod/node/n1/db/",
        "spiffe://prod/node/n1/db/x",
        "spiffe://prod/node/n1/vios.db",
        "spiffe://prod/node/n1/db.db",
        "spiffe://prod/node/n1/db.none",
        "spiffe://prod/node/n1/DB",
        "spiffe://prod/node/n1/db?role=vios",
        "spiffe://prod/node/n1/db#vios",
        "spiffe://prod/node/%6e1/db",
        "spiffe://prod/node//db",
        "spiffe://prod//node/n1/db",
        "spiffe:///node/n1/db",
        "spiffe://Prod/node/n1/db",
        "SPIFFE://prod/node/n1/db",
        "spiffe://prod:1/node/n1/db",
        "spiffe://a@prod/node/n1/db",
        "spiffe://prod/node/-n1/db",
        "spiffe://prod/node/n1.x/db",
        "spiffe://prod/tool/load/none",
        "spiffe://prod/tool/load/",
        "spiffe://prod/user/load",
        " spiffe://prod/tool/load",
    ] {
        assert!(Identity::from_uri(uri).is_err(), "{uri}");
    }
}

#[test]
fn names_are_bounded_dns_labels() {
    assert!("a".repeat(32).parse::<ClusterName>().is_ok());
    assert!("a".repeat(33).parse::<ClusterName>().is_err());
    assert!("a".repeat(63).parse::<NodeName>().is_ok());
    assert!("a".repeat(64).parse::<NodeName>().is_err());
    for name in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a b", "a\n"] {
        assert!(name.parse::<NodeName>().is_err(), "{name:?}");
    }
}

#[test]
fn roles_are_a_set_in_alphabetical_order() {
    let roles: Roles = "vios.db".parse().unwrap();
    assert_eq!(roles.iter().collect::<Vec<_>>(), [Role::Db, Role::Vios]);
    assert!(roles.contains(Role::Db) && !roles.contains(Role::Phyp));
    assert!(Roles::none().is_empty() && !roles.is_empty());
    assert_eq!("db.db".parse::<Roles>(), Err(RoleError::Duplicate(Role::Db)));
    assert_eq!("".parse::<Roles>(), Err(RoleError::Unknown(String::new())));
    let mut sorted = Role::ALL;
    sorted.sort_by_key(|role| role.as_str());
    assert_eq!(sorted, Role::ALL);
}

proptest! {
    #[test]
    fn a_uri_reads_back_as_its_identity(
        cluster in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
        name in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        roles in prop::collection::vec(prop::sample::select(Role::ALL.to_vec()), 0..5),
        is_tool in any::<bool>(),
    ) {
        let (cluster, name) = (cluster.parse().unwrap(), name.parse().unwrap());
        let identity = if is_tool {
            Identity::tool(cluster, name)
        } else {
            Identity::node(cluster, name, roles.into_iter().collect())
        };
        prop_assert_eq!(Identity::from_uri(&identity.uri()), Ok(identity));
    }

    #[test]
    fn what_is_read_is_what_would_be_written(
        uri in "(spiffe://)?[a-z-]{0,4}/?(node|tool|nod)?/?[a-z-]{0,3}/?[a-z.]{0,12}/?",
    ) {
        if let Ok(identity) = Identity::from_uri(&uri) {
            prop_assert_eq!(identity.uri(), uri);
        }
    }

    #[test]
    fn any_text_is_survived(uri in any::<String>()) {
        prop_assert!(Identity::from_uri(&uri).is_err());
    }
}
