import { words } from '../words';

/** An answer of the API that is an error (RFC 9457), or no answer at all. */
export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(detail);
  }
}

export async function readProblem(response: Response): Promise<Problem> {
  const retryAfter = Number(response.headers.get('retry-after'));
  const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (name: string): string | null => (typeof body[name] === 'string' ? body[name] : null);
  const code = text('code') ?? `http_${response.status}`;
  const said = words.failure.byCode[code] ?? text('detail') ?? text('title') ?? `HTTP ${response.status}`;
  const id = text('request_id');
  // Our own fault: the id leads to the host's log.
  const detail = response.status === 500 && id !== null ? `${said} (${words.failure.requestId(id)})` : said;
  return new Problem(response.status, code, detail, retryAfter > 0 ? retryAfter : null);
}
