import { defineConfig } from '@playwright/test';

/**
 * The caller starts the hosts and the attack, and tells by the environment where they are (see README.md). Without a
 * console there is nothing to test, which is an error and not a success.
 */
const base = process.env['PALISADE_CONSOLE'];
if (base === undefined) throw new Error('PALISADE_CONSOLE must hold the address of a running console');

export default defineConfig({
  testDir: 'tests',
  workers: 1,
  retries: 0,
  forbidOnly: true,
  timeout: 120_000,
  expect: { timeout: 15_000 },
  reporter: [['./support/reporter.ts']],
  outputDir: 'test-results',
  globalSetup: './support/sign-in.ts',
  use: {
    baseURL: base,
    ignoreHTTPSErrors: true,
    viewport: { width: 1360, height: 900 },
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env['PALISADE_CHROMIUM'] ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
