//! `palisade cluster token`, `join`, `transfer` and `remove`: who belongs to the cluster, and who leads it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use consensus::rt::join::{self, Certified, HostKey, JoinToken};
use consensus::rt::tls::authority_hash;
use log_format::ids::JoinTokenId;
use serde_json::{Value, json};

use crate::cli::{Failure, Format, Host, ask};
use crate::node::wire::{JoinAnswer, JoinDetails};
use crate::provision::{self, Credentials, FirewallSwitch, Joined, NewHost};

/// Hosts asked for the leader, one after the other; leadership may move meanwhile.
const MAX_HOPS: usize = 4;

#[derive(Subcommand)]
pub(in crate::cli) enum Token {
    /// Print a new token, good for one host; whoever has it may join, so keep it secret
    Issue(Issue),
    /// List the tokens that are open
    List(List),
    /// Make a token void
    Revoke(Revoke),
}

#[derive(Args)]
pub(in crate::cli) struct Issue {
    /// For how many minutes it is good, 15 at most
    #[arg(long, value_name = "MINUTES", default_value_t = 15)]
    minutes: u64,
    /// What the host may become
    #[arg(long, value_enum, default_value = "voter-capable")]
    role: Role,
    #[command(flatten)]
    host: Host,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// It gets a vote where that makes the number of votes odd
    VoterCapable,
    /// It senses and protects, and never votes
    SensorOnly,
}

#[derive(Args)]
pub(in crate::cli) struct List {
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(in crate::cli) struct Revoke {
    /// The token's id, as `list` shows it
    id: String,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(in crate::cli) struct Join {
    /// The token, as `cluster token issue` printed it
    #[arg(long)]
    token: String,
    /// Any host of the cluster: where its peers reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    via: SocketAddr,
    /// This host's name
    #[arg(long)]
    name: String,
    /// Where its peers will reach this host
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: SocketAddr,
    /// More addresses of this host, which are never blocked; once for each
    #[arg(long = "own-address", value_name = "ADDRESS")]
    own_addresses: Vec<IpAddr>,
    /// Folder to be made, for configuration, certificate and data
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Port of this host's console, on the same address
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    console_port: u16,
    /// Network device to watch and to drop on; once for each
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Never touch this host's firewall
    #[arg(long)]
    watch_only: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Transfer {
    /// Id of the next leader, as `cluster status` shows it
    #[arg(long, value_name = "HOST")]
    to: String,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(in crate::cli) struct Remove {
    /// Id of the host, as `cluster status` shows it
    id: String,
    #[command(flatten)]
    host: Host,
}

pub(super) fn token(command: &Token) -> Result<(), Failure> {
    match command {
        Token::Issue(arguments) => issue(arguments),
        Token::List(arguments) => list(arguments),
        Token::Revoke(Revoke { id, host }) => {
            ask(host, "DELETE", &format!("/join-tokens/{id}"), None)?;
            println!("{id} is void");
            Ok(())
        }
    }
}

/// The secret is drawn here and printed once: the cluster is told only what it can be checked with.
fn issue(arguments: &Issue) -> Result<(), Failure> {
    let Issue { minutes, role, host } = arguments;
    let ca = host.load()?.cluster.ca;
    let pem = std::fs::read(&ca).with_context(|| format!("read {}", ca.display()))?;
    let authority = authority_hash(&pem).with_context(|| format!("use {}", ca.display()))?;
    let (mut id, mut secret) = ([0; 16], [0; 32]);
    for bytes in [id.as_mut_slice(), secret.as_mut_slice()] {
        getrandom::fill(bytes).map_err(|error| anyhow!("draw a token: {error}"))?;
    }
    let token = JoinToken::new(authority, id, secret);
    let verifier = token.verifier().ok_or_else(|| anyhow!("make a key from the token"))?;
    let role = match role {
        Role::VoterCapable => "voter-capable",
        Role::SensorOnly => "sensor-only",
    };
    let verifier: String = verifier.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = JoinTokenId::new(id).to_string();
    let body = json!({ "id": id, "verifier": verifier, "role": role, "seconds": minutes.saturating_mul(60) });
    ask(host, "POST", "/join-tokens", Some(&body))?;
    println!("{token}");
    Ok(())
}

fn list(arguments: &List) -> Result<(), Failure> {
    let answer = ask(&arguments.host, "GET", "/join-tokens", None)?;
    for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or("-");
        match arguments.format {
            Format::Jsonl => println!("{item}"),
            Format::Text => println!("{}  {:<13}  until {}", text("id"), text("role"), text("expires")),
        }
    }
    Ok(())
}

pub(super) fn transfer(arguments: &Transfer) -> Result<(), Failure> {
    let body = json!({ "to": arguments.to });
    ask(&arguments.host, "POST", "/cluster/transfer", Some(&body))?;
    println!("host {} leads", arguments.to);
    Ok(())
}

pub(super) fn remove(arguments: &Remove) -> Result<(), Failure> {
    ask(&arguments.host, "DELETE", &format!("/hosts/{}", arguments.id), None)?;
    println!("host {} is removed; its id is never used again", arguments.id);
    Ok(())
}

pub(super) fn join(arguments: &Join) -> Result<(), Failure> {
    let token = JoinToken::parse(&arguments.token).map_err(|error| Failure::Usage(error.to_string()))?;
    // Before the token is used up.
    provision::check_unused(&arguments.data).map_err(|error| Failure::Refused(error.to_string()))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let key = HostKey::generate().map_err(anyhow::Error::from)?;
    let (credentials, answer) = runtime.block_on(certified(arguments, &token, &key))?;
    let host = NewHost {
        name: arguments.name.clone(),
        address: arguments.address,
        console: SocketAddr::new(arguments.address.ip(), arguments.console_port),
        plain_console: false,
        devices: arguments.devices.clone(),
        playback: None,
        firewall: if arguments.watch_only { FirewallSwitch::Off } else { FirewallSwitch::On },
    };
    let JoinAnswer { cluster, host: id, members, first_members } = answer;
    let joined = Joined { cluster, host: id, members, first_members: Some(first_members) };
    let configuration = provision::provision_joined(&joined, &host, &credentials, &arguments.data)
        .context("set this host up; the token is used up, so issue a new one and remove this host's id")?;
    println!("host {id}: {}", configuration.display());
    println!("Run `palisade serve --config {}`.", configuration.display());
    Ok(())
}

async fn certified(
    arguments: &Join,
    token: &JoinToken,
    key: &HostKey,
) -> Result<(Credentials, JoinAnswer), Failure> {
    let (name, address) = (arguments.name.clone(), arguments.address);
    let details = JoinDetails { name, address, own_addresses: arguments.own_addresses.clone() };
    let mut via = arguments.via;
    for _ in 0..MAX_HOPS {
        let answer = join::join(token, via, key, details.encode().into()).await;
        match answer.map_err(anyhow::Error::from)? {
            Certified::Elsewhere { address } => via = address,
            Certified::Refused { reason } => return Err(Failure::Refused(reason)),
            Certified::Issued { certificate_pem, ca_pem, details } => {
                let answer = JoinAnswer::decode(&details);
                let answer = answer.ok_or_else(|| anyhow!("the leader's answer does not make sense"))?;
                return Ok((Credentials { certificate_pem, key_pem: key.pem(), ca_pem }, answer));
            }
        }
    }
    Err(Failure::NoLeader)
}
