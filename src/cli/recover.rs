//! `palisade recover`: what is left when the cluster itself cannot go on. Offline, on one host, with the loss named.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config;
use crate::recover::{self, Accepted, Forced, Others, RecoverError};

/// The order is the flag; nothing is asked. The host must be stopped.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("order").required(true).multiple(true))]
pub(super) struct Arguments {
    /// The host's data directory; the host must be stopped
    #[arg(long, value_name = "DIR", conflicts_with = "config", required_unless_present = "config")]
    data: Option<PathBuf>,
    /// The host's start-up configuration, which also names the data directory; --force-new-cluster needs it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Cut off the damaged end of this host's log. Acknowledged entries are lost for good; only for a host that is alone
    /// in its cluster, or becomes so by the other order
    #[arg(long, group = "order")]
    accept_tail_loss: bool,
    /// Go on with this host alone, as a new cluster with an id and an authority of its own. What only the other hosts
    /// hold is lost for good, and they cannot come back
    #[arg(long, group = "order", requires = "config")]
    force_new_cluster: bool,
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Refused(refusal) => Self::Refused(refusal.to_string()),
            RecoverError::Failed(error) => Self::Failed(error),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let data = match (&arguments.data, &arguments.config) {
        (Some(data), _) => data.clone(),
        (None, Some(file)) => config::load(file)?.data,
        (None, None) => return Err(Failure::Usage("--data or --config says which host".to_owned())),
    };
    if arguments.accept_tail_loss {
        let others = if arguments.force_new_cluster { Others::GivenUp } else { Others::Count };
        say_cut(&recover::accept_tail_loss(&data, others)?);
    }
    if let Some(configuration) = arguments.config.as_ref().filter(|_| arguments.force_new_cluster) {
        say_forced(&recover::force_new_cluster(configuration)?, configuration);
    }
    Ok(())
}

fn say_cut(accepted: &Accepted) {
    let Accepted { identity, loss, kept, written } = accepted;
    println!("{identity}");
    match loss {
        Some(loss) => {
            println!("damaged: {}", loss.damage);
            if *kept < loss.lost_upto {
                println!("lost: entries {} to {}, {} bytes", kept.next(), loss.lost_upto, loss.bytes);
            } else {
                println!("lost: what was behind entry {kept}, {} bytes that name no entry", loss.bytes);
            }
            for copy in &loss.copies {
                println!("cut off: {}", copy.display());
            }
        }
        None => println!("an earlier attempt had cut the log after entry {kept}"),
    }
    println!("kept: entries up to {kept}; entry {written} says what was done");
}

fn say_forced(forced: &Forced, configuration: &std::path::Path) {
    let Forced { previous, cluster, host, kept, committed, written, let_go, .. } = forced;
    println!("cluster {previous} goes on as cluster {cluster}, with host {host} alone");
    println!(
        "kept: entries up to {kept}, of which {committed} were known to be acknowledged; entry {written} says what was done"
    );
    println!("lost: whatever other hosts acknowledged from entry {} on", kept.next());
    for gone in let_go {
        println!(
            "let go: host {gone}; never start it again with what it has, let it join anew into an empty folder"
        );
    }
    println!("configuration: {} (before: {})", configuration.display(), forced.old_configuration.display());
    println!("data: {}", forced.data.display());
    println!(
        "before: {}; remove it once the host serves: nothing erases what is in it",
        forced.old_data.display()
    );
    println!("a new authority signs from now on: keep a copy of {} off-line", forced.ca_key.display());
    println!("Run `palisade serve --config {}`, then let hosts join.", configuration.display());
}
