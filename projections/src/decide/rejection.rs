//! A domain "no": data for the caller, with a stable code and a text that says the field, the reason and what to do.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use log_format::ids::{ChapterNumber, HostId, JoinTokenId};
use log_format::time::Timestamp;
use thiserror::Error;

use crate::address::Untouchable;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The address may never be blocked.
    #[error("source: {source_address} is {why} and is never blocked; check the address")]
    NeverBlocked {
        /// The address.
        source_address: IpAddr,
        /// What it is.
        why: Untouchable,
    },
    /// The network holds an address that may never be blocked.
    #[error("network: {network} holds {why}, which is never blocked; deny networks without it")]
    HoldsUntouchable {
        /// The network.
        network: IpNet,
        /// What it holds.
        why: Untouchable,
    },
    /// An allowance covers the address or network.
    #[error("source: {} is on the allowlist through {}; shorten that allowance first", shown(.network), shown(.allowed))]
    Allowlisted {
        /// The address or network.
        network: IpNet,
        /// The allowance.
        allowed: IpNet,
    },
    /// An equal or stronger block lasts at least as long.
    #[error(
        "source: {source_address} is already blocked until {until}; choose a longer time or unblock it first"
    )]
    AlreadyBlocked {
        /// The address.
        source_address: IpAddr,
        /// When its block ends.
        until: Timestamp,
    },
    /// It is denied for good.
    #[error("source: {} is already on the denylist through {}; nothing is left to do", shown(.network), shown(.denied))]
    AlreadyDenied {
        /// The address or network.
        network: IpNet,
        /// The denylist's network that holds it.
        denied: IpNet,
    },
    /// The address has no block and no place in the denylist.
    #[error("source: {source_address} is neither blocked nor on the denylist; check the address")]
    NotListed {
        /// The address.
        source_address: IpAddr,
    },
    /// The address is denied through a wider network, which a release of one address cannot end.
    #[error("source: {source_address} is denied through the network {network}; allow the address instead")]
    DeniedByNetwork {
        /// The address.
        source_address: IpAddr,
        /// The denied network.
        network: IpNet,
    },
    /// A list has no room.
    #[error("{list}: all {limit} places are taken; remove entries that are no longer needed")]
    ListFull {
        /// Which list.
        list: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// A number is outside its range.
    #[error("{field}: {value} is not between {least} and {most}; choose a value of that range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The value given.
        value: u64,
        /// The smallest that is accepted.
        least: u64,
        /// The largest that is accepted.
        most: u64,
    },
    /// A network is too wide to be meant.
    #[error("network: {network} is wider than /{shortest}; name smaller networks")]
    NetworkTooWide {
        /// The network.
        network: IpNet,
        /// The shortest prefix accepted.
        shortest: u8,
    },
    /// Somebody else changed the settings first.
    #[error(
        "expected_version: the settings are at version {actual}, not {expected}; read them again and repeat the change"
    )]
    VersionConflict {
        /// What the caller saw.
        expected: u64,
        /// What holds.
        actual: u64,
    },
    /// A change of nothing.
    #[error("changes: none is given; name at least one setting")]
    NothingToChange,
    /// A setting is given twice.
    #[error("{field}: given twice; give it once")]
    Repeated {
        /// The setting.
        field: &'static str,
    },
    /// A list that must not be empty is.
    #[error("{field}: the list is empty; give at least one entry")]
    EmptyList {
        /// The field.
        field: &'static str,
    },
    /// A list is too long.
    #[error("{field}: {count} entries are more than {limit}; shorten the list")]
    TooMany {
        /// The field.
        field: &'static str,
        /// Entries given.
        count: usize,
        /// Entries accepted.
        limit: usize,
    },
    /// An entry is empty or blank.
    #[error("{field}: an entry is blank and would match everything; remove it")]
    BlankEntry {
        /// The field.
        field: &'static str,
    },
    /// A port range is impossible.
    #[error(
        "sip_ports: {first}-{last} is no range of ports; ports start at 1 and a range ends where it starts or later"
    )]
    PortRange {
        /// First port given.
        first: u16,
        /// Last port given.
        last: u16,
    },
    /// One of a batch is refused, and so are all.
    #[error("items[{place}].{why}; nothing of the batch was done")]
    InBatch {
        /// Its place, from 0.
        place: u16,
        /// Why.
        why: Box<Rejection>,
    },
    /// No such host.
    #[error("host: {host} does not belong to the cluster; check its id")]
    UnknownHost {
        /// The host.
        host: HostId,
    },
    /// The host was removed.
    #[error("host: {host} was removed and its id is never used again; enrol it under a new id")]
    HostRemoved {
        /// The host.
        host: HostId,
    },
    /// The host is another incarnation than the log knows.
    #[error(
        "host: the data directory of {host} was made anew, so what it acknowledged is lost; remove the host and let it join anew"
    )]
    HostMadeAnew {
        /// The host.
        host: HostId,
    },
    /// Without this host there is no cluster.
    #[error("host: {host} is the last host of the cluster; let another one join first")]
    LastHost {
        /// The host.
        host: HostId,
    },
    /// A host may say this of itself only.
    #[error("host: {speaker} cannot say this of {host}; each host says it of itself")]
    SpeaksForAnother {
        /// Of whom it is said.
        host: HostId,
        /// Who says it.
        speaker: HostId,
    },
    /// The name is another host's.
    #[error("name: {name} is the name of host {host}; choose another")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        host: HostId,
    },
    /// The address is another host's own.
    #[error("addresses: {address} is an address of host {host}; name only the joining host's own")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        host: HostId,
    },
    /// Peers reach another host there.
    #[error("peer: at {peer} peers reach host {host}; choose another address or port")]
    PeerTaken {
        /// The address and port.
        peer: SocketAddr,
        /// Who is reached there.
        host: HostId,
    },
    /// No such join token.
    #[error("token: {token} is unknown; issue a new one")]
    UnknownToken {
        /// The token.
        token: JoinTokenId,
    },
    /// A token of this name was issued before.
    #[error("token: {token} was issued before; choose another at random")]
    TokenExists {
        /// The token.
        token: JoinTokenId,
    },
    /// The token's time is over.
    #[error("token: {token} expired at {expires}; issue a new one")]
    TokenExpired {
        /// The token.
        token: JoinTokenId,
        /// When.
        expires: Timestamp,
    },
    /// The token was used.
    #[error("token: with {token} host {host} joined, and a token is good for one host; issue a new one")]
    TokenUsed {
        /// The token.
        token: JoinTokenId,
        /// Who came in with it.
        host: HostId,
    },
    /// The token was declared void.
    #[error("token: {token} was revoked; issue a new one")]
    TokenRevoked {
        /// The token.
        token: JoinTokenId,
    },
    /// The bytes are no certificate.
    #[error("certificate: it is no X.509 certificate in DER; give the authority's own certificate")]
    NoCertificate,
    /// The authority was retired.
    #[error("certificate: its authority was retired; make a new one with a new key")]
    AuthorityRetired,
    /// It is the authority that signs.
    #[error(
        "key_hash: it is the newest authority, or the only one, and signs certificates; add another one first"
    )]
    LastAuthority,
    /// The host has announced no key.
    #[error("host: {host} has announced no key to sign with; let it announce one first")]
    NoKey {
        /// The host.
        host: HostId,
    },
    /// A value of fixed length has another one.
    #[error("{field}: it has {bytes} bytes instead of {expected}; give it whole")]
    WrongLength {
        /// The field.
        field: &'static str,
        /// Bytes given.
        bytes: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// No such chapter.
    #[error("chapter: {chapter} is not cut, or so old that it is forgotten; check its number")]
    UnknownChapter {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The chapter has no seal.
    #[error("chapter: {chapter} is not sealed yet; wait until it is")]
    ChapterNotSealed {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The chapter has another seal.
    #[error("seal: chapter {chapter} has another seal, so this host's log differs; stop it and compare")]
    SealDiffers {
        /// The chapter.
        chapter: ChapterNumber,
    },
    /// The chapter was cut only now.
    #[error("chapter: the attack data of {chapter} still counts until {free_from}; erase it then")]
    ChapterTooYoung {
        /// The chapter.
        chapter: ChapterNumber,
        /// From when it can be erased.
        free_from: Timestamp,
    },
    /// The chapter's attack data is gone.
    #[error("chapter: the attack data up to chapter {upto} is erased, {chapter} included; name a later one")]
    AlreadyErased {
        /// The chapter.
        chapter: ChapterNumber,
        /// The newest whose attack data is erased.
        upto: ChapterNumber,
    },
}

impl Rejection {
    /// The code that programs rely on; it never changes its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeverBlocked { .. } => "never_blocked",
            Self::HoldsUntouchable { .. } => "holds_never_blocked",
            Self::Allowlisted { .. } => "allowlisted",
            Self::AlreadyBlocked { .. } => "already_blocked",
            Self::AlreadyDenied { .. } => "already_denied",
            Self::NotListed { .. } => "not_listed",
            Self::DeniedByNetwork { .. } => "denied_by_network",
            Self::ListFull { .. } => "list_full",
            Self::OutOfRange { .. } => "out_of_range",
            Self::NetworkTooWide { .. } => "network_too_wide",
            Self::VersionConflict { .. } => "version_conflict",
            Self::NothingToChange => "nothing_to_change",
            Self::Repeated { .. } => "repeated",
            Self::EmptyList { .. } => "empty_list",
            Self::TooMany { .. } => "too_many",
            Self::BlankEntry { .. } => "blank_entry",
            Self::PortRange { .. } => "port_range",
            Self::InBatch { why, .. } => why.code(),
            Self::UnknownHost { .. } => "unknown_host",
            Self::HostRemoved { .. } => "host_removed",
            Self::HostMadeAnew { .. } => "host_made_anew",
            Self::LastHost { .. } => "last_host",
            Self::SpeaksForAnother { .. } => "speaks_for_another",
            Self::NameTaken { .. } => "name_taken",
            Self::AddressTaken { .. } => "address_taken",
            Self::PeerTaken { .. } => "peer_taken",
            Self::UnknownToken { .. } => "unknown_token",
            Self::TokenExists { .. } => "token_exists",
            Self::TokenExpired { .. } => "token_expired",
            Self::TokenUsed { .. } => "token_used",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::NoCertificate => "no_certificate",
            Self::AuthorityRetired => "authority_retired",
            Self::LastAuthority => "last_authority",
            Self::NoKey { .. } => "no_key",
            Self::WrongLength { .. } => "wrong_length",
            Self::UnknownChapter { .. } => "unknown_chapter",
            Self::ChapterNotSealed { .. } => "chapter_not_sealed",
            Self::SealDiffers { .. } => "seal_differs",
            Self::ChapterTooYoung { .. } => "chapter_too_young",
            Self::AlreadyErased { .. } => "already_erased",
        }
    }

    /// The field whose value is to blame, of a batch's item the item's field; `None` if the state of the cluster is.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { field, .. }
            | Self::Repeated { field }
            | Self::EmptyList { field }
            | Self::TooMany { field, .. }
            | Self::BlankEntry { field }
            | Self::WrongLength { field, .. } => Some(field),
            Self::NoCertificate => Some("certificate"),
            Self::PortRange { .. } => Some("sip_ports"),
            Self::NetworkTooWide { .. } => Some("network"),
            Self::NothingToChange => Some("changes"),
            Self::InBatch { why, .. } => why.field(),
            Self::NeverBlocked { .. }
            | Self::HoldsUntouchable { .. }
            | Self::Allowlisted { .. }
            | Self::AlreadyBlocked { .. }
            | Self::AlreadyDenied { .. }
            | Self::NotListed { .. }
            | Self::DeniedByNetwork { .. }
            | Self::ListFull { .. }
            | Self::VersionConflict { .. }
            | Self::UnknownHost { .. }
            | Self::HostRemoved { .. }
            | Self::HostMadeAnew { .. }
            | Self::LastHost { .. }
            | Self::SpeaksForAnother { .. }
            | Self::NameTaken { .. }
            | Self::AddressTaken { .. }
            | Self::PeerTaken { .. }
            | Self::UnknownToken { .. }
            | Self::TokenExists { .. }
            | Self::TokenExpired { .. }
            | Self::TokenUsed { .. }
            | Self::TokenRevoked { .. }
            | Self::AuthorityRetired
            | Self::LastAuthority
            | Self::NoKey { .. }
            | Self::UnknownChapter { .. }
            | Self::ChapterNotSealed { .. }
            | Self::SealDiffers { .. }
            | Self::ChapterTooYoung { .. }
            | Self::AlreadyErased { .. } => None,
        }
    }
}

/// A rejection as it travels to whoever asked, also through another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// [`Rejection::code`], or that of the host on the way.
    pub code: String,
    /// The field whose value is to blame, if one is.
    pub field: Option<String>,
    /// The rejection's text.
    pub detail: String,
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let item = if let Rejection::InBatch { place, .. } = rejection {
            format!("items[{place}].")
        } else {
            String::new()
        };
        let field = rejection.field().map(|field| format!("{item}{field}"));
        Self { code: rejection.code().to_owned(), field, detail: rejection.to_string() }
    }
}

/// A network of one address as that address.
fn shown(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}
