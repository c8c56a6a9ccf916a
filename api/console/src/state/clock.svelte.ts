/** The server's clock, as well as the browser can know it. Countdowns follow it: the reader's own clock may be wrong. */

import { instant } from '../lib/countdown';

const TICK_MS = 1000;
/** A slower answer than the best one only replaces it after this long: clocks drift. */
const BEST_SAMPLE_AGE_MS = 60_000;

class ServerClock {
  /** Milliseconds since the epoch by the server's clock, once a second. */
  now = $state(Date.now());
  #offset = 0;
  #bestRoundTrip = Number.POSITIVE_INFINITY;
  #sampledAt = 0;

  constructor() {
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** An answer that was made at `serverNow`, halfway between the two moments by the browser's clock. */
  sample(serverNow: string, sentAt: number, receivedAt: number): void {
    const roundTrip = receivedAt - sentAt;
    if (roundTrip > this.#bestRoundTrip && receivedAt - this.#sampledAt < BEST_SAMPLE_AGE_MS) return;
    this.#bestRoundTrip = roundTrip;
    this.#sampledAt = receivedAt;
    this.#offset = instant(serverNow) - (sentAt + roundTrip / 2);
    this.#tick();
  }

  read(): number {
    return Date.now() + this.#offset;
  }

  #tick(): void {
    this.now = this.read();
  }
}

export const clock = new ServerClock();
