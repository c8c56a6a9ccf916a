/** Facts for the unit tests, as the API would tell them. */

import type { Attack, Block, Host, Summary } from './dto';

export const NOW = Date.parse('2026-01-02T03:00:00Z');

export function sampleBlock(change: Partial<Block> = {}): Block {
  return {
    address: '203.0.113.9',
    block_id: '00',
    since: '2026-01-02T02:30:00.000000Z',
    until: '2026-01-02T03:30:00.000000Z',
    sanction: 'block',
    scope: 'address',
    port: null,
    type: 'REGISTER',
    rule: 'bad-registrations',
    evidence: 'proven',
    user_agent: 'friendly-scanner',
    known_user_agent: true,
    count: 12,
    victim: '192.0.2.1',
    strikes: 1,
    threshold: 3,
    by: null,
    note: null,
    log_index: 20,
    enforced_on: ['1'],
    ...change,
  };
}

export function sampleAttack(change: Partial<Attack> = {}): Attack {
  return {
    id: '20.0',
    at: '2026-01-02T02:59:59.000000Z',
    accepted_at: '2026-01-02T02:59:59.100000Z',
    source: '203.0.113.9',
    source_port: 5060,
    victim: '192.0.2.1',
    victim_port: 5060,
    type: 'REGISTER',
    rule: 'bad-registrations',
    evidence: 'proven',
    sanction: 'block',
    user_agent: 'friendly-scanner',
    known_user_agent: true,
    count: 12,
    scope: 'address',
    account: '',
    line: '',
    host: { id: '1', name: 'zagreb' },
    log_index: 20,
    ...change,
  };
}

export function sampleHost(change: Partial<Host> = {}): Host {
  return {
    id: '1',
    name: 'zagreb',
    address: '192.0.2.1:7400',
    role: 'follower',
    status: 'active',
    last_heard_ms: 10,
    applied: 20,
    commit: 20,
    lag: 0,
    enforced: 20,
    firewall: { mode: 'enforcing', reason: '' },
    sensor: null,
    version: '0.1.0',
    kernel: '6.1.0',
    clock_offset_ms: 0,
    authority: null,
    this: false,
    ...change,
  };
}

export function sampleSummary(change: Partial<Summary> = {}): Summary {
  return {
    as_of: 19,
    now: '2026-01-02T03:00:00.000000Z',
    mode: 'block',
    attacks: { last_hour: 1, last_24_hours: 2, total: 3 },
    blocked_now: { dynamic: 1, soft: 0, denied: 0, provisional: 0 },
    attacks_per_minute: Array<number>(60).fill(0),
    by_type: { REGISTER: 3, OPTIONS: 0, INVITE: 0, TFTP: 0, DNS: 0, OTHER: 0 },
    latest_blocks: [],
    latest_attacks: [],
    ...change,
  };
}
