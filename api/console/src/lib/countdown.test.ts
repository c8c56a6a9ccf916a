import { expect, test } from 'vitest';
import { duration, instant, remaining } from './countdown';

const SINCE = '2026-01-02T03:00:00.000000Z';
const UNTIL = '2026-01-02T04:00:00.000000Z';

test('a running block says what is left and how much of the whole that is', () => {
  expect(remaining(SINCE, UNTIL, instant('2026-01-02T03:15:00Z'))).toEqual({
    state: 'running',
    ms: 45 * 60_000,
    text: '45 min',
    share: 0.75,
    soon: false,
  });
});

test('under five minutes it is soon', () => {
  expect(remaining(SINCE, UNTIL, instant('2026-01-02T03:55:00Z'))).toMatchObject({ soon: false });
  expect(remaining(SINCE, UNTIL, instant('2026-01-02T03:55:00.001Z'))).toMatchObject({ soon: true });
});

test('at its end it is over, and a block without end is permanent', () => {
  expect(remaining(SINCE, UNTIL, instant(UNTIL))).toEqual({ state: 'over' });
  expect(remaining(SINCE, null, instant(UNTIL))).toEqual({ state: 'permanent' });
});

test('a clock behind the beginning shows a full hairline, not more', () => {
  expect(remaining(SINCE, UNTIL, instant('2026-01-02T02:00:00Z'))).toMatchObject({ share: 1 });
});

test('durations show their two largest units', () => {
  const cases: [number, string][] = [
    [0, '0 s'],
    [1, '1 s'],
    [48_000, '48 s'],
    [59_001, '1 min'],
    [60_000, '1 min'],
    [3_447_000, '57 min 27 s'],
    [3_600_000, '1 h'],
    [3_600_000 * 3 + 60_000 * 4 + 5000, '3 h 4 min'],
    [86_400_000 * 2 + 3_600_000 * 5, '2 d 5 h'],
  ];
  for (const [ms, text] of cases) expect(duration(ms)).toBe(text);
});
