//! The sensor's threads: one for each device (or one for a capture that is played back), and one for reports of telephone systems.
//! Each owns an engine; what it finds goes to the actuator at once, as a provisional block, and to the node, as an observation.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use log_format::event::{PortRange, Sanction, Scope, StrikesCounted};
use log_format::time::Timestamp;
use sensors::{Engine, Finding, Frame, LiveCapture, PcapFile, Policy, Verdict};

use super::actuator;
use super::clocks::Clocks;
use super::doors::{Doors, Watcher};
use super::hep::{Complaints, Listener, Refused};
use super::inbox::Inbox;
use crate::config::{Config, SensorConfig};
use crate::node::{Fact, Input, Observation};

/// How often strikes below the threshold are reported (ARCHITECTURE.md, decision 4).
const STRIKES_EVERY: Duration = Duration::from_millis(500);
/// Frames between two looks at the clock while they come without a pause.
const FRAMES_AT_ONCE: u32 = 64;
/// How often a sensor that lost its device tries to open it again.
const REOPEN_EVERY: Duration = Duration::from_secs(5);

/// What all sensor threads share with the rest.
pub(super) struct Shared {
    /// The policy in force; threads take it over when its number changes.
    policy: Mutex<(u64, Policy)>,
    stop: AtomicBool,
    packets: AtomicU64,
    sip_messages: AtomicU64,
    malformed: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy: Mutex::new((0, policy)),
            stop: AtomicBool::new(false),
            packets: AtomicU64::new(0),
            sip_messages: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        let mut held = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if held.1 != policy {
            *held = (held.0 + 1, policy);
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Packets, SIP messages, malformed ones, dropped ones.
    pub(super) fn counts(&self) -> [u64; 4] {
        [&self.packets, &self.sip_messages, &self.malformed, &self.dropped]
            .map(|count| count.load(Ordering::Relaxed))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn policy_after(&self, number: u64) -> Option<(u64, Policy)> {
        let held = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        (held.0 != number).then(|| held.clone())
    }
}

/// What a sensor thread works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Inbox,
    pub(super) actuator: actuator::Orders,
    pub(super) doors: Doors,
    pub(super) clocks: Clocks,
    /// The secret of the proof filter.
    pub(super) secret: [u8; 16],
}

/// Starts the threads of a sensor configuration.
pub(super) fn start(config: &Config, tools: &Tools) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let spawn =
        |name: String, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name).spawn(run);
    let mut threads = Vec::new();
    if let Some(hep) = &config.hep {
        let listener = Listener::bind(hep)
            .with_context(|| format!("listen for reports on {} (sensor.hep)", hep.listen))?;
        let tools = tools.clone();
        threads.push(spawn("sensor hep".to_owned(), Box::new(move || listen(listener, tools)))?);
    }
    match &config.sensor {
        SensorConfig::Off => {}
        SensorConfig::Playback(path) => {
            let (tools, path) = (tools.clone(), path.clone());
            threads.push(spawn("playback".to_owned(), Box::new(move || play_back(&path, tools)))?);
        }
        SensorConfig::Devices(devices) => {
            for device in devices {
                let (tools, device) = (tools.clone(), device.clone());
                threads.push(spawn(format!("sensor {device}"), Box::new(move || watch(&device, tools)))?);
            }
        }
    }
    Ok(threads)
}

/// Says where packets come from, for people.
pub(super) fn source(config: &Config) -> String {
    let packets = match &config.sensor {
        SensorConfig::Off => None,
        SensorConfig::Playback(path) => Some(format!("playback of {}", path.display())),
        SensorConfig::Devices(devices) => Some(devices.join(", ")),
    };
    let reports = config.hep.as_ref().map(|hep| format!("reports on {}", hep.listen));
    match (packets, reports) {
        (None, None) => "off".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(packets), Some(reports)) => format!("{packets}, {reports}"),
    }
}

/// Whether the housekeeping was due.
enum Kept {
    NotDue,
    Done { have_ports_changed: bool },
}

struct Sensor {
    tools: Tools,
    watcher: Watcher,
    engine: Engine,
    policy_number: u64,
    ports: Vec<PortRange>,
    findings: Vec<Finding>,
    next_report: Duration,
    reported: [u64; 3],
    lost: u64,
}

impl Sensor {
    fn new(tools: Tools) -> Self {
        let (policy_number, policy) =
            tools.shared.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            ports: policy.watched_ports(),
            engine: Engine::new(policy, tools.secret),
            watcher: tools.doors.watch(),
            policy_number,
            findings: Vec::new(),
            next_report: tools.clocks.now().monotonic + STRIKES_EVERY,
            reported: [0; 3],
            lost: 0,
            tools,
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.engine.frame(frame, &mut self.findings);
        self.act();
    }

    fn act(&mut self) {
        for finding in std::mem::take(&mut self.findings) {
            match finding {
                Finding::Attack(verdict) => self.act_on(verdict),
                Finding::Note(note) => {
                    let fact = Fact::Note(note.observed);
                    self.observe(Observation { observed_at: note.at, fact });
                }
            }
        }
    }

    /// The host protects itself first; the cluster hears of it next.
    fn act_on(&mut self, verdict: Verdict) {
        // One phone behind an address must not have the whole address dropped; the log says soon what of it is.
        let is_narrow = matches!(verdict.observed.scope, Scope::AddressPort(_));
        if !is_narrow && Sanction::SoftBlock <= verdict.observed.sanction {
            let lasts = Duration::from_secs(verdict.seconds);
            self.tools.actuator.provisional(verdict.observed.source, verdict.observed.sanction, lasts);
        }
        let fact = Fact::Attack(verdict.observed);
        self.observe(Observation { observed_at: verdict.at, fact });
    }

    fn observe(&mut self, observation: Observation) {
        if self.tools.inbox.offer(Input::Observe(observation)).is_err() {
            self.tools.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is due between frames, every half second: strikes, counters, a new policy.
    fn housekeeping(&mut self) -> Kept {
        let now = self.tools.clocks.now();
        if now.monotonic < self.next_report {
            return Kept::NotDue;
        }
        self.next_report = now.monotonic + STRIKES_EVERY;
        self.watcher.tell(&mut self.engine, now.wall);
        self.engine.idle(now.wall, &mut self.findings);
        self.act();
        self.report_strikes(now.wall);
        self.report_counts();
        let Some((number, policy)) = self.tools.shared.policy_after(self.policy_number) else {
            return Kept::Done { have_ports_changed: false };
        };
        self.policy_number = number;
        let ports = policy.watched_ports();
        let have_ports_changed = self.ports != ports;
        self.ports = ports;
        self.engine.set_policy(policy);
        Kept::Done { have_ports_changed }
    }

    fn report_strikes(&mut self, now: Timestamp) {
        let deltas = self.engine.drain_strikes(now);
        if !deltas.is_empty() {
            let fact = Fact::Strikes(StrikesCounted { deltas });
            self.observe(Observation { observed_at: now, fact });
        }
    }

    fn report_counts(&mut self) {
        let statistics = self.engine.statistics();
        let counts = [statistics.packets, statistics.sip_messages, statistics.malformed];
        let shared = &self.tools.shared;
        let totals = [&shared.packets, &shared.sip_messages, &shared.malformed];
        for ((total, count), reported) in totals.into_iter().zip(counts).zip(&mut self.reported) {
            total.fetch_add(count.saturating_sub(*reported), Ordering::Relaxed);
            *reported = count;
        }
    }

    fn report_lost(&mut self, lost: u64) {
        self.tools.shared.dropped.fetch_add(lost.saturating_sub(self.lost), Ordering::Relaxed);
        self.lost = lost;
    }
}

/// Watches a device until the process ends. A device that goes away is opened again when it is back.
fn watch(device: &str, tools: Tools) {
    let mut sensor = Sensor::new(tools);
    while !sensor.tools.shared.is_stopped() {
        match LiveCapture::open(device, &sensor.ports) {
            Ok(capture) => watch_open(device, capture, &mut sensor),
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(device, error = format!("{error:#}"), "nothing is sensed on this device");
                std::thread::park_timeout(REOPEN_EVERY);
            }
        }
    }
}

fn watch_open(device: &str, mut capture: LiveCapture, sensor: &mut Sensor) {
    tracing::info!(device, buffer_mib = capture.buffer_mib(), "senses");
    let mut frames = 0;
    while !sensor.tools.shared.is_stopped() {
        match capture.next() {
            Ok(Some(frame)) => {
                sensor.frame(&frame);
                frames += 1;
                if frames < FRAMES_AT_ONCE {
                    continue;
                }
            }
            Ok(None) => {}
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(device, error = format!("{error:#}"), "capture broke off");
                return;
            }
        }
        frames = 0;
        let Kept::Done { have_ports_changed } = sensor.housekeeping() else { continue };
        // Each time it is asked, libpcap opens and reads files of the device.
        if let Ok(drops) = capture.drops() {
            sensor.report_lost(u64::from(drops.by_buffer) + u64::from(drops.by_device));
        }
        if have_ports_changed && let Err(error) = capture.set_ports(&sensor.ports) {
            let error = anyhow::Error::from(error);
            tracing::error!(device, error = format!("{error:#}"), "the new ports are not sensed");
        }
    }
}

/// Takes reports until the process ends. What breaks the socket is not known to pass, so it is tried again with patience.
fn listen(mut listener: Listener, tools: Tools) {
    let mut sensor = Sensor::new(tools);
    let mut complaints = Complaints::default();
    while !sensor.tools.shared.is_stopped() {
        match listener.next() {
            Ok(Some(Ok(report))) => {
                let at = sensor.tools.clocks.now().wall;
                sensor.engine.hep(&report, at, &mut sensor.findings);
                sensor.act();
            }
            Ok(Some(Err(refused))) => complain(&mut complaints, refused, &sensor.tools.clocks),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "reports of telephone systems are not received");
                std::thread::park_timeout(REOPEN_EVERY);
            }
        }
        sensor.housekeeping();
    }
}

fn complain(complaints: &mut Complaints, refused: Refused, clocks: &Clocks) {
    if let Some(count) = complaints.note(clocks.now().monotonic) {
        let error = anyhow::Error::from(refused);
        tracing::warn!(error = format!("{error:#}"), count, "reports of a telephone system are refused");
    }
}

/// Plays a capture back: a file once, or a FIFO as long as somebody writes to it.
fn play_back(path: &Path, tools: Tools) {
    let mut sensor = Sensor::new(tools);
    if let Err(error) = play_back_open(path, &mut sensor) {
        tracing::error!(error = format!("{error:#}"), "playback broke off");
    }
    // Strikes of the last half second are still due.
    let now = sensor.tools.clocks.now().wall;
    sensor.report_strikes(now);
    sensor.report_counts();
    tracing::info!(path = %PathBuf::from(path).display(), "playback ended");
}

fn play_back_open(path: &Path, sensor: &mut Sensor) -> anyhow::Result<()> {
    let mut file = PcapFile::open(path)?;
    tracing::info!(path = %path.display(), "plays back");
    while let Some(frame) = file.next() {
        sensor.frame(&frame?);
        sensor.housekeeping();
        if sensor.tools.shared.is_stopped() {
            return Ok(());
        }
    }
    Ok(())
}
