import { expect, test } from 'vitest';
import { caughtUp, enforcedOn, hostNotices } from './cluster';
import type { Cluster } from './dto';
import { sampleBlock, sampleHost } from './samples';

const WATCHING = { firewall: { mode: 'watch-only', reason: 'no CAP_NET_ADMIN' } } as const;

function cluster(hosts: Cluster['hosts']): Cluster {
  const state_hash = { index: 20, hash: '00' };
  const now = '2026-01-02T03:00:00.000000Z';
  return {
    cluster_id: '00',
    leader: '1',
    removed: false,
    authorities: [],
    term: 1,
    commit: 20,
    applied: 20,
    state_hash,
    diverged: [],
    as_of: 20,
    now,
    hosts,
  };
}

test('a block holds where a firewall enforces and has come far enough', () => {
  const hosts = [sampleHost(), sampleHost({ id: '2', enforced: 19 }), sampleHost({ id: '3', ...WATCHING }), sampleHost({ id: '4', enforced: null })];
  expect(enforcedOn(sampleBlock({ log_index: 20 }), cluster(hosts))).toEqual(['1']);
});

test('without word of the hosts the list itself tells', () => {
  expect(enforcedOn(sampleBlock({ enforced_on: ['2', '3'] }), null)).toEqual(['2', '3']);
});

test('a host that only watches has unblocked once it has applied the release', () => {
  const hosts = [sampleHost({ id: '2', applied: 20, enforced: 19 }), sampleHost({ id: '3', enforced: null, applied: 20, ...WATCHING })];
  expect(caughtUp(hosts, 20).map((host) => host.id)).toEqual(['3']);
});

test('hosts that watch for one reason share one notice, a silent host is silent first', () => {
  const hosts = [
    sampleHost(),
    sampleHost({ id: '2', ...WATCHING }),
    sampleHost({ id: '3', ...WATCHING }),
    sampleHost({ id: '4', status: 'inactive', ...WATCHING }),
  ];
  expect(hostNotices(hosts).map((notice) => [notice.kind, notice.hosts.map((host) => host.id), notice.reason])).toEqual([
    ['watching', ['2', '3'], 'no CAP_NET_ADMIN'],
    ['silent', ['4'], null],
  ]);
});
