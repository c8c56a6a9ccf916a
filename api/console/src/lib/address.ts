/** Whether text looks like an address, so that a slip is told at once. The host's own answer decides. Pure. */

const V4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const GROUP = /^[0-9a-f]{1,4}$/i;

export function isAddress(text: string): boolean {
  return V4.test(text) || isV6(text);
}

function isV6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const groups = halves.map(groupsOf);
  const count = groups.reduce((sum, half) => sum + half, 0);
  if (groups.some(Number.isNaN)) return false;
  return halves.length === 2 ? count < 8 : count === 8;
}

/** How many 16-bit groups this half has, an IPv4 tail counting as two; not a number if one of them is none. */
function groupsOf(half: string): number {
  if (half === '') return 0;
  const parts = half.split(':');
  const last = parts.at(-1) ?? '';
  const tail = V4.test(last);
  const plain = tail ? parts.slice(0, -1) : parts;
  return plain.every((part) => GROUP.test(part)) ? plain.length + (tail ? 2 : 0) : Number.NaN;
}
