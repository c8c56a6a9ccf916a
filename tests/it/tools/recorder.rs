//! What passes the demo's bridge, recorded by tcpdump and judged by `palisade capture`.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: they start programs and read their files")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use palisade::demo::namespaces::{Namespaces, Place};
use sensors::{Frame, PcapFile};
use serde_json::Value;

use crate::support::{Scratch, output_of, wait_until};
use crate::wire_cluster::binary;

/// tcpdump, running until dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    child: Child,
    folder: Scratch,
}

impl Recorder {
    /// Records all that passes the bridge: what a tap on a host with several protected servers would see.
    pub(super) fn start(network: &Namespaces) -> Self {
        let folder = Scratch::new("recorder");
        let said = File::create(folder.path().join("said")).unwrap();
        let mut command = network.run_in(Place::Wire, "tcpdump");
        // Written as root and at once, with room for the floods (KiB).
        command.args(["-i", "br0", "-n", "-s", "0", "-U", "-B", "32768", "-Z", "root", "-w"]);
        command.arg(folder.path().join("all.pcap"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let recorder = Self { child, folder };
        wait_until("tcpdump listens", || recorder.said().contains("listening on"));
        recorder
    }

    /// The recording, once it holds `last`, which somebody has sent after everything else; fails the test if something was lost.
    pub(super) fn finish(&mut self, last: &[u8]) -> PathBuf {
        let file = self.folder.path().join("all.pcap");
        wait_until("the end is recorded", || {
            let bytes = fs::read(&file).unwrap();
            bytes.windows(last.len()).any(|part| part == last)
        });
        self.stop();
        assert!(self.said().contains("\n0 packets dropped by kernel"), "{}", self.said());
        file
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    fn stop(&mut self) {
        let _asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ended = self.child.wait();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.stop();
        }
    }
}

/// A verdict of `palisade capture`.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) source: IpAddr,
    pub(super) rule: String,
    pub(super) evidence: String,
    pub(super) sanction: String,
    /// Which packet of the recording tipped the rule.
    pub(super) packet: u64,
}

/// All verdicts on a recording, in the order in which they are given, and the sources of notes.
pub(super) fn judge(file: &Path) -> (Vec<Told>, BTreeSet<IpAddr>) {
    let printed = output_of(Command::new(binary()).args(["capture", "--format", "jsonl"]).arg(file));
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let attacks = lines.iter().filter(|line| line["type"] == "attack");
    let told = attacks.map(|line| Told {
        source: text(line, "source").parse().unwrap(),
        rule: text(line, "rule"),
        evidence: text(line, "evidence"),
        sanction: text(line, "sanction"),
        packet: line["packet"].as_u64().unwrap(),
    });
    let notes = lines.iter().filter(|line| line["type"] == "note");
    (told.collect(), notes.map(|line| text(line, "source").parse().unwrap()).collect())
}

/// Who sent each packet of a recording.
pub(super) fn senders(file: &Path) -> Vec<Option<IpAddr>> {
    let mut capture = PcapFile::open(file).unwrap();
    let mut senders = Vec::new();
    while let Some(frame) = capture.next() {
        senders.push(sender(&frame.unwrap()));
    }
    senders
}

fn sender(frame: &Frame<'_>) -> Option<IpAddr> {
    match frame.bytes.get(12..14)? {
        [0x08, 0x00] => Some(<[u8; 4]>::try_from(frame.bytes.get(26..30)?).ok()?.into()),
        [0x86, 0xdd] => Some(<[u8; 16]>::try_from(frame.bytes.get(22..38)?).ok()?.into()),
        _ => None,
    }
}
