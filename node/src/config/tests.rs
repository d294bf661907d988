use std::time::Duration;

use super::*;

const WHOLE: &str = r#"
[node]
name = "n1"
listen = "127.0.0.1:7400"
data_dir = "data"
certs_dir = "."

[[peer]]
name = "n2"
addr = "127.0.0.2:7400"

[transport]
lanes = 8
keep_alive_ms = 500
"#;

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::parse(Path::new("/etc/vioduct/vioduct.toml"), text)
}

/// The message for the whole file with one text replaced by another.
#[track_caller]
fn refused(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from));
    let message = parse(&WHOLE.replace(from, to)).unwrap_err().to_string();
    assert!(message.starts_with("/etc/vioduct/vioduct.toml: "), "{message}");
    message
}

#[test]
fn a_whole_file_is_read_with_paths_relative_to_it() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/vioduct/data"));
    assert_eq!(config.certs_dir, Path::new("/etc/vioduct/."));
    assert_eq!(config.peers.len(), 1);
    assert_eq!(config.transport.lanes, 8);
    assert_eq!(config.transport.keep_alive, Duration::from_millis(500));
    assert_eq!(config.transport.idle_timeout, TransportConfig::default().idle_timeout);
    assert_eq!(config.workers, None);
    let config = parse(&WHOLE.replace("[[peer]]", "workers = 2\n[[peer]]")).unwrap();
    assert_eq!(config.workers, Some(2));
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest_known_one() {
    let message = refused("lanes = 8", "lane = 8");
    assert!(message.contains("line 13"), "{message}");
    assert!(message.contains("unknown field `lane`"), "{message}");
    assert!(message.ends_with("did you mean `lanes`?"), "{message}");
    let message = refused("data_dir = ", "datadir = ");
    assert!(message.ends_with("did you mean `data_dir`?"), "{message}");
    let message = refused("lanes = 8", "colour = 8");
    assert!(!message.contains("did you mean"), "{message}");
}

#[test]
fn a_value_out_of_range_is_named_with_key_value_and_bound() {
    for (from, to, expected) in [
        ("lanes = 8", "lanes = 17", "transport.lanes is 17; it must be 1 to 16"),
        ("certs_dir", "workers = 0\ncerts_dir", "node.workers is 0; it must be 1 to 256"),
        ("500", "5000", "transport.keep_alive_ms is 5s; it must be 1ms to 2s"),
        (
            "127.0.0.1:7400",
            "127.0.0.1:0",
            "node.listen is 127.0.0.1:0; it must be an address with a port from 1 to 65535",
        ),
        (
            "127.0.0.2:7400",
            "127.0.0.2",
            "peer.addr of n2 is \"127.0.0.2\"; it must be host:port with a port from 1 to 65535",
        ),
        (
            "\"n2\"",
            "\"n1\"",
            "peer.name is \"n1\"; \
             it must be another name than this node's and every other peer's",
        ),
    ] {
        let message = refused(from, to);
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn a_renewal_command_is_read_with_bounds_on_its_time() {
    assert_eq!(parse(WHOLE).unwrap().renewal, None);
    let renewal = |table: &str| {
        let config = parse(&format!("{WHOLE}[renewal]\n{table}\n"));
        config.map(|config| config.renewal.expect("a renewal table"))
    };
    let read = renewal("command = [\"ssh\", \"ca\", \"sign n1\"]").unwrap();
    assert_eq!((read.program.as_str(), read.args.len()), ("ssh", 2));
    assert_eq!(read.timeout, Duration::from_secs(60));
    assert_eq!(
        (read.retry.min, read.retry.max),
        (Duration::from_secs(5), Duration::from_secs(600))
    );
    let read = renewal("command = [\"bin/sign\"]\nretry_max_ms = 2000").unwrap();
    assert_eq!(read.program, "/etc/vioduct/bin/sign");
    assert_eq!((read.retry.min, read.retry.max), (Duration::from_secs(2), Duration::from_secs(2)));
    for (table, expected) in [
        ("command = []", "renewal.command is []; it must be a program and up to 63 arguments"),
        ("command = [\"\"]", "renewal.command is [\"\"]; it must be"),
        ("command = [\"a\\u0000\"]", "renewal.command is [\"a\\0\"]; it must be"),
        ("command = [\"a\"]\ntimeout_ms = 99", "renewal.timeout_ms is 99ms; it must be 100ms to"),
        ("command = [\"a\"]\nretry_min_ms = 0", "renewal.retry_min_ms is 0ns; it must be 100ms"),
        (
            "command = [\"a\"]\nretry_min_ms = 900\nretry_max_ms = 800",
            "renewal.retry_max_ms is 800ms; it must be renewal.retry_min_ms to 3600s",
        ),
        ("command = \"sh -c sign\"", "invalid type: string"),
        ("retry_max_ms = 1", "missing field `command`"),
    ] {
        let message = renewal(table).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn values_of_another_kind_show_the_line_they_stand_on() {
    let message = refused("\"n1\"", "\"N1\"");
    assert!(message.contains("name = \"N1\""), "{message}");
    assert!(message.contains("allowed are a-z, 0-9 and -"), "{message}");
    let message = refused("lanes = 8", "lanes = \"many\"");
    assert!(message.contains("lanes = \"many\""), "{message}");
    let message = refused("name = \"n1\"\n", "");
    assert!(message.contains("missing field `name`"), "{message}");
}

#[test]
fn what_is_rendered_for_an_inventory_is_read_back() {
    let inventory: Inventory = "cluster = \"prod\"\n\
        [[node]]\nname = \"a\"\naddr = \"10.0.0.1:7400\"\n\
        [[node]]\nname = \"b\"\naddr = \"b.example.net:7401\"\n\
        [[node]]\nname = \"c\"\naddr = \"[fd00::3]:7400\"\n"
        .parse()
        .unwrap();
    let [a, b, _c] = inventory.nodes.as_slice() else { panic!("three nodes") };
    let config = parse(&render(a, &inventory)).unwrap();
    assert_eq!((config.name.as_str(), config.listen.to_string().as_str()), ("a", "10.0.0.1:7400"));
    let peers: Vec<&str> = config.peers.iter().map(|peer| peer.addr.as_str()).collect();
    assert_eq!(peers, ["b.example.net:7401", "[fd00::3]:7400"]);
    let config = parse(&render(b, &inventory)).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:7401");
    assert!(config.advertise.is_some_and(|addr| addr.as_str().ends_with(":7401")));
}

const DISKS: &str = r#"
[cm]
cec = 1
[[adapter]]
storage = "n2"
addr = "127.0.0.2:7500"
[dsa]
beat_every_ms = 100
[storage]
volume = "volume"
listen = "127.0.0.1:7500"
[phyp]
cec = 2
"#;

fn parse_disks(from: &str, to: &str) -> Result<DiskRoles, String> {
    assert!(DISKS.contains(from), "{from}");
    let text = WHOLE.replace("[[peer]]", &format!("{}\n[[peer]]", DISKS.replace(from, to)));
    parse(&text).map(|config| config.disks).map_err(|error| error.to_string())
}

#[test]
fn a_node_may_serve_a_volume_be_a_vios_and_carry_disks() {
    let disks = parse_disks("", "").unwrap();
    let storage = disks.storage.unwrap();
    assert_eq!(storage.dir, Path::new("/etc/vioduct/volume"));
    let vios = disks.vios.unwrap();
    assert_eq!(vios.adapters[0].listen, "127.0.0.1:0".parse().unwrap());
    assert_eq!(
        (vios.adapters[0].name.as_str(), vios.dsa.beat_every.as_millis()),
        ("adapter1", 100)
    );
    assert_eq!(disks.phyp.unwrap().cec, 2);
    assert_eq!(parse(WHOLE).unwrap().disks, DiskRoles::default());
    // A VIOS that only registers.
    assert!(parse_disks(ADAPTER, "").unwrap().vios.is_none());
}

#[test]
fn a_storage_has_a_port_for_each_fabric_that_leads_to_it() {
    let ports = "[\"127.0.0.1:7500\", \"127.0.0.1:7501\"]";
    let storage = parse_disks("\"127.0.0.1:7500\"", ports).unwrap().storage.unwrap();
    assert_eq!(storage.ports.len(), 2);
    let storage = parse_disks("", "").unwrap().storage.unwrap();
    assert_eq!(storage.ports, ["127.0.0.1:7500".parse().unwrap()]);
}

const OUTSIDE: &str = "[outside]\nserver = \"tcp:10.0.0.9:10809\"\n";
const ADAPTER: &str = "[[adapter]]\nstorage = \"n2\"\naddr = \"127.0.0.2:7500\"\n";

#[test]
fn a_vios_leads_to_a_storage_outside_of_the_cluster_in_place_of_its_adapters() {
    let outside = parse_disks(ADAPTER, OUTSIDE).unwrap().vios.unwrap().outside.unwrap();
    assert_eq!(outside.server.to_string(), "tcp:10.0.0.9:10809");
    assert!(outside.exports.is_empty(), "the database has them");
}

#[test]
fn what_is_wrong_with_a_table_of_disks_is_named() {
    let both = format!("{ADAPTER}{OUTSIDE}");
    let elsewhere = OUTSIDE.replace("tcp:10.0.0.9:10809", "10.0.0.9");
    let no_vios = format!("[cm]\n{OUTSIDE}");
    let cases = [
        ("listen = \"127.0.0.1:7500\"", "listen = \"127.0.0.1:0\"", "storage.listen"),
        ("[cm]\ncec = 1\n", "[cm]\n", "adapter is 127.0.0.2:7500; it must be left out"),
        ("[cm]\ncec = 1\n", "", "adapter is 127.0.0.2:7500; it must be left out"),
        (DISKS, &no_vios, "outside.server is tcp:10.0.0.9:10809; it must be left out"),
        (DISKS, "[phyp]\ncec = 2\n", "[cm] is missing; it must be there, since [phyp] is"),
        ("beat_every_ms = 100", "beat_every_ms = 1", "dsa.beat_every_ms is 1 ms; it must be 10 ms"),
        (
            "[dsa]",
            "[[adapter]]\nname = \"adapter1\"\nstorage = \"n2\"\naddr = \"127.0.0.2:1\"\n[dsa]",
            "adapter.name is adapter1",
        ),
        (
            "[dsa]",
            "[[adapter]]\nstorage = \"n2\"\naddr = \"127.0.0.2:7500\"\n[dsa]",
            "adapter.addr is 127.0.0.2:7500",
        ),
        ("\"127.0.0.1:7500\"", "[]", "storage.listen is 0 addresses"),
        (ADAPTER, &both, "the number of adapters is 1; it must be 0, since an [outside]"),
        (ADAPTER, &elsewhere, "outside.server is \"10.0.0.9\"; it must be unix:/PATH or tcp:"),
        ("volume = ", "volumes = ", "did you mean `volume`?"),
    ];
    for (from, to, expected) in cases {
        let message = parse_disks(from, to).unwrap_err();
        assert!(message.contains(expected), "{to}: {message}");
    }
}
