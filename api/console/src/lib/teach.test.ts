import { expect, test } from 'vitest';
import { hostPart, scannerCommand } from './teach';

test('the address of a host is shown without its port', () => {
  expect(hostPart('192.0.2.1:7400')).toBe('192.0.2.1');
  expect(hostPart('[2001:db8::1]:7400')).toBe('2001:db8::1');
  expect(hostPart('2001:db8::1')).toBe('2001:db8::1');
  expect(hostPart(null)).toBe('HOST');
});

test('the command ends its headers with an empty line', () => {
  expect(scannerCommand('192.0.2.1:7400')).toMatch(/Content-Length: 0\\r\\n\\r\\n' > \/dev\/udp\/192\.0\.2\.1\/5060$/);
});
