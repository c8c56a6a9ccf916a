/**
 * The list of active blocks as a fold: one page as it was fetched, then live events, then the passing of time. Pure.
 *
 * ```text
 *            block (renewed)                     LINGER_MS
 *   active <────────────────── gone (lifted | unblocked) ────> dropped
 *      │  release, or until <= now   ^
 *      └─────────────────────────────┘
 * ```
 *
 * Rows never move or appear by themselves: addresses that are new are only counted, until the reader asks for them.
 */

import { instant } from './countdown';
import type { Block, LiveEvent, Page } from './dto';
import type { BlocksView } from './view';

/** How long a row that is over stays, so that the eye can follow it. */
export const LINGER_MS = 3000;

export interface Gone {
  how: 'lifted' | 'unblocked';
  at: number;
}

export interface Row {
  block: Block;
  gone: Gone | null;
}

export interface BlockList {
  rows: Row[];
  total: number;
  asOf: number;
  /** What was blocked since, and matches the filter: keys of {@link blockKey}. */
  fresh: string[];
}

/** What is dropped: one address may have several ports blocked, each a row of its own. */
export function blockKey(block: Block): string {
  return block.port === null ? block.address : `${block.address} ${block.port}`;
}

export function fromPage(page: Page<Block>): BlockList {
  return { rows: page.items.map((block) => ({ block, gone: null })), total: page.total, asOf: page.as_of, fresh: [] };
}

/** Whether nothing is shown although there is something to show. */
export function hidesAll(list: BlockList): boolean {
  return list.rows.length === 0 && list.fresh.length > 0;
}

/** The list after one event. */
export function reduceList(list: BlockList, event: LiveEvent, view: BlocksView, now: number): BlockList {
  switch (event.kind) {
    case 'block':
    case 'denied':
      return withBlock(list, event.data, view);
    case 'release':
      return withRelease(list, event.data.address, event.data.cause === 'expired' ? 'lifted' : 'unblocked', now);
    case 'hello':
    case 'attack':
    case 'allowed':
    case 'settings':
    case 'hosts':
    case 'resync':
      return list;
  }
}

/** The list at `now`: rows whose time is over are marked, rows that were marked long enough leave. */
export function passTime(list: BlockList, now: number): BlockList {
  const due = list.rows.some((row) => isOver(row, now) || hasLingered(row, now));
  if (!due) return list;
  const kept = list.rows.filter((row) => !hasLingered(row, now));
  return {
    ...list,
    total: list.total - (list.rows.length - kept.length),
    rows: kept.map((row) => (isOver(row, now) ? { ...row, gone: { how: 'lifted', at: now } } : row)),
  };
}

/**
 * The list after a gap in the stream, from a page that holds everything that matches: what is shown gets its newest
 * facts or is marked as gone, what is new is counted, nothing moves.
 */
export function catchUp(list: BlockList, all: Page<Block>, view: BlocksView, now: number): BlockList {
  const current = new Map(all.items.map((block) => [blockKey(block), block]));
  const rows = list.rows.map((row): Row => {
    const block = current.get(blockKey(row.block));
    if (block !== undefined) return { block, gone: null };
    return row.gone === null ? { ...row, gone: { how: 'lifted', at: now } } : row;
  });
  const before: BlockList = { ...list, rows, fresh: list.fresh.filter((key) => current.has(key)) };
  return all.items.reduce((soFar, block) => withBlock(soFar, block, view), before);
}

/** Whether the filter would show this block; the host's own answer decides once the list is fetched again. */
export function matches(block: Block, view: BlocksView): boolean {
  if (view.type !== '' && block.type !== view.type) return false;
  if (view.q === '' || view.q.includes('/')) return true;
  const wanted = view.q.toLowerCase();
  return [block.address, block.user_agent, block.rule, block.by, block.note, block.victim].some((text) =>
    text?.toLowerCase().includes(wanted),
  );
}

function withBlock(list: BlockList, block: Block, view: BlocksView): BlockList {
  const key = blockKey(block);
  if (list.rows.some((row) => blockKey(row.block) === key)) {
    return {
      ...list,
      rows: list.rows.map((row) =>
        blockKey(row.block) === key && block.log_index >= row.block.log_index ? { block, gone: null } : row,
      ),
    };
  }
  const known = block.log_index <= list.asOf || list.fresh.includes(key);
  if (known || !matches(block, view)) return list;
  return { ...list, fresh: [...list.fresh, key] };
}

function withRelease(list: BlockList, address: string, how: Gone['how'], now: number): BlockList {
  return {
    ...list,
    fresh: list.fresh.filter((known) => known !== address && !known.startsWith(`${address} `)),
    rows: list.rows.map((row) =>
      row.block.address === address && row.gone === null ? { ...row, gone: { how, at: now } } : row,
    ),
  };
}

function isOver(row: Row, now: number): boolean {
  return row.gone === null && row.block.until !== null && instant(row.block.until) <= now;
}

function hasLingered(row: Row, now: number): boolean {
  return row.gone !== null && now - row.gone.at >= LINGER_MS;
}
