/** What the hosts' soft state means for what is shown. Pure. */

import type { Block, Cluster, Host } from './dto';

/** Hosts whose kernel does what the log says up to `index`. */
export function enforcing(hosts: readonly Host[], index: number): Host[] {
  return hosts.filter((host) => host.firewall.mode === 'enforcing' && host.enforced !== null && host.enforced >= index);
}

/** Where a block holds: by the hosts' newest reports if there are any, else as the list said. */
export function enforcedOn(block: Block, cluster: Cluster | null): string[] {
  if (cluster === null) return block.enforced_on;
  return enforcing(cluster.hosts, block.log_index).map((host) => host.id);
}

/** Hosts that have done everything up to `index`: those that only watch have nothing to undo in a kernel. */
export function caughtUp(hosts: readonly Host[], index: number): Host[] {
  return hosts.filter((host) => {
    const reached = host.firewall.mode === 'enforcing' ? host.enforced : host.applied;
    return reached !== null && reached >= index;
  });
}

/** The leader as the hosts' parts have it; null if none of them leads. */
export function leaderOf(hosts: readonly Host[]): string | null {
  return hosts.find((host) => host.role === 'leader')?.id ?? null;
}

export function answering(hosts: readonly Host[]): Host[] {
  return hosts.filter((host) => host.status !== 'inactive');
}

/** A full-width notice about hosts that do not protect. */
export interface HostNotice {
  kind: 'watching' | 'failing' | 'silent';
  hosts: Host[];
  reason: string | null;
}

/** One notice per state and reason, so that three hosts with one cause are one sentence. */
export function hostNotices(hosts: readonly Host[]): HostNotice[] {
  const notices = new Map<string, HostNotice>();
  for (const host of hosts) {
    const kind = noticeKind(host);
    if (kind === null) continue;
    const reason = kind === 'silent' || host.firewall.reason === '' ? null : host.firewall.reason;
    const key = kind === 'failing' ? `${kind} ${host.id}` : `${kind} ${reason}`;
    const notice = notices.get(key);
    if (notice === undefined) notices.set(key, { kind, hosts: [host], reason });
    else notice.hosts.push(host);
  }
  return [...notices.values()];
}

function noticeKind(host: Host): HostNotice['kind'] | null {
  if (host.status === 'inactive') return 'silent';
  if (host.firewall.mode === 'watch-only') return 'watching';
  if (host.firewall.mode === 'failing') return 'failing';
  return null;
}
