import { expect, test } from 'vitest';
import { catchUp, fromPage, hidesAll, LINGER_MS, matches, passTime, reduceList, type BlockList } from './list';
import { NOW, sampleBlock } from './samples';
import type { BlocksView } from './view';

const ALL: BlocksView = { q: '', type: '', page: 1, per: 15 };

function list(...addresses: string[]): BlockList {
  const items = addresses.map((address) => sampleBlock({ address }));
  return fromPage({ items, total: items.length, as_of: 20, now: '2026-01-02T03:00:00Z' });
}

function shown(of: BlockList): string[] {
  return of.rows.map((row) => (row.gone === null ? row.block.address : `${row.block.address} ${row.gone.how}`));
}

test('a new address is counted, not inserted', () => {
  const event = { kind: 'block', data: sampleBlock({ address: '198.51.100.7', log_index: 21 }) } as const;
  const after = reduceList(list('203.0.113.9'), event, ALL, NOW);
  expect(shown(after)).toEqual(['203.0.113.9']);
  expect(after.fresh).toEqual(['198.51.100.7']);
  expect(reduceList(after, event, ALL, NOW).fresh).toEqual(['198.51.100.7']);
});

test('only an empty list with something new hides all that there is', () => {
  const event = { kind: 'block', data: sampleBlock({ address: '198.51.100.7', log_index: 21 }) } as const;
  expect(hidesAll(list())).toBe(false);
  expect(hidesAll(reduceList(list(), event, ALL, NOW))).toBe(true);
  expect(hidesAll(reduceList(list('203.0.113.9'), event, ALL, NOW))).toBe(false);
});

test('a new address that the filter hides is not counted', () => {
  const event = { kind: 'block', data: sampleBlock({ address: '198.51.100.7', log_index: 21 }) } as const;
  expect(reduceList(list('203.0.113.9'), event, { ...ALL, q: '203.0' }, NOW).fresh).toEqual([]);
  expect(reduceList(list('203.0.113.9'), event, { ...ALL, type: 'OPTIONS' }, NOW).fresh).toEqual([]);
});

test('what the stream repeats from before the list is not new', () => {
  const event = { kind: 'block', data: sampleBlock({ address: '198.51.100.7', log_index: 20 }) } as const;
  expect(reduceList(list('203.0.113.9'), event, ALL, NOW).fresh).toEqual([]);
});

test('a block of a shown address changes its row in place, and brings it back', () => {
  const before = reduceList(
    list('203.0.113.8', '203.0.113.9'),
    { kind: 'release', data: { address: '203.0.113.9', cause: 'expired', log_index: 21 } },
    ALL,
    NOW,
  );
  expect(shown(before)).toEqual(['203.0.113.8', '203.0.113.9 lifted']);
  const after = reduceList(before, { kind: 'block', data: sampleBlock({ log_index: 22, strikes: 2 }) }, ALL, NOW);
  expect(shown(after)).toEqual(['203.0.113.8', '203.0.113.9']);
  expect(after.rows[1]?.block.strikes).toBe(2);
});

test('ports of one address are rows of their own, and a release takes all of them', () => {
  const items = [5071, 5072].map((port) => sampleBlock({ port, scope: 'address-port', block_id: `${port}` }));
  const both = fromPage({ items, total: 2, as_of: 20, now: '2026-01-02T03:00:00Z' });
  const renewed = sampleBlock({ port: 5072, scope: 'address-port', block_id: 'new', log_index: 21 });
  const after = reduceList(both, { kind: 'block', data: renewed }, ALL, NOW);
  expect(after.rows.map((row) => row.block.block_id)).toEqual(['5071', 'new']);
  const third = sampleBlock({ port: 5073, scope: 'address-port', log_index: 22 });
  const counted = reduceList(after, { kind: 'block', data: third }, ALL, NOW);
  expect(counted.fresh).toEqual(['203.0.113.9 5073']);
  const data = { address: '203.0.113.9', cause: 'manual', by: null, log_index: 23 } as const;
  const released = reduceList(counted, { kind: 'release', data }, ALL, NOW);
  expect(released.fresh).toEqual([]);
  expect(shown(released)).toEqual(['203.0.113.9 unblocked', '203.0.113.9 unblocked']);
});

test('a released row stays for the eye and then leaves', () => {
  const event = { kind: 'release', data: { address: '203.0.113.9', cause: 'manual', log_index: 21 } } as const;
  const released = reduceList(list('203.0.113.8', '203.0.113.9'), event, ALL, NOW);
  expect(shown(released)).toEqual(['203.0.113.8', '203.0.113.9 unblocked']);
  expect(shown(passTime(released, NOW + LINGER_MS - 1))).toHaveLength(2);
  const after = passTime(released, NOW + LINGER_MS);
  expect(shown(after)).toEqual(['203.0.113.8']);
  expect(after.total).toBe(1);
});

test('a release takes back what was new', () => {
  const fresh = { ...list('203.0.113.8'), fresh: ['198.51.100.7'] };
  const event = { kind: 'release', data: { address: '198.51.100.7', cause: 'manual', log_index: 22 } } as const;
  expect(reduceList(fresh, event, ALL, NOW).fresh).toEqual([]);
});

test('at zero a row says that it is lifted, without waiting for the stream', () => {
  const end = Date.parse('2026-01-02T03:30:00Z');
  const before = list('203.0.113.9');
  expect(passTime(before, end - 1)).toBe(before);
  expect(shown(passTime(before, end))).toEqual(['203.0.113.9 lifted']);
});

test('a permanent entry never runs out', () => {
  const before = fromPage({ items: [sampleBlock({ until: null })], total: 1, as_of: 20, now: '' });
  expect(passTime(before, Number.MAX_SAFE_INTEGER)).toBe(before);
});

test('after a gap rows have their newest facts, what ended leaves, what is new is counted', () => {
  const before = { ...list('203.0.113.8', '203.0.113.9'), fresh: ['198.51.100.1'] };
  const items = [
    sampleBlock({ address: '198.51.100.7', log_index: 26 }),
    sampleBlock({ address: '203.0.113.9', log_index: 25, count: 99 }),
  ];
  const after = catchUp(before, { items, total: 2, as_of: 26, now: '' }, ALL, NOW);
  expect(shown(after)).toEqual(['203.0.113.8 lifted', '203.0.113.9']);
  expect(after.rows[1]?.block.count).toBe(99);
  expect(after.fresh).toEqual(['198.51.100.7']);
});

test('a search for a network is left to the host', () => {
  expect(matches(sampleBlock(), { ...ALL, q: '198.51.100.0/24' })).toBe(true);
  expect(matches(sampleBlock(), { ...ALL, q: 'FRIENDLY' })).toBe(true);
  expect(matches(sampleBlock(), { ...ALL, q: 'sipsak' })).toBe(false);
});
