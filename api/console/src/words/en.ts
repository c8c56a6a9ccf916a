/** Every sentence of the console, in English. Another language is another object of the type {@link Words}. */

import type { Evidence, Rule, Sanction } from '../lib/dto';

const count = new Intl.NumberFormat('en');
const plural = new Intl.PluralRules('en');

function many(n: number, one: string, other: string): string {
  return `${count.format(n)} ${plural.select(n) === 'one' ? one : other}`;
}

export const en = {
  locale: 'en',
  product: 'Palisade',
  pageTitle: (page: string) => `${page} · Palisade`,

  nav: {
    skip: 'Skip to the content',
    label: 'Pages',
    protect: 'Protect',
    dashboard: 'Dashboard',
    blocks: 'Active blocks',
    menu: 'Menu',
    close: 'Close',
  },

  account: {
    open: (name: string) => `Account ${name}`,
    until: (time: string) => `Signed in until ${time}`,
    theme: 'Theme',
    system: 'As the system',
    light: 'Light',
    dark: 'Dark',
    signOut: 'Sign out',
    version: (version: string) => `Palisade ${version}`,
  },

  live: {
    live: 'Live',
    paused: 'Paused',
    connecting: 'Connecting',
    lost: 'Reconnecting',
    pause: 'Pause live updates',
    resume: 'Resume live updates',
    index: (index: number) => `log index ${count.format(index)}`,
    indexTitle: 'How far this host has applied the replicated log',
    stale: (time: string) => `Last updated ${time}, reconnecting.`,
    staleNever: 'No answer from this host yet, trying again.',
    pausedNote: 'Live updates are paused. What you see does not change until you resume.',
    newVersion: 'A new version of Palisade is installed.',
    reload: 'Reload',
  },

  cluster: {
    noLeader: 'The cluster has no leader; reads may be old.',
    noLeaderMore: 'Hosts keep blocking what they see themselves. Nothing can be changed from here until a majority of the hosts answers again.',
    noLeaderShort: 'The cluster has no leader',
    removed: 'This host was removed from the cluster.',
    removedMore: 'What is shown here is old and stays so. Open the console of another host; stop this one, or let it join anew in an empty folder.',
    removedShort: 'This host was removed from the cluster',
    diverged: (names: string) => `What this host showed was not what the log says (${names}).`,
    divergedMore: 'It was folded anew and is right again. Keep the host’s data directory and log for whoever finds out why; this stays until the host starts again.',
    lostShort: 'This host does not answer',
    silent: (names: string, n: number) => `${names} ${n === 1 ? 'does' : 'do'} not answer.`,
    silentMore: 'A host that is cut off keeps its blocks and protects itself, but learns nothing new from the others.',
    watching: (names: string, n: number) => `${names} only ${n === 1 ? 'watches' : 'watch'}:`,
    watchingMore: 'Attacks are recorded there, and nothing is dropped.',
    watchingNoReason: 'the firewall is not in use.',
    hosts: 'Hosts',
    leader: 'Leader',
    follower: 'Follower',
    candidate: 'Candidate',
    learner: 'Learner',
    inSync: 'in sync',
    behind: (n: number) => `−${count.format(n)}`,
    behindTitle: (n: number) => `${many(n, 'entry', 'entries')} behind the leader`,
    noAnswer: 'no answer',
    blocking: 'blocking',
    watchOnly: 'watch only',
    failing: 'firewall failing',
    unknownFirewall: 'firewall unknown',
    failingNow: (name: string) => `The firewall of ${name} refuses:`,
    failingMore: 'Blocks do not reach its kernel.',
    failingNoReason: 'it gave no reason.',
    thisHost: 'this host',
    sentence: (n: number, blocking: number) =>
      `${many(n, 'host', 'hosts')}, ${blocking === n ? 'all blocking' : blocking === 0 ? 'none blocking' : `${count.format(blocking)} blocking`}`,
  },

  signIn: {
    title: 'Sign in',
    lead: 'One list of attackers, the same on every host.',
    password: 'One-time password',
    hint: 'It was printed in the terminal when this host was started. It works once.',
    submit: 'Sign in',
    busy: 'Checking…',
    lostTitle: 'Used, lost or expired?',
    lost: 'Print a new one in a terminal of the host:',
    command: 'palisade user one-time-password',
    copy: 'Copy',
    wrong: 'That password does not open this host. Perhaps it was used already; print a new one below.',
    again: (time: string) => `Try again in ${time}`,
    empty: 'Enter the password first.',
    ended: 'Your session has ended. Sign in again; you will come back to the same page.',
  },

  dashboard: {
    title: 'Dashboard',
    attacksLastHour: 'attacks, last hour',
    attacksLastDay: 'attacks, last 24 hours',
    blockedNow: 'addresses blocked now',
    dynamic: (n: number) => `${count.format(n)} dynamic`,
    soft: (n: number) => `${count.format(n)} soft`,
    denied: (n: number) => `${count.format(n)} denied`,
    provisional: (n: number) => `${count.format(n)} provisional`,
    dynamicTitle: 'Dropped for a time, on every host',
    softTitle: 'Dropped on the SIP ports for minutes: the sender could have been forged',
    deniedTitle: 'Dropped until a person says otherwise',
    provisionalTitle: 'Dropped by the host that saw it, not yet confirmed by the cluster',
    pulse: 'Attacks per minute',
    pulseSummary: (total: number, peak: number) =>
      `Attacks per minute in the last hour: ${count.format(total)} in all, at most ${count.format(peak)} in one minute.`,
    pulseAt: (n: number, time: string) => `${many(n, 'attack', 'attacks')} at ${time}`,
    pulsePeak: (n: number) => `at most ${count.format(n)}`,
    hourAgo: '60 min ago',
    halfAgo: '30 min ago',
    now: 'now',
    byType: 'What they try',
    latestBlocks: 'Latest blocks',
    latestAttacks: 'Latest attacks',
    allBlocks: (n: number) => `All ${count.format(n)}`,
    seenBy: (host: string) => `seen by ${host}`,
    attacker: 'Attacker',
    time: 'Time',
    noBlocks: 'Nobody is blocked now.',
    noAttacks: 'No attacks seen yet.',
    quietTitle: (hosts: number) => `Watching on ${many(hosts, 'host', 'hosts')}. Nothing yet.`,
    quiet: 'The first attack will show here within a second, and its sender will be blocked on every host that does more than watch. To see it happen, play the attacker yourself, from another machine (bash):',
    quietAfter: 'It looks like a well-known scanner. One packet proves nothing about its sender, so that machine is kept from the SIP ports for a few minutes only.',
    failed: 'The dashboard could not be loaded.',
  },

  blocks: {
    title: 'Active blocks',
    results: (n: number) => many(n, 'address', 'addresses'),
    resultsFiltered: (n: number) => `${many(n, 'address', 'addresses')} found`,
    search: 'Search',
    searchHint: 'Address, network or user agent',
    type: 'Type',
    allTypes: 'All types',
    perPage: 'Rows',
    clear: 'Clear filters',
    add: 'Block an address',
    address: 'Address',
    why: 'Why',
    userAgent: 'User agent',
    hits: 'Hits',
    strikes: 'Strikes',
    unblocksIn: 'Unblocks in',
    hosts: 'Enforced on',
    since: (zone: string) => `Since (${zone})`,
    actions: 'Actions',
    unblock: 'Unblock',
    networkRefused: 'The API unblocks single addresses, not whole networks',
    unblockNamed: (address: string) => `Unblock ${address}`,
    fresh: (n: number) => `${count.format(n)} new since you opened this`,
    show: 'Show',
    none: 'Nobody is blocked now.',
    noneMore: 'An attacker appears here within a second of being blocked, and leaves again when the time is over.',
    nothing: 'Nothing matches.',
    failed: 'The list could not be loaded.',
    retry: 'Try again',
    permanent: 'permanent',
    permanentTitle: 'Denied until a person says otherwise',
    lifted: 'lifted',
    unblocked: 'unblocked',
    soon: 'about to end',
    strikesOf: (n: number, threshold: number) => `${count.format(n)} of ${count.format(threshold)}`,
    strikesTitle: (n: number, threshold: number) =>
      `Block number ${count.format(n)} of this address; after ${count.format(threshold)} it is denied for good`,
    strikesNone: 'does not count',
    onHosts: (n: number, of: number) => `${count.format(n)} of ${count.format(of)}`,
    onHostsTitle: (names: string) => (names === '' ? 'On no host' : `On ${names}`),
    unblocking: (n: number, of: number) => `unblocking… ${count.format(n)}\u00a0of\u00a0${count.format(of)}\u00a0hosts`,
    unblockingFirst: 'unblocking…',
    byHand: 'by hand',
    notApplicable: 'not applicable',
    page: (page: number, of: number) => `Page ${count.format(page)} of ${count.format(of)}`,
    previous: 'Previous',
    next: 'Next',
    pages: 'Pages of the list',
    caption: 'Addresses that are blocked now, newest first',
    goneBefore: (address: string) => `${address} was not blocked any more.`,
    unblockedToast: (address: string) => `${address} is unblocked. If it attacks again, it is blocked again.`,
    undo: (left: string) => `Undo: block again for ${left}`,
    undone: (address: string, left: string) => `${address} is blocked again, for ${left}.`,
    blockedToast: (address: string) => `${address} is blocked.`,
    undoBlock: 'Undo: unblock',
    didNotWork: (what: string) => `That did not work: ${what}`,
  },

  unblockDenied: {
    title: (address: string) => `Unblock ${address}?`,
    text: 'This address is denied for good. Once unblocked it is free until it attacks again: there is no undo.',
    confirm: 'Unblock',
    cancel: 'Keep it denied',
  },

  blockForm: {
    title: 'Block an address',
    address: 'Address',
    addressHint: 'IPv4 or IPv6, for example 203.0.113.9',
    addressWrong: 'That is no IPv4 or IPv6 address.',
    duration: 'For',
    note: 'Note',
    noteHint: 'Why, for whoever reads this later. May be empty.',
    submit: 'Block',
    busy: 'Blocking…',
    cancel: 'Cancel',
    lockOut: 'Block it all the same',
    lockOutWarning: (address: string) =>
      `${address} is the address from which you are connected. Blocking it can cut you off from this console.`,
    durations: [
      { seconds: 600, text: '10 minutes' },
      { seconds: 3600, text: '1 hour' },
      { seconds: 14_400, text: '4 hours' },
      { seconds: 86_400, text: '24 hours' },
      { seconds: 604_800, text: '7 days' },
    ],
  },

  rules: {
    'bad-registrations': 'rejected registrations',
    'blocked-user-agent': 'blocked user agent',
  } satisfies Record<Rule, string>,

  evidence: {
    unproven: 'unproven',
    proven: 'proven',
    corroborated: 'corroborated',
  } satisfies Record<Evidence, string>,

  evidenceTitle: {
    unproven: 'The sender could have been forged',
    proven: 'The sender answered what only its address was sent',
    corroborated: 'Proven, and confirmed by a second victim, host or block',
  } satisfies Record<Evidence, string>,

  sanctions: {
    'soft-block': 'soft block',
    block: 'block',
    permanent: 'denied',
  } satisfies Record<Sanction, string>,

  address: {
    copy: (address: string) => `Copy ${address}`,
    copied: 'Copied',
  },

  userAgent: {
    known: 'Known attack tool',
    none: 'none given',
  },

  notFound: {
    title: 'There is no such page',
    text: 'The address may be mistyped, or the page belongs to a newer version.',
    home: 'To the dashboard',
  },

  failure: {
    unreachable: 'This host does not answer.',
    requestId: (id: string) => `request ${id}`,
    /** Where the API speaks to programs, the console speaks to people. Any other code has a good sentence of its own. */
    byCode: {
      no_leader: 'The cluster has no leader just now. Nothing was changed; try again in a few seconds.',
      outcome_unknown: 'The host cannot tell whether that took effect. Trying again is safe.',
      busy: 'This host is busy. Nothing was changed; try again.',
    } as Record<string, string | undefined>,
  },

  time: {
    justNow: 'just now',
  },
};

export type Words = typeof en;
