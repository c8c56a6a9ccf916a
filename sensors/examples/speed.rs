use sensors::*;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for _ in 0..3 {
        let t = cpu();
        let mut engine = Engine::new(Policy::default(), [7; 16]);
        let mut findings = Vec::new();
        let mut off = 24;
        let mut n = 0u64;
        while off + 16 <= bytes.len() {
            let g = |o: usize| u32::from_le_bytes(bytes[off + o..off + o + 4].try_into().unwrap());
            let (s, us, len) = (g(0), g(4), g(8) as usize);
            n += 1;
            let f = Frame {
                at: log_format::time::Timestamp::from_nanos(
                    u64::from(s) * 1_000_000_000 + u64::from(us) * 1000,
                ),
                link: LinkType::Ethernet,
                bytes: &bytes[off + 16..off + 16 + len],
                original_length: len as u32,
                number: n,
            };
            engine.frame(&f, &mut findings);
            off += 16 + len;
        }
        let d = cpu() - t;
        println!(
            "{n} messages {:.2} s cpu = {:.0} ns, {:.2} M/s, findings {}",
            d,
            d * 1e9 / n as f64,
            n as f64 / d / 1e6,
            findings.len()
        );
        let rss = std::fs::read_to_string("/proc/self/status").unwrap();
        if std::env::args().nth(2).is_some() {
            println!("{:?}", engine.statistics());
        }
        println!("{}", rss.lines().find(|l| l.starts_with("VmHWM")).unwrap());
    }
}
