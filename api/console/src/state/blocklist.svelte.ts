/** The page of active blocks: fetches what the address bar says, then keeps it true without moving it. */

import * as api from '../lib/api';
import type { Block, LiveEvent } from '../lib/dto';
import { ATTACK_TYPES } from '../lib/dto';
import { catchUp, fromPage, hidesAll, passTime, reduceList, type BlockList } from '../lib/list';
import { Problem } from '../lib/problem';
import { readView, withFilter, writeView, type BlocksView } from '../lib/view';
import { clock } from './clock.svelte';
import { live } from './live.svelte';
import { releases } from './releases.svelte';
import { route } from './route.svelte';

/** While a list is empty there is nothing to keep still: new addresses are shown at once, this soon after the first. */
const SHOW_AT_ONCE_MS = 200;
/** The API gives no more at once. */
const MOST_PER_REQUEST = 200;
/** A failed fetch is tried again by itself after this. */
const RETRY_MS = 3000;

export class BlocklistPage {
  list = $state.raw<BlockList | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** A fetch is under way for another view than the one that is shown. */
  turning = $state(false);

  view: BlocksView = $derived(readView(route.search, ATTACK_TYPES));

  #shown: BlocksView | null = null;
  #request: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Keeps the page true until the returned function is called. */
  follow(): () => void {
    const forget = live.listen((event) => this.#receive(event));
    return () => {
      forget();
      clearTimeout(this.#timer);
      this.#request?.abort();
    };
  }

  /** Fetches the view. Another page of the same view stays pinned to the moment of the first. */
  async load(view: BlocksView): Promise<void> {
    const pinned = this.#shown !== null && view.page !== 1 && sameButPage(this.#shown, view);
    await this.#fetch(view, pinned ? this.list?.asOf : undefined);
  }

  /** Shows what is new. */
  async show(): Promise<void> {
    if (this.view.page === 1) await this.#fetch(this.view);
    else {
      this.#shown = null;
      route.go(location.pathname + writeView({ ...this.view, page: 1 }));
    }
  }

  filter(change: Partial<Omit<BlocksView, 'page'>>): void {
    route.amend(writeView(withFilter(this.view, change)));
  }

  turnTo(page: number): void {
    route.go(location.pathname + writeView({ ...this.view, page }));
  }

  pass(now: number): void {
    if (this.list === null || live.paused) return;
    const before = this.list;
    this.list = passTime(before, now);
    if (this.list === before) return;
    const left = new Set(this.list.rows.map((row) => row.block.address));
    for (const row of before.rows) if (!left.has(row.block.address)) releases.forget(row.block.address);
    if (this.list.rows.length === 0 && this.list.total > 0) void this.show();
  }

  async unblock(block: Block): Promise<void> {
    const index = await releases.unblock(block);
    if (index !== null) this.#apply({ kind: 'release', data: { address: block.address, cause: 'manual', log_index: index } });
  }

  /** Takes back a block by hand, whether or not its row is shown. */
  async unblockAddress(address: string): Promise<void> {
    const row = this.list?.rows.find((known) => known.block.address === address);
    if (row !== undefined) await this.unblock(row.block);
    else await releases.release(address);
  }

  #receive(event: LiveEvent): void {
    const isGap = event.kind === 'resync' || (event.kind === 'hello' && event.data.as_of > (this.list?.asOf ?? 0));
    if (isGap) void this.catchUp();
    if (event.kind === 'block' || event.kind === 'denied') releases.forget(event.data.address);
    if (!live.paused) this.#apply(event);
  }

  #apply(event: LiveEvent): void {
    if (this.list === null) return;
    this.list = reduceList(this.list, event, this.view, clock.read());
    if (hidesAll(this.list)) this.#later(SHOW_AT_ONCE_MS, () => this.#showIfHidden());
  }

  /** What was fetched meanwhile is shown, and may be leaving: fetched again, such a row would vanish at once. */
  #showIfHidden(): void {
    if (this.list !== null && hidesAll(this.list)) void this.show();
  }

  /** Learns what happened in a gap: the stream was lost, or the reader had paused it. */
  async catchUp(): Promise<void> {
    if (this.list === null || live.paused) return;
    try {
      const view = this.view;
      const all = await api.blocks({ q: view.q, type: view.type, page: 1, per: MOST_PER_REQUEST });
      if (this.view !== view || this.list === null) return;
      if (all.items.length === all.total) this.list = catchUp(this.list, all, view, clock.read());
      else await this.#fetch(view);
    } catch (problem) {
      // The next greeting of the stream tries again.
      if (!(problem instanceof Problem)) throw problem;
    }
  }

  async #fetch(view: BlocksView, asOf?: number): Promise<void> {
    this.#request?.abort();
    clearTimeout(this.#timer);
    const request = new AbortController();
    this.#request = request;
    this.turning = true;
    try {
      const page = await api.blocks({ ...view, as_of: asOf }, request.signal);
      live.heard(page.as_of);
      // What was new before is still new on another page of the same moment.
      this.list = { ...fromPage(page), fresh: asOf === undefined ? [] : (this.list?.fresh ?? []) };
      this.#shown = view;
      this.problem = null;
      this.turning = false;
    } catch (problem) {
      if (request.signal.aborted) return;
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
      this.turning = false;
      this.#later(RETRY_MS, () => void this.#fetch(view));
    }
  }

  #later(ms: number, run: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(run, ms);
  }
}

function sameButPage(a: BlocksView, b: BlocksView): boolean {
  return a.q === b.q && a.type === b.type && a.per === b.per;
}
