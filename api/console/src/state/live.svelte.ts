/** The live stream's state and its listeners within this tab. */

import { EVENTS_URL } from '../lib/api';
import type { Hello, LiveEvent } from '../lib/dto';
import { openStream } from '../lib/stream';
import { clock } from './clock.svelte';
import { sessions } from './session.svelte';

type Status = 'connecting' | 'live' | 'lost';

/** A reconnection that is quicker than this is not worth a word. */
const LOST_AFTER_MS = 1500;

class Live {
  status = $state<Status>('connecting');
  /** The reader wants nothing on the page to change. */
  paused = $state(false);
  /** When this tab last heard the host, by the server's clock. */
  heardAt = $state<number | null>(null);
  /** How far the host has applied the log. */
  index = $state(0);
  /** The host runs another version than the one this page was loaded from. */
  outdated = $state(false);

  #build: string | null = null;
  #listeners = new Set<(event: LiveEvent) => void>();
  #lostTimer: ReturnType<typeof setTimeout> | undefined;
  #close: (() => void) | null = null;

  start(): void {
    this.#close ??= openStream(EVENTS_URL, {
      onEvent: (event) => this.#receive(event),
      onStatus: (status) => this.#setStatus(status),
      onRefused: () => void sessions.load(),
    });
  }

  stop(): void {
    this.#close?.();
    this.#close = null;
    clearTimeout(this.#lostTimer);
    this.status = 'connecting';
    this.paused = false;
  }

  /** Calls `listener` with every event until the returned function is called. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** An answer of the host arrived, by whatever way. */
  heard(index?: number): void {
    this.heardAt = clock.read();
    if (index !== undefined && index > this.index) this.index = index;
  }

  #receive(event: LiveEvent): void {
    const index = (event.data as { log_index?: unknown } | null)?.log_index;
    this.heard(typeof index === 'number' ? index : undefined);
    if (event.kind === 'hello') this.#greet(event.data);
    for (const listener of this.#listeners) listener(event);
  }

  #greet(hello: Hello): void {
    this.heard(hello.as_of);
    this.#build ??= hello.build;
    if (hello.build !== this.#build) this.outdated = true;
  }

  #setStatus(status: 'live' | 'lost'): void {
    clearTimeout(this.#lostTimer);
    if (status === 'live') this.status = 'live';
    else this.#lostTimer = setTimeout(() => (this.status = 'lost'), LOST_AFTER_MS);
  }
}

export const live = new Live();
