//! What the kernel drops, told to the sensors by the firewall's thread: each passes those sources over with a first look.
//!
//! A sensor that does not keep up is told everything anew at the next convergence, and looks at everybody until then.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use log_format::time::Timestamp;
use sensors::Engine;

/// Pieces of news that wait for a sensor, which looks twice a second.
const MAX_NEWS: usize = 1_024;

/// A source, and until when the kernel drops what it sends; `None`: it is let through.
pub(super) type Door = (IpAddr, Option<Timestamp>);

/// What changed.
#[derive(Clone)]
pub(super) enum News {
    /// These.
    Changed(Arc<[Door]>),
    /// The kernel holds these and no others.
    All(Arc<BTreeMap<IpAddr, Timestamp>>),
    /// The kernel drops nothing, or it is not known what.
    Nothing,
}

struct Way {
    sender: SyncSender<News>,
    is_behind: Arc<AtomicBool>,
}

/// The firewall's side.
#[derive(Clone, Default)]
pub(super) struct Doors {
    ways: Arc<Mutex<Vec<Way>>>,
}

impl Doors {
    /// A sensor's side.
    pub(super) fn watch(&self) -> Watcher {
        let (sender, news) = sync_channel(MAX_NEWS);
        let is_behind = Arc::new(AtomicBool::new(false));
        let way = Way { sender, is_behind: Arc::clone(&is_behind) };
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).push(way);
        Watcher { news, is_behind }
    }

    /// Tells every sensor.
    pub(super) fn tell(&self, news: &News) {
        for way in self.ways.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if way.sender.try_send(news.clone()).is_err() {
                way.is_behind.store(true, Ordering::Release);
            }
        }
    }
}

/// A sensor's side.
pub(super) struct Watcher {
    news: Receiver<News>,
    is_behind: Arc<AtomicBool>,
}

impl Watcher {
    /// Hands an engine what is new.
    pub(super) fn tell(&self, engine: &mut Engine, now: Timestamp) {
        if self.is_behind.swap(false, Ordering::Acquire) {
            while self.news.try_recv().is_ok() {}
            engine.enforce(false);
            engine.open_all();
        }
        for news in self.news.try_iter() {
            match news {
                News::Changed(doors) => {
                    for (source, until) in doors.iter() {
                        match until {
                            Some(until) => engine.shut(*source, now, *until),
                            None => engine.open(*source),
                        }
                    }
                }
                News::All(blocked) => {
                    engine.enforce(true);
                    engine.retain(|source| blocked.contains_key(&source));
                    blocked.iter().for_each(|(source, until)| engine.shut(*source, now, *until));
                }
                News::Nothing => {
                    engine.enforce(false);
                    engine.open_all();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sensors::{Frame, LinkType, Policy};

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// How many of ten sources are passed over.
    fn passed(engine: &mut Engine, now: Timestamp) -> u64 {
        let before = engine.statistics().passed_over;
        for last in 0..10 {
            let mut bytes = vec![0x45, 0, 0, 30, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, last, 198, 51, 100, 1];
            bytes.extend_from_slice(&[0x13, 0xc4, 0x13, 0xc4, 0, 10, 0, 0, b'\r', b'\n']);
            let frame =
                Frame { at: now, link: LinkType::RawIp, bytes: &bytes, original_length: 30, number: 1 };
            engine.frame(&frame, &mut Vec::new());
        }
        engine.statistics().passed_over - before
    }

    #[test]
    fn a_sensor_passes_over_what_the_kernel_drops_and_nothing_else() {
        let (doors, now) = (Doors::default(), Timestamp::from_seconds(1_000));
        let until = now.after(std::time::Duration::from_secs(60));
        let (watcher, mut engine) = (doors.watch(), Engine::new(Policy::default(), [7; 16]));
        let mut told = |news: News| {
            doors.tell(&news);
            watcher.tell(&mut engine, now);
            passed(&mut engine, now)
        };
        let changed = |door: Door| News::Changed(Arc::from([door]));
        assert_eq!(told(changed((address(1), Some(until)))), 0, "nothing is known to be enforced yet");
        assert_eq!(told(News::All(Arc::new(BTreeMap::from([(address(1), until), (address(2), until)])))), 2);
        assert_eq!(told(changed((address(3), Some(until)))), 3);
        assert_eq!(told(changed((address(1), None))), 2);
        assert_eq!(told(News::All(Arc::new(BTreeMap::from([(address(3), until)])))), 1);
        assert_eq!(told(News::Nothing), 0);
    }

    #[test]
    fn a_sensor_that_does_not_keep_up_looks_at_everybody_until_all_is_told_again() {
        let (doors, now) = (Doors::default(), Timestamp::from_seconds(1_000));
        let until = now.after(std::time::Duration::from_secs(60));
        let (watcher, mut engine) = (doors.watch(), Engine::new(Policy::default(), [7; 16]));
        let all = News::All(Arc::new(BTreeMap::from([(address(1), until)])));
        for _ in 0..=MAX_NEWS {
            doors.tell(&all);
        }
        watcher.tell(&mut engine, now);
        assert_eq!(passed(&mut engine, now), 0);
        doors.tell(&all);
        watcher.tell(&mut engine, now);
        assert_eq!(passed(&mut engine, now), 1);
    }
}
