/** Numbers and times for people. Pure: now is an argument. */

import { words } from '../words';
import { instant } from './countdown';

/** Numbers follow the console's language, times of day the reader's own habit (12 or 24 hours). */
const number = new Intl.NumberFormat(words.locale);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const minute = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const dayAndClock = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });
const zoneName = new Intl.DateTimeFormat(words.locale, { timeZoneName: 'short' });
const relative = new Intl.RelativeTimeFormat(words.locale, { numeric: 'always', style: 'narrow' });

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function formatNumber(value: number): string {
  return number.format(value);
}

/** The reader's time zone, as short as it comes: `CET`, `GMT+5:30`. */
export function zone(at: number): string {
  return zoneName.formatToParts(at).find((part) => part.type === 'timeZoneName')?.value ?? '';
}

export function timeOfDay(at: number): string {
  return clock.format(at);
}

export function minuteOfDay(at: number): string {
  return minute.format(at);
}

/** Time of day for today, with the day before it otherwise. */
export function shortTime(text: string, now: number): string {
  const at = instant(text);
  return new Date(at).toDateString() === new Date(now).toDateString() ? clock.format(at) : dayAndClock.format(at);
}

export function fullTime(text: string): string {
  return full.format(instant(text));
}

/** `12s ago`; what the server's clock puts in the future is now. */
export function ago(text: string, now: number): string {
  const age = Math.max(now - instant(text), 0);
  if (age < SECOND) return words.time.justNow;
  if (age < MINUTE) return relative.format(-Math.floor(age / SECOND), 'second');
  if (age < HOUR) return relative.format(-Math.floor(age / MINUTE), 'minute');
  if (age < DAY) return relative.format(-Math.floor(age / HOUR), 'hour');
  return relative.format(-Math.floor(age / DAY), 'day');
}
