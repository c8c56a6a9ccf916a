/** Time that is left, by the server's clock. Pure: now is an argument. */

/** Under this a block is about to end, and its hairline turns amber. */
export const SOON_MS = 5 * 60_000;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export type Remaining =
  | { state: 'permanent' }
  | { state: 'over' }
  | { state: 'running'; ms: number; text: string; share: number; soon: boolean };

/** Milliseconds since the epoch of RFC 3339 text. */
export function instant(text: string): number {
  return Date.parse(text);
}

/** How much of a block that began at `since` and ends at `until` is left at `now`. */
export function remaining(since: string, until: string | null, now: number): Remaining {
  if (until === null) return { state: 'permanent' };
  const end = instant(until);
  const ms = end - now;
  if (ms <= 0) return { state: 'over' };
  const whole = Math.max(end - instant(since), 1);
  return { state: 'running', ms, text: duration(ms), share: Math.min(ms / whole, 1), soon: ms < SOON_MS };
}

/** The two largest units: `3 d 4 h`, `57 min 27 s`, `48 s`. Rounds up, so that it reads zero only when it is over. */
export function duration(ms: number): string {
  const seconds = Math.ceil(Math.max(ms, 0) / SECOND) * SECOND;
  if (seconds >= DAY) return pair(seconds, DAY, 'd', HOUR, 'h');
  if (seconds >= HOUR) return pair(seconds, HOUR, 'h', MINUTE, 'min');
  if (seconds >= MINUTE) return pair(seconds, MINUTE, 'min', SECOND, 's');
  return `${seconds / SECOND} s`;
}

function pair(ms: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((ms % large) / small);
  const head = `${Math.floor(ms / large)} ${largeName}`;
  return rest === 0 ? head : `${head} ${rest} ${smallName}`;
}
