//! Messages made to break parsers: RFC 4475, RFC 5118 and those of other stacks.

use sip::{Message, StartLine};

use crate::playback::{recordings, table};
use crate::wire::{PBX, Wire, phone};

/// Messages that the index calls valid although Call-ID has a semicolon for its colon, or one of Call-ID and CSeq
/// is missing.
const WITHOUT_IDENTITY: [&str; 3] =
    ["kamailio_invite5-callid.sip", "kamailio_rport.sip", "kamailio_short_reply.sip"];

#[test]
#[expect(clippy::disallowed_methods, reason = "a test is a shell: it reads the messages")]
fn torture_messages_are_read_if_valid_and_never_blamed() {
    let Some(folder) = recordings("torture") else { return };
    let index = table(&folder.join("INDEX.tsv"));
    for columns in &index {
        let [file, _origin, section, class, first_line, ..] = columns.as_slice() else {
            panic!("a row has {} columns", columns.len());
        };
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let parsed = sip::parse(&bytes);
        if class.starts_with("valid") {
            let message = parsed.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(is_start_of(&message, first_line), "{file}: {:?}", message.start);
            let has_identity = message.call_id().is_some() && message.cseq().is_some();
            assert_ne!(
                has_identity,
                WITHOUT_IDENTITY.contains(&file.as_str()),
                "{file}: {:?}",
                message.defects
            );
            if section.starts_with("3.1.1.") {
                assert!(message.defects.is_empty(), "{file}: {:?}", message.defects);
            }
        }
        let mut wire = Wire::new(sensors::Policy::default());
        let sender = phone([203, 0, 113, 66], 5060, "x").at;
        wire.send(sender, PBX, &bytes);
        wire.send(PBX, sender, &bytes);
        assert_eq!(wire.verdicts, [], "{file}");
        assert_eq!(wire.engine.statistics().strikes, 0, "{file}");
    }
    assert!(index.len() > 50, "{} messages", index.len());
}

/// Whether what was read of the start line stands in the index too, which cuts long ones.
fn is_start_of(message: &Message<'_>, first_line: &str) -> bool {
    match message.start {
        StartLine::Request { method, .. } => first_line.as_bytes().starts_with(method),
        StartLine::Response { status, .. } => first_line.starts_with(&format!("SIP/2.0 {status}")),
    }
}
