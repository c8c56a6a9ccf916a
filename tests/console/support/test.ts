/** The tests' own `test`: whatever a page does wrong on the way fails the test, whatever the test is about. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test as base, expect, type Browser, type BrowserContextOptions, type Page } from '@playwright/test';
import { SCREENSHOTS, SESSION_FILE } from './environment.ts';

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]']);

export interface Watch {
  /** Opens a page in a browser context of its own, as somebody who is signed in unless told otherwise. */
  open: (path: string, options?: BrowserContextOptions) => Promise<Page>;
  /** Errors with this text are part of the test. */
  expectError: (text: RegExp) => void;
}

export const test = base.extend<{ watch: Watch }>({
  watch: async ({ browser }, use) => {
    const problems: string[] = [];
    const expected: RegExp[] = [];
    const close: (() => Promise<void>)[] = [];
    await use({
      open: async (path, options) => {
        const page = await newPage(browser, options, problems);
        close.push(() => page.context().close());
        await page.goto(path);
        return page;
      },
      expectError: (text) => expected.push(text),
    });
    for (const one of close) await one();
    expect(problems.filter((problem) => !expected.some((text) => text.test(problem)))).toEqual([]);
  },
});

export { expect };

/** Console errors hold violations of the content-security policy, too. */
async function newPage(browser: Browser, options: BrowserContextOptions | undefined, problems: string[]): Promise<Page> {
  const context = await browser.newContext({ storageState: SESSION_FILE, ...options });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`page error: ${error.message}`));
  page.on('dialog', (dialog) => {
    problems.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (protocol.startsWith('http') && !LOOPBACK.has(hostname)) problems.push(`request beyond this machine: ${request.url()}`);
  });
  return page;
}

/** Saves what is to be seen, if the caller wants to look at it. */
export async function picture(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}

/** The row of an address in the list of active blocks. */
export function rowOf(page: Page, address: string) {
  return page.getByRole('row').filter({ has: page.getByText(address, { exact: true }) });
}

/** Blocks an address by hand, through the console. */
export async function blockByHand(page: Page, address: string, duration = '1 hour'): Promise<void> {
  await page.getByRole('button', { name: 'Block an address' }).click();
  const dialog = page.getByRole('dialog', { name: 'Block an address' });
  await dialog.getByLabel('Address').fill(address);
  await dialog.getByLabel('For').selectOption({ label: duration });
  await dialog.getByLabel('Note').fill('a test of the console');
  await dialog.getByRole('button', { name: 'Block', exact: true }).click();
  await expect(dialog).toBeHidden();
}
