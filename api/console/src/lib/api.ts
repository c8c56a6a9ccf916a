/** The client of the public HTTP API: the console has no other way to the host. */

import type { Block, Blocked, Cluster, Page, PostBlock, Session, Summary, Written } from './dto';
import { Problem, readProblem } from './problem';
import { words } from '../words';

const PREFIX = '/api/v1';
export const EVENTS_URL = `${PREFIX}/events`;

/** Told of every server time, with the moments at which the request left and the answer came. */
type ClockListener = (serverNow: string, sentAt: number, receivedAt: number) => void;

interface Hooks {
  csrfToken: () => string;
  onServerTime: ClockListener;
  onSignedOut: () => void;
}

let hooks: Hooks = { csrfToken: () => '', onServerTime: () => {}, onSignedOut: () => {} };

/** Connects the client with session and clock, once at start. */
export function connect(to: Hooks): void {
  hooks = to;
}

interface Send {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

async function send<Answer>(method: string, path: string, { body, headers = {}, signal }: Send = {}): Promise<Answer> {
  const sentAt = Date.now();
  const response = await fetch(PREFIX + path, {
    method,
    credentials: 'same-origin',
    cache: 'no-store',
    headers: {
      accept: 'application/json',
      ...(method === 'GET' ? {} : { 'x-csrf-token': hooks.csrfToken() }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((cause: unknown) => {
    if (signal?.aborted) throw cause;
    throw new Problem(0, 'unreachable', words.failure.unreachable);
  });
  if (!response.ok) {
    const problem = await readProblem(response);
    if (problem.code === 'unauthenticated') hooks.onSignedOut();
    throw problem;
  }
  if (response.status === 204) return undefined as Answer;
  const answer = (await response.json()) as Answer;
  const now = (answer as { now?: unknown }).now;
  if (typeof now === 'string') hooks.onServerTime(now, sentAt, Date.now());
  return answer;
}

function query(params: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) if (value !== undefined && value !== '') search.set(name, String(value));
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}

/** Sixteen random bytes as text. `crypto.randomUUID` would need a secure context. */
export function newIdempotencyKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export const signIn = (password: string) => send<Session>('POST', '/session', { body: { password } });
export const currentSession = () => send<Session>('GET', '/session');
export const signOut = () => send<void>('DELETE', '/session');

export const summary = (signal?: AbortSignal) => send<Summary>('GET', '/summary', signal ? { signal } : {});
export const cluster = () => send<Cluster>('GET', '/cluster');

export interface BlocksQuery {
  q?: string;
  type?: string;
  page?: number;
  per?: number;
  as_of?: number | undefined;
}

export const blocks = (params: BlocksQuery, signal?: AbortSignal) =>
  send<Page<Block>>('GET', `/blocks${query({ ...params })}`, signal ? { signal } : {});

export const block = (wish: PostBlock, key: string) =>
  send<Blocked>('POST', '/blocks', { body: wish, headers: { 'idempotency-key': key } });

export const unblock = (address: string) => send<Written>('DELETE', `/blocks/${encodeURIComponent(address)}`);
