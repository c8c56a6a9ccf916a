/**
 * The live stream, once per browser.
 *
 * A browser allows six connections to one origin over HTTP/1.1, and an event stream holds one for ever: the seventh
 * tab would hang. So one tab holds a Web Lock and the connection, and tells the others through a BroadcastChannel.
 * When it closes, the lock passes on. Both need a secure context; without them every tab has its own connection.
 */

import { LIVE_EVENT_KINDS, type LiveEvent } from './dto';

export type StreamStatus = 'live' | 'lost';

export interface StreamListener {
  onEvent: (event: LiveEvent) => void;
  onStatus: (status: StreamStatus) => void;
  /** The host refused the stream: the session may be over. */
  onRefused: () => void;
}

type Told = { event: LiveEvent } | { status: StreamStatus } | { ask: true };

const NAME = 'palisade-events';
/** A refused stream is tried again after this, then twice as long each time. */
const RETRY_FIRST_MS = 1000;
const RETRY_LONGEST_MS = 15_000;

/** Listens until the returned function is called. */
export function openStream(url: string, listener: StreamListener): () => void {
  if (!('locks' in navigator) || !('BroadcastChannel' in globalThis)) return connectStream(url, listener);
  const channel = new BroadcastChannel(NAME);
  const stopped = new AbortController();
  let status: StreamStatus | null = null;
  let leading = false;
  channel.onmessage = ({ data }: MessageEvent<Told>) => {
    if ('ask' in data) {
      if (leading && status !== null) channel.postMessage({ status } satisfies Told);
    } else if ('event' in data) listener.onEvent(data.event);
    else listener.onStatus(data.status);
  };
  channel.postMessage({ ask: true } satisfies Told);
  const lead = (): Promise<void> =>
    new Promise((release) => {
      leading = true;
      const close = connectStream(url, {
        onEvent: (event) => {
          listener.onEvent(event);
          channel.postMessage({ event } satisfies Told);
        },
        onStatus: (next) => {
          status = next;
          listener.onStatus(next);
          channel.postMessage({ status: next } satisfies Told);
        },
        onRefused: listener.onRefused,
      });
      stopped.signal.addEventListener('abort', () => {
        close();
        release();
      });
    });
  navigator.locks.request(NAME, { signal: stopped.signal }, lead).catch(() => {
    // Stopped while another tab held the lock: nothing to close.
  });
  return () => {
    stopped.abort();
    channel.close();
  };
}

/** One connection. The browser reconnects by itself with the last id; after a refusal this does. */
function connectStream(url: string, listener: StreamListener): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wait = RETRY_FIRST_MS;
  const open = (): void => {
    const opened = new EventSource(url);
    source = opened;
    opened.onopen = () => {
      wait = RETRY_FIRST_MS;
      listener.onStatus('live');
    };
    opened.onerror = () => {
      listener.onStatus('lost');
      if (opened.readyState !== EventSource.CLOSED) return;
      listener.onRefused();
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, RETRY_LONGEST_MS);
    };
    for (const kind of LIVE_EVENT_KINDS) {
      opened.addEventListener(kind, (message: MessageEvent<string>) => {
        const event = readEvent(kind, message.data);
        if (event !== null) listener.onEvent(event);
      });
    }
  };
  open();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}

/** Null: data that is not JSON. Nothing is lost by it, the lists are asked for again from time to time. */
export function readEvent(kind: LiveEvent['kind'], text: string): LiveEvent | null {
  try {
    return { kind, data: JSON.parse(text) as never };
  } catch {
    return null;
  }
}
