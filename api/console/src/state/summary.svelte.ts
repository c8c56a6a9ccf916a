/** The dashboard's figures: fetched, ticked on by live events, fetched again when only the host can tell. */

import * as api from '../lib/api';
import { reduceSummary, wantsRefresh } from '../lib/dashboard';
import type { LiveEvent, Summary } from '../lib/dto';
import { Problem } from '../lib/problem';
import { live } from './live.svelte';

/** "In the last hour" changes without any event. */
const POLL_MS = 15_000;
/** Many blocks at once cost one more request a second, not one each. */
const REFRESH_EVERY_MS = 1000;
/** The first of them is shown this soon. */
const REFRESH_FIRST_MS = 150;

export class SummaryPage {
  summary = $state.raw<Summary | null>(null);
  problem = $state.raw<Problem | null>(null);

  #timer: ReturnType<typeof setTimeout> | undefined;
  #loadedAt = 0;
  #newestAttack = 0;

  /** Keeps the figures true until the returned function is called. */
  follow(): () => void {
    void this.load();
    const poll = setInterval(() => void this.load(), POLL_MS);
    const forget = live.listen((event) => this.#receive(event));
    return () => {
      clearInterval(poll);
      clearTimeout(this.#timer);
      forget();
    };
  }

  async load(): Promise<void> {
    if (live.paused && this.summary !== null) return;
    this.#loadedAt = performance.now();
    try {
      const summary = await api.summary();
      live.heard(summary.as_of);
      if (this.summary === null || summary.as_of >= this.summary.as_of) this.summary = summary;
      this.problem = null;
      // The answer was on its way while a newer attack was told of: it must not take that back for long.
      if (summary.as_of < this.#newestAttack) this.#refreshSoon();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
    }
  }

  #receive(event: LiveEvent): void {
    if (live.paused || this.summary === null) return;
    this.summary = reduceSummary(this.summary, event);
    if (event.kind === 'attack') this.#newestAttack = Math.max(this.#newestAttack, event.data.log_index);
    if (wantsRefresh(event)) this.#refreshSoon();
  }

  #refreshSoon(): void {
    if (this.#timer !== undefined) return;
    const since = performance.now() - this.#loadedAt;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        void this.load();
      },
      Math.max(REFRESH_FIRST_MS, REFRESH_EVERY_MS - since),
    );
  }
}
