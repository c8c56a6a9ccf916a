use super::*;

const GOOD: &str = r#"[host]
id = 2
data = "data"

[cluster]
id = "000102030405060708090a0b0c0d0e0f"
ca = "ca.pem"
certificate = "host.pem"
key = "host.key"
hosts = [
  { id = 1, name = "proc1", address = "10.0.0.1:7100" },
  { id = 2, name = "proc2", address = "10.0.0.2:7100", own_addresses = ["192.0.2.2"] },
]

[console]
listen = "127.0.0.1:8443"
plain = true

[sensor]
devices = ["eth0"]
[firewall]
never_block = ["192.0.2.77/24", "Trunk.example.net"]
"#;

fn refusal(text: &str) -> String {
    parse(Path::new("/etc/palisade/palisade.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_understood() {
    let config = parse(Path::new("/etc/palisade/palisade.toml"), GOOD).unwrap();
    assert_eq!(config.name, "proc2");
    assert_eq!(config.data, Path::new("/etc/palisade/data"));
    assert_eq!(config.cluster.listen, "10.0.0.2:7100".parse().unwrap());
    assert_eq!(config.sensor, SensorConfig::Devices(vec!["eth0".to_owned()]));
    assert_eq!(config.console.security, ConsoleSecurity::PlainOnLoopback);
    assert_eq!(config.firewall.table, "palisade");
    assert_eq!(config.firewall.never_block, BTreeSet::from(["192.0.2.0/24".parse().unwrap()]));
    assert_eq!(config.firewall.never_block_names, BTreeSet::from(["trunk.example.net".to_owned()]));
    let own: Vec<IpAddr> = config.cluster.hosts[&HostId::new(2)].addresses().collect();
    assert_eq!(own, [IpAddr::from([192, 0, 2, 2]), IpAddr::from([10, 0, 0, 2])]);
}

#[test]
fn errors_name_the_key_the_line_and_what_to_do() {
    let cases = [
        (
            ("id = 2\n", "id = 3\n"),
            "line 2: host.id: 3 is not among cluster.hosts; add it there or correct it",
        ),
        (("0f\"", "0\""), "line 6: cluster.id: is not 32 hexadecimal digits"),
        (
            ("127.0.0.1:8443", "0.0.0.0:8443"),
            "line 16: console.listen: only a loopback address may go without TLS",
        ),
        (("eth0", "eth 0"), "line 20: sensor.devices: \"eth 0\" is no device name"),
        (("id = 1,", "id = 0,"), "line 11: cluster.hosts.id: is 0"),
        (("proc1", "Proc 1"), "line 11: cluster.hosts.name: \"Proc 1\" is taken or is not"),
        (("plain = true", "plane = true"), "line 17: unknown field `plane`"),
        (("id = 1, name", "id = 2, name"), "line 12: cluster.hosts.id: 2 is given twice"),
    ];
    for ((good, bad), expected) in cases {
        let text = refusal(&GOOD.replacen(good, bad, 1));
        assert!(text.contains(expected), "{bad}: {text}");
    }
}

#[test]
fn reports_are_taken_where_not_anybody_can_send_them() {
    let with = |lines: &str| GOOD.replacen("[\"eth0\"]\n", &format!("[\"eth0\"]\n{lines}\n"), 1);
    let hep = |lines: &str| parse(Path::new("palisade.toml"), &with(lines)).unwrap().hep;
    assert_eq!(hep(""), None);
    let local = hep("hep = \"127.0.0.1:9060\"").unwrap();
    assert_eq!((local.listen, local.key), ("127.0.0.1:9060".parse().unwrap(), None));
    let keyed = hep("hep = \"10.0.0.2:9060\"\nhep_key = \"a-long-secret\"").unwrap();
    assert_eq!(keyed.key.as_ref().unwrap().as_bytes(), b"a-long-secret");
    assert!(!format!("{keyed:?}").contains("secret"), "{keyed:?}");
    for (lines, expected) in [
        ("hep = \"10.0.0.2:9060\"", "line 21: sensor.hep: is no loopback address"),
        ("hep = \"[::]:9060\"", "line 21: sensor.hep: is no loopback address"),
        ("hep = \"127.0.0.1:0\"", "line 21: sensor.hep: has port 0"),
        ("hep = \"localhost:9060\"", "line 21: "),
        ("hep_key = \"a-long-secret\"", "line 21: sensor.hep_key: does nothing without sensor.hep"),
        ("hep = \"[::1]:9\"\nhep_key = \"short\"", "line 22: sensor.hep_key: is not 12 to 64 letters"),
        ("hep = \"[::1]:9\"\nhep_key = \"with a blank in it\"", "line 22: sensor.hep_key: is not 12"),
    ] {
        let text = refusal(&with(lines));
        assert!(text.contains(expected) && !text.contains("blank"), "{lines}: {text}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert!(refusal("[host\n").contains("line 1"));
}

#[test]
fn the_surroundings_are_understood_and_what_cannot_be_meant_is_refused() {
    let with = |lines: &str| GOOD.replacen("[\"eth0\"]\n", &format!("[\"eth0\"]\n{lines}\n"), 1);
    let told = |lines: &str| parse(Path::new("palisade.toml"), &with(lines)).unwrap().surroundings;
    assert_eq!(told(""), Surroundings::default());
    let full = told(
        "decoys = [\"198.51.100.128/25\"]\ncanary_users = [\"9999\"]\ntls_ports = [5061, \"5071-5079\"]",
    );
    assert_eq!(full.decoys, BTreeSet::from(["198.51.100.128/25".parse().unwrap()]));
    assert_eq!(full.canary_users, ["9999"]);
    let range = |first, last| PortRange { first, last };
    assert_eq!(full.tls_ports, Some(vec![range(5061, 5061), range(5071, 5079)]));
    for (lines, expected) in [
        ("decoys = [\"0.0.0.0/0\"]", "line 21: sensor.decoys: 0.0.0.0/0 is wider than a /8"),
        ("canary_users = [\"\"]", "line 21: sensor.canary_users: is not 1 to 256 bytes long"),
        ("tcp_ports = [\"5089-5060\"]", "line 21: sensor.tcp_ports: is no port; write 5060"),
        ("tcp_ports = [0]", "line 21: sensor.tcp_ports: is no port"),
    ] {
        let text = refusal(&with(lines));
        assert!(text.contains(expected), "{lines}: {text}");
    }
}
