import { expect, test } from 'vitest';
import { isFiltered, pageCount, readView, withFilter, writeView } from './view';

const TYPES = ['REGISTER', 'OPTIONS'];

test('a view survives the address bar', () => {
  const view = { q: '203.0.113.9 & "x"', type: 'OPTIONS', page: 3, per: 50 };
  expect(readView(writeView(view), TYPES)).toEqual(view);
});

test('defaults leave no trace in the address bar', () => {
  expect(writeView({ q: '', type: '', page: 1, per: 15 })).toBe('');
});

test('nonsense in the address bar becomes the default', () => {
  expect(readView('?type=NOPE&page=-1&per=7', TYPES)).toEqual({ q: '', type: '', page: 1, per: 15 });
  expect(readView('?page=1.5&per=x', TYPES)).toEqual({ q: '', type: '', page: 1, per: 15 });
});

test('a new filter begins on the first page', () => {
  expect(withFilter({ q: '', type: '', page: 7, per: 15 }, { q: 'a' })).toEqual({ q: 'a', type: '', page: 1, per: 15 });
});

test('page and per-page are no filter', () => {
  expect(isFiltered({ q: '', type: '', page: 2, per: 50 })).toBe(false);
  expect(isFiltered({ q: '', type: 'OPTIONS', page: 1, per: 15 })).toBe(true);
});

test('an empty list has one page', () => {
  expect(pageCount(0, 15)).toBe(1);
  expect(pageCount(15, 15)).toBe(1);
  expect(pageCount(16, 15)).toBe(2);
});
