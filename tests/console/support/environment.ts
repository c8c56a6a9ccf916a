/** What the caller tells about the hosts under test. */

import { execSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** An address that is blocked on every host when the tests begin; without it, the newest one of the dashboard. */
export const ATTACKER = process.env['PALISADE_ATTACKER'];
export const HOSTS = Number(process.env['PALISADE_HOSTS'] ?? 3);
/** How many of them drop packets; the others only watch. */
export const ENFORCING = Number(process.env['PALISADE_ENFORCING'] ?? HOSTS);
/** What the console says of a block that is in force everywhere. */
export const EVERYWHERE = `${ENFORCING} of ${HOSTS}`;
export const SCREENSHOTS = process.env['PALISADE_SCREENSHOTS'];

/** Where the session of the first sign-in is kept for all tests. */
export const SESSION_FILE = new URL('../test-results/session.json', import.meta.url).pathname;

/** A password that was not used yet: taken from a JSON list, which gets shorter, or printed by a command as its last line. */
export function oneTimePassword(): string {
  const source = process.env['PALISADE_ONE_TIME_PASSWORDS'];
  if (source === undefined) throw new Error('PALISADE_ONE_TIME_PASSWORDS must name a JSON file or be a command');
  if (!existsSync(source)) {
    const last = execSync(source, { encoding: 'utf8' }).trimEnd().split('\n').at(-1);
    if (last === undefined || last === '') throw new Error(`no password came from: ${source}`);
    return last.trim();
  }
  const [next, ...rest] = JSON.parse(readFileSync(source, 'utf8')) as string[];
  if (next === undefined) throw new Error(`no passwords are left in ${source}`);
  writeFileSync(source, JSON.stringify(rest));
  return next;
}
