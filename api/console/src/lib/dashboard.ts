/** The dashboard's state as a fold: what was fetched, then each event of the live stream. Pure. */

import type { Attack, Block, LiveEvent, Summary } from './dto';
import { blockKey } from './list';

/** Rows of the two lists on the dashboard. */
export const LATEST = 8;

/**
 * The summary after one event. Attacks are counted at once; what the lists of addresses add up to is counted by the
 * host alone (a block may renew another), so that {@link wantsRefresh} asks for it again.
 */
export function reduceSummary(summary: Summary, event: LiveEvent): Summary {
  switch (event.kind) {
    case 'attack':
      return withAttack(summary, event.data);
    case 'block':
    case 'denied':
      return withBlock(summary, event.data);
    case 'release':
      return {
        ...summary,
        latest_blocks: summary.latest_blocks.filter((block) => block.address !== event.data.address),
      };
    case 'hello':
    case 'allowed':
    case 'settings':
    case 'hosts':
    case 'resync':
      return summary;
  }
}

/** Whether the host must be asked for the summary again. */
export function wantsRefresh(event: LiveEvent): boolean {
  switch (event.kind) {
    case 'block':
    case 'release':
    case 'denied':
    case 'allowed':
    case 'settings':
    case 'hello':
    case 'resync':
      return true;
    case 'attack':
    case 'hosts':
      return false;
  }
}

function withAttack(summary: Summary, attack: Attack): Summary {
  // Replayed by the stream after a reconnection, and already within what was fetched.
  if (attack.log_index <= summary.as_of) return summary;
  if (summary.latest_attacks.some((known) => known.id === attack.id)) return summary;
  const minutes = [...summary.attacks_per_minute];
  minutes.push((minutes.pop() ?? 0) + 1);
  return {
    ...summary,
    attacks: {
      last_hour: summary.attacks.last_hour + 1,
      last_24_hours: summary.attacks.last_24_hours + 1,
      total: summary.attacks.total + 1,
    },
    attacks_per_minute: minutes,
    by_type: { ...summary.by_type, [attack.type]: summary.by_type[attack.type] + 1 },
    latest_attacks: [attack, ...summary.latest_attacks].slice(0, LATEST),
  };
}

function withBlock(summary: Summary, block: Block): Summary {
  if (block.log_index <= summary.as_of) return summary;
  const others = summary.latest_blocks.filter((known) => blockKey(known) !== blockKey(block));
  return { ...summary, latest_blocks: [block, ...others].slice(0, LATEST) };
}
