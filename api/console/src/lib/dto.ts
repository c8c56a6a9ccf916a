/** What the API answers with: names for the types that `npm run types` makes from the API's own description. */

import type { components } from '$openapi';

type Schemas = components['schemas'];

export type Session = Schemas['Session'];
export type Summary = Schemas['Summary'];
export type Block = Schemas['Block'];
export type Attack = Schemas['Attack'];
export type Cluster = Schemas['Cluster'];
export type Host = Schemas['Host'];
export type Written = Schemas['Written'];
export type Blocked = Schemas['Blocked'];
export type PostBlock = Schemas['PostBlock'];

export type AttackType = Attack['type'];
export type Rule = Attack['rule'];
export type Evidence = Attack['evidence'];
export type Sanction = Block['sanction'];
export type Role = Host['role'];
export type FirewallMode = Host['firewall']['mode'];

/** The order in which people choose from them. */
export const ATTACK_TYPES: readonly AttackType[] = ['REGISTER', 'OPTIONS', 'INVITE', 'TFTP', 'DNS', 'OTHER'];

export interface Page<Item> {
  items: Item[];
  total: number;
  as_of: number;
  now: string;
}

/** The description of the API has words, not schemas, for what only the stream says. */
export interface Release {
  address: string;
  cause: 'expired' | 'manual';
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
