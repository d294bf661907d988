use super::*;

fn check(text: &str) -> String {
    match text.parse::<Inventory>() {
        Ok(inventory) => format!("{} nodes", inventory.nodes.len()),
        Err(error) => error.to_string(),
    }
}

fn one(node: &str) -> String {
    check(&format!("cluster = \"prod\"\n[[node]]\n{node}"))
}

#[test]
fn a_good_inventory_is_read() {
    let inventory: Inventory = r#"
        cluster = "prod"
        [[node]]
        name = "n1"
        addr = "10.0.0.1:7400"
        roles = ["vios", "db"]
        [[node]]
        name = "n2"
        addr = "[fd00::2]:7400"
    "#
    .parse()
    .unwrap();
    let first = &inventory.nodes[0];
    assert_eq!(inventory.identity(first).uri(), "spiffe://prod/node/n1/db.vios");
    assert_eq!(inventory.nodes[1].addr.as_str(), "[fd00::2]:7400");
    assert!(inventory.nodes[1].roles.is_empty());
}

#[test]
fn errors_name_field_value_and_bound() {
    assert_eq!(
        one("name = \"N1\"\naddr = \"h:1\""),
        "name of node 1 is \"N1\": node name holds 'N', allowed are a-z, 0-9 and -"
    );
    for addr in ["h", "h:0", "h:65536", ":1", "h:+1", "[::1:1", "a b:1", "::1:1", "[h]:1"] {
        assert_eq!(
            one(&format!("name = \"n1\"\naddr = \"{addr}\"")),
            format!("addr of node n1 is {addr:?}, needed is host:port with a port from 1 to 65535")
        );
    }
    assert_eq!(
        one("name = \"n1\"\naddr = \"h:1\"\nroles = [\"db\", \"db\"]"),
        "roles of node n1: role db is named twice"
    );
    assert!(one("name = \"n1\"\naddr = \"h:1\"\nrole = [\"db\"]").contains("unknown field `role`"));
    assert!(check("cluster = \"\"\n").contains("allowed are 1 to 32"));
    assert_eq!(check("cluster = \"prod\""), "inventory holds 0 nodes, allowed are 1 to 1000");
}

fn many(count: usize) -> String {
    let node = |i| format!("[[node]]\nname = \"n{i}\"\naddr = \"h{i}:1\"\n");
    format!("cluster = \"prod\"\n{}", (0..count).map(node).collect::<String>())
}

#[test]
fn a_thousand_nodes_are_the_most() {
    assert_eq!(check(&many(1000)), "1000 nodes");
    assert_eq!(check(&many(1001)), "inventory holds 1001 nodes, allowed are 1 to 1000");
}

#[test]
fn duplicates_are_refused() {
    let two = |second: &str| {
        check(&format!(
            "cluster = \"c\"\n[[node]]\nname = \"a\"\naddr = \"h:1\"\n[[node]]\n{second}"
        ))
    };
    assert_eq!(two("name = \"a\"\naddr = \"h:2\""), "two nodes are named a");
    assert_eq!(
        two("name = \"b\"\naddr = \"h:1\""),
        "two nodes have the address h:1, the second is b"
    );
}
