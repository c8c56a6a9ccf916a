import { expect, test } from 'vitest';
import { SHOWN_CHARACTERS, sentence, visible } from './text';

test('plain and accented text stays as it is', () => {
  expect(visible('friendly-scanner')).toBe('friendly-scanner');
  expect(visible('Телефон 电话 <script>')).toBe('Телефон 电话 <script>');
});

test('characters that hide or reorder text are written out', () => {
  expect(visible('a\u202eb')).toBe('a\\u202eb');
  expect(visible('\u0000\u001b[31m\r\n')).toBe('\\u0000\\u001b[31m\\u000d\\u000a');
  expect(visible('\u200b\ufeff\u2028')).toBe('\\u200b\\ufeff\\u2028');
  expect(visible('\u{e0041}')).toBe('\\u{e0041}');
  expect(visible('\ud800')).toBe('\\ud800');
});

test('long text is cut between characters, not inside one', () => {
  expect(visible('😀'.repeat(SHOWN_CHARACTERS + 1))).toBe(`${'😀'.repeat(SHOWN_CHARACTERS)}…`);
  expect(visible('x'.repeat(SHOWN_CHARACTERS))).toHaveLength(SHOWN_CHARACTERS);
});

test('a reason becomes a sentence, once', () => {
  expect(sentence('lacks CAP_NET_ADMIN (run as root)')).toBe('lacks CAP_NET_ADMIN (run as root).');
  expect(sentence('it gave no reason.')).toBe('it gave no reason.');
});
