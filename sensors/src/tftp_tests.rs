use proptest::prelude::*;

use super::*;

const PHONE: [u8; 6] = [0x00, 0x04, 0xf2, 0xaa, 0xbb, 0xcc];

fn request(is_write: bool, name: &[u8], mode: Mode) -> Result<Packet<'_>, ParseError> {
    Ok(Packet::Request(Request { is_write, name, mode }))
}

#[test]
fn every_operation_is_told() {
    let long = [b"\0\x01", &[b'a'; 600][..], b"\0octet\0"].concat();
    for (payload, expected) in [
        (&b"\0\x01sip.cfg\0octet\0"[..], request(false, b"sip.cfg", Mode::Octet)),
        (b"\0\x01sip.cfg\0OCTET\0blksize\x001428\0tsize\x000\0", request(false, b"sip.cfg", Mode::Octet)),
        (b"\0\x02a\0NetAscii\0", request(true, b"a", Mode::NetAscii)),
        (b"\0\x02a\0mail\0", request(true, b"a", Mode::Mail)),
        (b"\0\x01a\0", request(false, b"a", Mode::Other)),
        (b"\0\x01a\0oct", request(false, b"a", Mode::Other)),
        (b"\0\x03\0\x01data", Ok(Packet::Data { block: 1, length: 4 })),
        (b"\0\x04\xff\xff", Ok(Packet::Acknowledgement { block: 65_535 })),
        (b"\0\x05\0\x01File not found\0", Ok(Packet::Error { code: 1 })),
        (b"\0\x06blksize\x001428\0", Ok(Packet::OptionsAccepted)),
        (b"", Err(ParseError::Short(0))),
        (b"\0\x04\0", Err(ParseError::Short(3))),
        (b"\0\x07", Err(ParseError::Operation(7))),
        (b"\0\x01\0octet\0", Err(ParseError::Name)),
        (b"\0\x01without end", Err(ParseError::Name)),
        (&long, Err(ParseError::Name)),
    ] {
        assert_eq!(parse(payload), expected, "{}", payload.escape_ascii());
    }
}

#[test]
fn the_names_of_one_phone_hold_its_mac() {
    for name in [
        "0004f2aabbcc.cfg",
        "0004F2AABBCC",
        "/tftpboot/phones/0004f2aabbcc-directory.xml",
        "0004f2aabbcc-phone.cfg",
        "SEP0004F2AABBCC.cnf.xml",
        "CTLSEP0004F2AABBCC.tlv",
        "ITLSEP0004F2AABBCC.tlv",
        "SIP0004F2AABBCC.cnf",
        "cfg0004f2aabbcc",
        "cfg0004f2aabbcc.xml",
        "00:04:f2:aa:bb:cc.cfg",
        "00-04-F2-AA-BB-CC.xml",
        "pxelinux.cfg/01-00-04-f2-aa-bb-cc",
        "config_0004f2aabbcc.bin",
        "000000000000/0004f2aabbcc.cfg",
    ] {
        assert_eq!(mac_of(name.as_bytes()), Some(PHONE), "{name}");
    }
}

#[test]
fn other_names_hold_none() {
    for name in [
        "",
        "000000000000.cfg",
        "000000000000-directory~.xml",
        "00:00:00:00:00:00.cfg",
        "SEPDefault.cnf",
        "SIPDefault.cnf",
        "XMLDefault.cnf.xml",
        "y000000000028.cfg",
        "46xxsettings.txt",
        "aastra.cfg",
        "sip.cfg",
        "0004f2aabbc.cfg",
        "0004f2aabbccd.cfg",
        "xx0004f2aabbcc.cfg",
        "0004f2aabbcg.cfg",
        "00:04:f2:aa:bb.cfg",
        "00:04-f2:aa-bb:cc.cfg",
        "aa:00:04:f2:aa:bb:cc",
        "00-04-f2-aa-bb-cc-dd",
        "pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d",
        "../../../etc/passwd",
    ] {
        assert_eq!(mac_of(name.as_bytes()), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_payload_stops_the_reader(payload in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Ok(Packet::Request(request)) = parse(&payload) {
            prop_assert!((1..MAX_REQUEST).contains(&request.name.len()));
            std::hint::black_box(mac_of(request.name));
        }
        std::hint::black_box(mac_of(&payload));
    }

    #[test]
    fn a_mac_is_found_however_it_is_written(mac in any::<[u8; 6]>(), style in 0_usize..5, upper in any::<bool>()) {
        let pairs = mac.map(|octet| if upper { format!("{octet:02X}") } else { format!("{octet:02x}") });
        let name = match style {
            0 => format!("{}.cfg", pairs.concat()),
            1 => format!("SEP{}.cnf.xml", pairs.concat()),
            2 => format!("a/{}/b", pairs.join(":")),
            3 => format!("{}.xml", pairs.join("-")),
            _ => format!("pxelinux.cfg/01-{}", pairs.join("-")),
        };
        prop_assert_eq!(mac_of(name.as_bytes()), Some(mac).filter(|mac| *mac != [0; 6]), "{}", name);
    }
}
