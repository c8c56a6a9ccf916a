import { expect, test } from 'vitest';
import { isAddress } from './address';

test('addresses are recognised', () => {
  for (const text of ['203.0.113.9', '0.0.0.0', '2001:db8::1', '::', '::1', '1:2:3:4:5:6:7:8', '::ffff:192.0.2.1', 'fe80::1:2']) {
    expect(isAddress(text), text).toBe(true);
  }
});

test('what is none is not', () => {
  for (const text of ['', '203.0.113', '203.0.113.9.', '256.1.1.1', '1.2.3.4/24', 'example.com', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', 'g::1', ':1']) {
    expect(isAddress(text), text).toBe(false);
  }
});
