import { expect, test } from 'vitest';
import { LATEST, reduceSummary, wantsRefresh } from './dashboard';
import { sampleAttack, sampleBlock, sampleSummary } from './samples';

test('an attack ticks every figure that it concerns', () => {
  const after = reduceSummary(sampleSummary(), { kind: 'attack', data: sampleAttack() });
  expect(after.attacks).toEqual({ last_hour: 2, last_24_hours: 3, total: 4 });
  expect(after.attacks_per_minute.at(-1)).toBe(1);
  expect(after.attacks_per_minute).toHaveLength(60);
  expect(after.by_type.REGISTER).toBe(4);
  expect(after.latest_attacks.map((attack) => attack.id)).toEqual(['20.0']);
});

test('an attack that the stream repeats is counted once', () => {
  const event = { kind: 'attack', data: sampleAttack() } as const;
  const once = reduceSummary(sampleSummary(), event);
  expect(reduceSummary(once, event)).toEqual(once);
});

test('an attack that was in the fetched figures is not counted again', () => {
  const summary = sampleSummary({ as_of: 20 });
  expect(reduceSummary(summary, { kind: 'attack', data: sampleAttack({ log_index: 20 }) })).toBe(summary);
});

test('a renewed block stands once, at the top', () => {
  const blocks = [sampleBlock({ address: '198.51.100.1' }), sampleBlock()];
  const after = reduceSummary(sampleSummary({ latest_blocks: blocks }), {
    kind: 'block',
    data: sampleBlock({ log_index: 30, strikes: 2 }),
  });
  expect(after.latest_blocks.map((block) => [block.address, block.strikes])).toEqual([
    ['203.0.113.9', 2],
    ['198.51.100.1', 1],
  ]);
});

test('the list of latest blocks stays short', () => {
  const blocks = Array.from({ length: LATEST }, (_, n) => sampleBlock({ address: `198.51.100.${n}` }));
  const after = reduceSummary(sampleSummary({ latest_blocks: blocks }), { kind: 'block', data: sampleBlock() });
  expect(after.latest_blocks).toHaveLength(LATEST);
  expect(after.latest_blocks[0]?.address).toBe('203.0.113.9');
});

test('a release takes the address out of the latest blocks', () => {
  const after = reduceSummary(sampleSummary({ latest_blocks: [sampleBlock()] }), {
    kind: 'release',
    data: { address: '203.0.113.9', cause: 'expired', log_index: 21 },
  });
  expect(after.latest_blocks).toEqual([]);
});

test('what only the host can count is asked for again', () => {
  expect(wantsRefresh({ kind: 'block', data: sampleBlock() })).toBe(true);
  expect(wantsRefresh({ kind: 'resync', data: null })).toBe(true);
  expect(wantsRefresh({ kind: 'attack', data: sampleAttack() })).toBe(false);
});
