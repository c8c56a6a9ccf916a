//! Keeps trying to be connected.

use std::sync::Arc;
use std::time::Duration;

use log_format::ids::HostId;

use super::{Shared, connection};
use crate::core::SplitMix64;

/// The first pause after a failure.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: a host that comes back is in touch again within it.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How often members are asked that should dial this host and do not.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// Asks the members that should dial this host, and do not, whether it still belongs to the cluster: they would not tell it
/// otherwise, since nobody speaks with a host that was let go.
pub(super) async fn keep_asking(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        for (peer, address) in shared.missed_peers() {
            connection::ask(&shared, peer, address).await;
        }
    }
}

/// Dials `peer` for as long as it is a member, until the transport stops.
pub(super) async fn keep_connected(shared: Arc<Shared>, peer: HostId) {
    let mut peers = shared.peers.clone();
    let mut pauses = Pauses::new(&shared, peer);
    loop {
        let address = peers.borrow_and_update().get(&peer).map(|known| known.address);
        if let Some(address) = address
            && connection::dial(&shared, peer, address).await
        {
            pauses.reset();
        }
        let pause = pauses.next();
        tokio::select! {
            () = shared.stopped() => return,
            // The peer may have moved, or have become a member again.
            changed = peers.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause), if address.is_some() => {}
        }
    }
}

/// Pauses that double, each with a random quarter more or less so that hosts do not come all at once.
struct Pauses {
    random: SplitMix64,
    next: Duration,
}

impl Pauses {
    fn new(shared: &Shared, peer: HostId) -> Self {
        let identity = shared.identity;
        let seed =
            identity.host.get() ^ peer.get().rotate_left(32) ^ u64::from(identity.incarnation.get()) << 16;
        Self { random: SplitMix64::new(seed), next: MIN_PAUSE }
    }

    fn reset(&mut self) {
        self.next = MIN_PAUSE;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(MAX_PAUSE);
        let percent = 75 + self.random.next() % 51;
        pause * u32::try_from(percent).unwrap_or(100) / 100
    }
}
