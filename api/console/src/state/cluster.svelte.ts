/** The hosts as the answering one sees them. */

import * as api from '../lib/api';
import { leaderOf } from '../lib/cluster';
import type { Cluster, Host, LiveEvent, Page } from '../lib/dto';
import { Problem } from '../lib/problem';
import { words } from '../words';
import { live } from './live.svelte';

/** The stream tells of the hosts every two seconds at most; this is for when it cannot. */
const POLL_MS = 10_000;

class Hosts {
  cluster = $state.raw<Cluster | null>(null);

  /** Why nothing can be changed now; null if it can. */
  get writesRefused(): string | null {
    if (live.status === 'lost') return words.cluster.lostShort;
    if (this.cluster?.removed) return words.cluster.removedShort;
    if (this.cluster !== null && this.cluster.leader === null) return words.cluster.noLeaderShort;
    return null;
  }

  /** Follows the hosts until the returned function is called. */
  follow(): () => void {
    void this.load();
    const timer = setInterval(() => void this.load(), POLL_MS);
    const forget = live.listen((event) => this.#receive(event));
    return () => {
      clearInterval(timer);
      forget();
    };
  }

  async load(): Promise<void> {
    try {
      this.cluster = await api.cluster();
      live.heard(this.cluster.applied);
    } catch (problem) {
      // The stream's state tells the reader that the host does not answer.
      if (!(problem instanceof Problem)) throw problem;
    }
  }

  #receive(event: LiveEvent): void {
    if (event.kind === 'hosts' && this.cluster !== null) this.#take(this.cluster, event.data);
    else if (event.kind === 'hosts' || event.kind === 'hello' || event.kind === 'resync') void this.load();
  }

  /** The stream names no leader: if the hosts' parts do not fit the one that is known, the cluster is asked. */
  #take(cluster: Cluster, page: Page<Host>): void {
    this.cluster = { ...cluster, hosts: page.items, as_of: page.as_of };
    live.heard(page.as_of);
    if (leaderOf(page.items) !== cluster.leader) void this.load();
  }
}

export const hosts = new Hosts();
