/** What the API answers with, as the browser receives it. Times are RFC 3339 text. */

export type AttackType = 'REGISTER' | 'OPTIONS' | 'INVITE' | 'TFTP' | 'DNS' | 'OTHER';
export const ATTACK_TYPES: readonly AttackType[] = ['REGISTER', 'OPTIONS', 'INVITE', 'TFTP', 'DNS', 'OTHER'];

export interface Session {
  name: string;
  csrf_token: string | null;
  expires_at: string | null;
  host: string;
  version: string;
}

export interface Block {
  /** A denied network is written as one: `203.0.113.0/24`. */
  address: string;
  /** Null for an entry of the denylist. */
  block_id: string | null;
  since: string;
  /** Null: until a person says otherwise. */
  until: string | null;
  sanction: string;
  scope: string;
  type: string | null;
  rule: string | null;
  evidence: string | null;
  user_agent: string | null;
  known_user_agent: boolean;
  count: number;
  victim: string | null;
  strikes: number;
  threshold: number;
  by: string | null;
  note: string | null;
  log_index: number;
  /** Ids of the hosts whose kernel holds it. */
  enforced_on: string[];
}

export interface Attack {
  id: string;
  at: string;
  accepted_at: string;
  source: string;
  source_port: number;
  victim: string;
  victim_port: number;
  type: string;
  rule: string;
  evidence: string;
  sanction: string;
  user_agent: string | null;
  known_user_agent: boolean;
  count: number;
  host: { id: string; name: string };
  log_index: number;
}

export interface BlockedNow {
  dynamic: number;
  soft: number;
  denied: number;
  provisional: number;
}

export interface Summary {
  as_of: number;
  now: string;
  mode: string;
  attacks: { last_hour: number; last_24_hours: number; total: number };
  blocked_now: BlockedNow;
  /** Oldest first; the last one is the current minute. */
  attacks_per_minute: number[];
  by_type: Record<string, number>;
  latest_blocks: Block[];
  latest_attacks: Attack[];
}

export interface Page<Item> {
  items: Item[];
  total: number;
  as_of: number;
  now: string;
}

export type Role = 'leader' | 'follower' | 'candidate' | 'pre-candidate' | 'learner' | 'unknown';
export type FirewallMode = 'enforcing' | 'watch-only' | 'failing' | 'unknown';

export interface Host {
  id: string;
  name: string;
  address: string | null;
  role: Role;
  status: 'active' | 'inactive' | 'unknown';
  last_heard_ms: number | null;
  applied: number | null;
  commit: number | null;
  lag: number | null;
  /** Up to which log index its kernel does what the log says. */
  enforced: number | null;
  /** The reason is empty while it enforces. */
  firewall: { mode: FirewallMode; reason: string };
  sensor: { source: string } | null;
  version: string;
  this: boolean;
}

export interface Cluster {
  cluster_id: string;
  leader: string | null;
  term: number;
  commit: number;
  applied: number;
  as_of: number;
  hosts: Host[];
}

export interface Release {
  address: string;
  cause: string;
  log_index: number;
}

export interface Hello {
  build: string;
  as_of: number;
  now: string;
}

/** One message of the live stream. */
export type LiveEvent =
  | { kind: 'hello'; data: Hello }
  | { kind: 'attack'; data: Attack }
  | { kind: 'block' | 'denied'; data: Block }
  | { kind: 'release'; data: Release }
  | { kind: 'hosts'; data: Page<Host> }
  | { kind: 'allowed' | 'settings' | 'resync'; data: unknown };

export const LIVE_EVENT_KINDS: readonly LiveEvent['kind'][] = [
  'hello',
  'attack',
  'block',
  'release',
  'denied',
  'allowed',
  'settings',
  'hosts',
  'resync',
];
