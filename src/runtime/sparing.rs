//! What this host never drops now. Asks, in the background, for the names among it; nothing waits for an answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ports::SparedBy;
use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;

use super::clocks::Clocks;
use super::files::DataDirectory;
use crate::config::Config;
use crate::infrastructure::{self, Spared};
use crate::names::Names;

/// How often each name is asked for. Providers move with times to live of minutes; the system's resolver does not tell them.
const EVERY: Duration = Duration::from_secs(60);
/// How long an answer may take: what the system's resolver waits by itself is less (resolv.conf(5): two tries of 5 s).
const WITHIN: Duration = Duration::from_secs(30);
/// The last good answers, beside the log.
const FILE: &str = "names";

/// What this host never drops: what is known of it at its start, and the names, whose addresses change.
pub(super) struct Sparing {
    lasting: Spared,
    resolver: Resolver,
}

impl Sparing {
    /// Looks at the machine, and asks for names from now on.
    pub(super) fn start(config: &Config, tokio: &Runtime, clocks: Clocks) -> Self {
        let lasting = infrastructure::spared(&config.firewall.never_block);
        Self { lasting, resolver: Resolver::start(config, tokio, clocks) }
    }

    /// A block of their own address would cut off whoever could lift it: so people who are signed in are spared, too.
    pub(super) fn now(&self, signed_in: impl IntoIterator<Item = IpAddr>) -> Spared {
        let signed_in = signed_in.into_iter().map(|address| (IpNet::from(address), SparedBy::SignIn));
        let named = self.resolver.addresses().into_iter();
        let named = named.map(|(address, name)| (IpNet::from(address), SparedBy::Name(name)));
        // What lasts is the better reason.
        signed_in.chain(named).chain(self.lasting.clone()).collect()
    }
}

/// What is known of the names.
#[derive(Clone)]
struct Resolver {
    known: Arc<Mutex<Names>>,
    clocks: Clocks,
}

impl Resolver {
    /// Takes up what an earlier run knew, and asks from now on.
    fn start(config: &Config, tokio: &Runtime, clocks: Clocks) -> Self {
        let (names, data) = (config.firewall.never_block_names.clone(), DataDirectory::open(&config.data));
        let kept = data.text(FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "the addresses of names in firewall.never_block are asked for anew");
            String::new()
        });
        let resolver = Self { known: Arc::new(Mutex::new(Names::read(&kept, &names))), clocks };
        if !names.is_empty() {
            tokio.spawn(resolver.clone().keep_asking(names, data));
        }
        resolver
    }

    /// The addresses that hold now, each with its name.
    fn addresses(&self) -> Vec<(IpAddr, String)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.addresses(self.clocks.now().wall).map(|(address, name)| (address, name.to_owned())).collect()
    }

    async fn keep_asking(self, names: BTreeSet<String>, data: DataDirectory) {
        let mut failing = BTreeSet::new();
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let answers = join_all(names.iter().map(|name| ask(name))).await;
            let now = self.clocks.now().wall;
            let text = {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, answer) in names.iter().zip(answers) {
                    let is_good = known.answered(name, answer.into_iter(), now);
                    tell(&mut failing, name, is_good);
                }
                known.write()
            };
            if let Err(error) = data.replace(FILE, &text) {
                tracing::warn!(%error, "keep the addresses of names in firewall.never_block");
            }
        }
    }
}

/// The name's addresses; none if there is no answer.
async fn ask(name: &str) -> Vec<IpAddr> {
    let answer = tokio::time::timeout(WITHIN, tokio::net::lookup_host((name, 0))).await;
    answer.ok().and_then(Result::ok).into_iter().flatten().map(|address| address.ip()).collect()
}

/// Says when a name has no answer any more, and when it has one again.
fn tell(failing: &mut BTreeSet<String>, name: &str, is_good: bool) {
    if is_good && failing.remove(name) {
        tracing::info!(name, "a name in firewall.never_block has an answer again");
    } else if !is_good && failing.insert(name.to_owned()) {
        tracing::warn!(name, "no answer for a name in firewall.never_block: its last one holds for a day");
    }
}
