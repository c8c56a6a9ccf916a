/** Unblocking: asked for, decided, done host by host. Never claims more than the hosts have reported. */

import { SvelteMap } from 'svelte/reactivity';
import * as api from '../lib/api';
import { answering, caughtUp } from '../lib/cluster';
import { duration, remaining } from '../lib/countdown';
import type { Block } from '../lib/dto';
import { Problem } from '../lib/problem';
import { words } from '../words';
import { clock } from './clock.svelte';
import { hosts } from './cluster.svelte';
import { toasts } from './toasts.svelte';

/** The log index of the release; null until the cluster has decided. */
type Release = { index: number | null };

class Releases {
  #open = new SvelteMap<string, Release>();

  /** What a row says while its address is being unblocked; null if it is not. */
  progress(address: string): string | null {
    const release = this.#open.get(address);
    if (release === undefined) return null;
    if (release.index === null) return words.blocks.unblockingFirst;
    const all = hosts.cluster?.hosts ?? [];
    return words.blocks.unblocking(caughtUp(all, release.index).length, all.length);
  }

  /** Whether every host that answers has done it. */
  isDone(address: string): boolean {
    const index = this.#open.get(address)?.index ?? null;
    const all = answering(hosts.cluster?.hosts ?? []);
    return index !== null && all.length > 0 && caughtUp(all, index).length === all.length;
  }

  forget(address: string): void {
    this.#open.delete(address);
  }

  /** Unblocks and offers to undo it. Answers with the log index of the release; null if there is none. */
  async unblock(block: Block): Promise<number | null> {
    const index = await this.release(block.address);
    if (index !== null) toasts.say(block.address, words.blocks.unblockedToast(block.address), undoOf(block));
    return index;
  }

  async release(address: string): Promise<number | null> {
    if (this.#open.has(address)) return null;
    this.#open.set(address, { index: null });
    try {
      const { log_index } = await api.unblock(address);
      this.#open.set(address, { index: log_index });
      void hosts.load();
      return log_index;
    } catch (problem) {
      this.forget(address);
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === 'not_listed') toasts.say(address, words.blocks.goneBefore(address));
      else toasts.complain(address, words.blocks.didNotWork(problem.message));
      return null;
    }
  }

  /** Blocks again for what was left of the time: a new block, honestly, not the old one. */
  async #blockAgain(block: Block, ms: number): Promise<void> {
    try {
      const seconds = Math.max(1, Math.ceil(ms / 1000));
      await api.block({ address: block.address, seconds, note: block.note ?? '' }, api.newIdempotencyKey());
      this.forget(block.address);
      toasts.say(block.address, words.blocks.undone(block.address, duration(ms)));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      toasts.complain(block.address, words.blocks.didNotWork(problem.message));
    }
  }

  undo(block: Block): void {
    const left = remaining(block.since, block.until, clock.read());
    if (left.state === 'running') void this.#blockAgain(block, left.ms);
  }
}

export const releases = new Releases();

/** Null for an address that is denied for good: it cannot be put back as it was. */
function undoOf(block: Block): { label: string; run: () => void } | null {
  const left = remaining(block.since, block.until, clock.read());
  if (left.state !== 'running') return null;
  return { label: words.blocks.undo(left.text), run: () => releases.undo(block) };
}
