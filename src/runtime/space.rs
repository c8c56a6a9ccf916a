//! Watches the room on the data directory's disk, and keeps the reserve for the day when there is none.

#![expect(clippy::disallowed_methods, reason = "this shell owns the thread that looks at the disk")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log_format::disk::{Disk, StdDisk};
use log_format::reserve::{Reserve, SpaceLimits, SpaceState};

use crate::node::DiskState;

/// How often the disk is asked: it takes a busy writer longer to fill what is above the mark.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A reserve that is gone is made again after so many looks with enough room.
const LOOKS_BEFORE_KEEPING: u32 = 60;

/// What the thread saw last.
#[derive(Clone, Default)]
pub(super) struct Space(Arc<AtomicBool>);

impl Space {
    /// Whether the disk is nearly full.
    pub(super) fn state(&self) -> DiskState {
        if self.0.load(Ordering::Relaxed) { DiskState::Low } else { DiskState::Ample }
    }
}

/// Starts the thread, which ends with the process. The reserve is made beside what else happens at the start: it is only
/// needed on a full disk, and takes a moment to make.
pub(super) fn watch(data: &Path) -> std::io::Result<Space> {
    let space = Space::default();
    let (told, data) = (space.clone(), data.to_owned());
    let look = move || {
        let limits = SpaceLimits::default();
        let reserve = Reserve::new(Arc::new(StdDisk), &data, limits);
        keep(&reserve);
        let mut looks = 0;
        loop {
            match StdDisk.space(&data) {
                Ok(found) => tell(&told, limits.are_crossed(found)),
                Err(error) => tracing::warn!(%error, "the disk does not say how full it is"),
            }
            looks += 1;
            if looks == LOOKS_BEFORE_KEEPING {
                looks = 0;
                keep(&reserve);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    };
    std::thread::Builder::new().name("space".to_owned()).spawn(look)?;
    Ok(space)
}

fn tell(told: &Space, is_low: bool) {
    match (told.0.swap(is_low, Ordering::Relaxed), is_low) {
        (false, true) => tracing::error!(
            "the disk is nearly full: only unblocking, retention and membership are written until there is room"
        ),
        (true, false) => tracing::info!("the disk has room again"),
        (false, false) | (true, true) => {}
    }
}

/// Makes the reserve if it is missing and there is room for it.
fn keep(reserve: &Reserve<StdDisk>) {
    match reserve.keep() {
        Ok(SpaceState::Ample | SpaceState::Low | SpaceState::ReserveSpent) => {}
        Err(error) => tracing::warn!(%error, "the reserve for a full disk could not be made"),
    }
}
