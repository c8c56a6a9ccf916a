/** The view of a list, as the address bar holds it (the URL is the view). Pure. */

export const PER_PAGE: readonly number[] = [15, 50, 100];
export const DEFAULT_PER_PAGE = 15;
/** The API refuses longer search text. */
export const MAX_SEARCH = 200;

export interface BlocksView {
  q: string;
  type: string;
  page: number;
  per: number;
}

/** Reads a query string; what makes no sense becomes the default. */
export function readView(search: string, types: readonly string[]): BlocksView {
  const params = new URLSearchParams(search);
  const type = params.get('type') ?? '';
  const per = Number(params.get('per'));
  const page = Number(params.get('page'));
  return {
    q: (params.get('q') ?? '').slice(0, MAX_SEARCH),
    type: types.includes(type) ? type : '',
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
    per: PER_PAGE.includes(per) ? per : DEFAULT_PER_PAGE,
  };
}

/** Writes a query string, defaults left out; empty or beginning with `?`. */
export function writeView(view: BlocksView): string {
  const params = new URLSearchParams();
  if (view.q !== '') params.set('q', view.q);
  if (view.type !== '') params.set('type', view.type);
  if (view.page !== 1) params.set('page', String(view.page));
  if (view.per !== DEFAULT_PER_PAGE) params.set('per', String(view.per));
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

/** The view after a change of filter: back on the first page. */
export function withFilter(view: BlocksView, change: Partial<Omit<BlocksView, 'page'>>): BlocksView {
  return { ...view, ...change, page: 1 };
}

export function isFiltered(view: BlocksView): boolean {
  return view.q !== '' || view.type !== '';
}

export function pageCount(total: number, per: number): number {
  return Math.max(1, Math.ceil(total / per));
}
