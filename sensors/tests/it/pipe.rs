//! A capture that is read while it is written.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use sensors::PcapFile;

/// A minute: only a reader that holds packets back takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is a shell: it makes a pipe and a thread that writes to it"
)]
fn packets_come_out_of_a_pipe_as_they_are_written() {
    let folder = std::env::temp_dir().join(format!("palisade-pipe-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let (seen, was_seen) = mpsc::channel();
    let path = pipe.clone();
    let writer = std::thread::spawn(move || {
        let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        writer.write_all(&file_header()).unwrap();
        for number in 1..=3_u8 {
            writer.write_all(&record(number)).unwrap();
            // Nothing more is written until the reader has this packet.
            assert_eq!(was_seen.recv_timeout(DEADLINE), Ok(number));
        }
    });
    let mut file = PcapFile::open(&pipe).unwrap();
    let mut count = 0;
    while let Some(frame) = file.next() {
        count += 1;
        assert_eq!(frame.unwrap().bytes, [count; 20]);
        seen.send(count).unwrap();
    }
    assert_eq!(count, 3);
    writer.join().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// Little-endian, microseconds, raw IP.
fn file_header() -> Vec<u8> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&65_535_u32.to_le_bytes());
    bytes.extend_from_slice(&101_u32.to_le_bytes());
    bytes
}

fn record(number: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = [1_u32, 0, 20, 20].iter().flat_map(|field| field.to_le_bytes()).collect();
    bytes.extend_from_slice(&[number; 20]);
    bytes
}
