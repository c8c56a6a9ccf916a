//! What a host does in a turn, and what its writer does.

use consensus::core::Promise;
use consensus::rt::writer::WriterError;
use log_format::ids::HostId;
use log_format::wal::{AppendError, SpareProgress};
use palisade::node::{Outcome, Output, PeerMessage};
use palisade::spooling::SpoolOrder;

use super::{Event, IDLE_STEP, WRITER_IDLE, WRITER_WITHIN, World, damage};
use crate::check::{Checker, Violation, ensure, picture};
use crate::disk::{Doom, End, Released};
use crate::host::Host;
use crate::network::Fate;
use crate::workshop::ChapterOrder;

impl World {
    pub(super) fn turn(&mut self, id: HostId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let (mut outputs, ending) = if host.is_spoiled {
            match damage::turn_on_spoiled(host, self.now) {
                Ok(turn) => turn,
                Err(what) => return self.abort(id, &what),
            }
        } else {
            host.turn(self.now)
        };
        self.look(id)?;
        let Some((after, down)) = ending else { return self.carry_out_all(id, outputs) };
        outputs.truncate(after);
        self.carry_out_all(id, outputs)?;
        self.crash(id, End::Killed, down);
        Ok(())
    }

    pub(super) fn carry_out_all(&mut self, id: HostId, outputs: Vec<Output>) -> Result<(), Violation> {
        let Some(life) = self.hosts.get(&id).map(Host::life) else { return Ok(()) };
        for output in outputs {
            // One of them may have ended the process.
            if self.hosts.get(&id).is_some_and(|host| host.is_life(life)) {
                self.carry_out(id, output)?;
            }
        }
        self.wake_writer(id);
        Ok(())
    }

    /// Looks at a host after a turn, before anybody sees what it says.
    fn look(&mut self, id: HostId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get(&id) else { return Ok(()) };
        let before = self.checks.entries();
        self.checks.after_turn(id, host)?;
        if let Some(node) = host.node().filter(|_| before < self.checks.entries()) {
            let picture = picture(&node.consensus(), node.applied());
            self.trace.line(self.now, format_args!("host {id}: {picture}"));
            self.note_members();
        }
        self.look_at_votes()
    }

    fn carry_out(&mut self, id: HostId, output: Output) -> Result<(), Violation> {
        match output {
            Output::Send { to, message } => self.send(id, to, message)?,
            Output::Spool(record) => self.order_spool(id, SpoolOrder::Append(record)),
            Output::SpoolTaken { upto } => self.order_spool(id, SpoolOrder::Taken(upto)),
            Output::ReadSpool { from, most } => self.order_spool(id, SpoolOrder::Read { from, most }),
            Output::Seal(order) => self.order_chapters(id, ChapterOrder::Seal(Box::new(order))),
            Output::Count(order) => self.order_chapters(id, ChapterOrder::Count(order)),
            Output::Fetch { from, at, seals } => {
                self.order_chapters(id, ChapterOrder::Fetch { from, index: at.index, seals });
            }
            Output::Erase { upto } => self.order_erasure(id, upto),
            Output::Retire { below, erased } => self.order_retirement(id, below, erased),
            Output::Persist(job) => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.drive.submit(job);
                }
            }
            Output::Reply { ticket, outcome } => {
                if let Some(wish) = self.workload.answered(ticket) {
                    self.trace.line(self.now, format_args!("host {id}: {:?} is {outcome:?}", wish.number));
                    self.checks.answered(&wish, &outcome, self.now);
                    self.go_on_administering(id, &wish, &outcome)?;
                    match outcome {
                        Outcome::Committed { .. } => self.figures.committed += 1,
                        Outcome::Rejected(_) => self.figures.rejected += 1,
                        Outcome::Unknown | Outcome::Busy => self.ask_again(wish),
                    }
                }
            }
            Output::Halt(reason) => self.halt(id, &reason)?,
            Output::Firewall { changes, upto: _ } => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.enforce(&changes);
                    let addresses = &changes.addresses;
                    self.trace.line(self.now, format_args!("host {id}: enforces {addresses:?}"));
                }
            }
            Output::LiftProvisional { source } => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.lift(source);
                    self.trace.line(self.now, format_args!("host {id}: lifts {source}"));
                }
            }
            Output::ReadReady { ticket, index } => {
                let node = self.hosts.get(&id).and_then(Host::node);
                if let (Some(node), Some((_, called))) = (node, self.reads.remove(&ticket)) {
                    let (version, applied) = (node.model().settings().version, node.applied());
                    ensure(index <= applied, Checker::Linear, || {
                        format!("host {id} lets read what it has not folded: {index} of {applied}")
                    })?;
                    self.figures.reads += 1;
                    self.checks.read(called, self.now, version);
                }
            }
            Output::ReadRefused { ticket } => drop(self.reads.remove(&ticket)),
            Output::Members(members) => self.follow(id, &members),
            Output::Applied { .. }
            | Output::Plan { .. }
            | Output::Cluster(_)
            | Output::Trust(_)
            | Output::StateHash { .. }
            | Output::Standings { .. }
            | Output::Handover(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, from: HostId, to: HostId, message: PeerMessage) -> Result<(), Violation> {
        if let (PeerMessage::Raft(raft), Some(host)) = (&message, self.hosts.get(&from)) {
            self.checks.said(from, Promise::of(raft), host.drive.held())?;
            let indexes: Vec<u64> = raft.entries.iter().map(|entry| entry.index).collect();
            let is_run = (raft.index + 1..).zip(&indexes).all(|(expected, index)| expected == *index);
            // What is proposed has no index yet.
            let is_proposed = indexes.iter().all(|index| *index == 0);
            ensure(is_proposed || is_run, Checker::Log, || {
                format!("host {from} sends the entries {indexes:?} behind {}", raft.index)
            })?;
        }
        let speaks = self.hosts.get(&from).is_some_and(|host| host.speaks_with(to));
        let fate = if speaks { self.network.send(self.now, from, to) } else { Fate::Refused };
        self.trace.line(self.now, format_args!("{from} -> {to}: {} {fate:?}", Shown(&message)));
        match fate {
            Fate::Refused => {
                if let (PeerMessage::Raft(_), Some(host)) = (&message, self.hosts.get_mut(&from)) {
                    host.note_unreachable(to);
                }
            }
            Fate::Arrives(after) => {
                for after in after {
                    self.schedule(after, Event::Arrives { from, to, message: message.clone() });
                }
            }
        }
        Ok(())
    }

    fn wake_writer(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.drive.wants_to_write()) else { return };
        let life = host.life();
        let after = self.prng.up_to(WRITER_WITHIN);
        self.schedule(after, Event::WriterTakes(id, life));
    }

    pub(super) fn writer_takes(&mut self, id: HostId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.drive.wants_to_write()) else {
            return Ok(());
        };
        let (released, life) = (host.drive.take(), host.life());
        let stalled = host.stalls_until.saturating_sub(self.now);
        let after = self.faults.sync_time().max(stalled);
        self.schedule(after, Event::WriterFinishes(id, life));
        self.release(id, released)
    }

    pub(super) fn writer_finishes(&mut self, id: HostId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let (life, down) = (host.life(), host.down_after_write);
        let doomed = host.drive.doomed();
        let released = match (host.drive.finish(), doomed) {
            // The product ends the process after any error of a write; and one that was cut short got no further.
            (
                Err(
                    WriterError::Append { source: AppendError::Disk { .. }, .. }
                    | WriterError::Reset { source: AppendError::Disk { .. }, .. }
                    | WriterError::Retire { source: AppendError::Disk { .. }, .. },
                ),
                Some(doom),
            )
            | (Ok(_), Some(doom @ Doom::Cut { .. })) => {
                self.crash(id, doom.end(), down);
                return Ok(());
            }
            (Err(error), _) => return Err(broken(id, &error)),
            (Ok(released), _) => released,
        };
        self.trace.line(self.now, format_args!("host {id}: wrote"));
        self.release(id, released)?;
        self.wake_writer(id);
        self.schedule(WRITER_IDLE, Event::WriterIdles(id, life));
        Ok(())
    }

    pub(super) fn writer_idles(&mut self, id: HostId) -> Result<(), Violation> {
        match self.hosts.get_mut(&id).filter(|host| host.drive.is_idle()) {
            Some(host) => {
                let (doomed, down) = (host.drive.doomed(), host.down_after_write);
                // Without a spare file the log goes on until it needs one.
                let is_more = matches!(host.drive.prepare_spares(), Ok(SpareProgress::Working));
                host.spool.prepare_spare();
                let life = host.life();
                if is_more {
                    self.schedule(IDLE_STEP, Event::WriterIdles(id, life));
                }
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                match (host.drive.idle(), doomed) {
                    (Err(_), Some(doom)) => {
                        self.crash(id, doom.end(), down);
                        Ok(())
                    }
                    (result, _) => result.map_err(|error| broken(id, &error)),
                }
            }
            None => Ok(()),
        }
    }

    /// What is durable lets go of what rests on it, and wakes the driver.
    fn release(&mut self, id: HostId, released: Released) -> Result<(), Violation> {
        for (to, message) in released.messages {
            self.send(id, to, message)?;
        }
        if self.hosts.get(&id).is_some_and(Host::is_up) {
            self.plan_turn(id);
        }
        Ok(())
    }
}

fn broken(id: HostId, error: &WriterError) -> Violation {
    Violation::new(Checker::Running, format!("host {id} cannot write: {error:?}"))
}

/// A message on one line.
struct Shown<'a>(&'a PeerMessage);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            PeerMessage::Raft(raft) => {
                let entries = raft.entries.len();
                let (kind, term, index) = (raft.msg_type, raft.term, raft.index);
                write!(f, "{kind:?} term {term} index {index} commit {} +{entries}", raft.commit)
            }
            PeerMessage::Ping { .. } => f.write_str("ping"),
            PeerMessage::Pong { .. } => f.write_str("pong"),
            PeerMessage::Forward { ticket, payload: _ } => write!(f, "forward {ticket}"),
            PeerMessage::Forwarded { ticket, outcome: _ } => write!(f, "forwarded {ticket}"),
        }
    }
}
