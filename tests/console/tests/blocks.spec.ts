import { ATTACKER, EVERYWHERE } from '../support/environment.ts';
import { blockByHand, expect, picture, rowOf, test } from '../support/test.ts';

/** The cluster decides in milliseconds and the hosts' reports come every two seconds; the rest is for a busy machine. */
const SOON = { timeout: 15_000 };

for (const colorScheme of ['light', 'dark'] as const) {
  test(`the list says who is blocked, why, where and for how long, ${colorScheme}`, async ({ watch }) => {
    const page = await watch.open(ATTACKER === undefined ? '/blocks' : `/blocks?q=${encodeURIComponent(ATTACKER)}`, { colorScheme });
    const row = ATTACKER === undefined ? page.getByRole('row').nth(1) : rowOf(page, ATTACKER);
    await expect(row).toContainText(/REGISTER|OPTIONS|INVITE/);
    await expect(row).toContainText(EVERYWHERE, SOON);
    await expect(row).toContainText(/\d (s|min|h|d)|permanent/);
    await picture(page, `blocks-${colorScheme}`);
  });
}

test('a search is in the address bar and survives a reload', async ({ watch }) => {
  const page = await watch.open('/blocks');
  await blockByHand(page, '198.51.100.21');
  await page.getByRole('searchbox').fill('198.51.100.21');
  await expect(page).toHaveURL(/q=198\.51\.100\.21/);
  await expect(page.getByText('1 address found')).toBeVisible();
  await page.reload();
  await expect(page.getByRole('searchbox')).toHaveValue('198.51.100.21');
  await expect(page.getByText('1 address found')).toBeVisible();
  await page.getByRole('combobox', { name: 'Type' }).selectOption('DNS');
  await expect(page.getByText('Nothing matches.')).toBeVisible();
  await page.getByRole('link', { name: 'Clear filters' }).click();
  await expect(page).toHaveURL(/\/blocks$/);
  await expect(rowOf(page, '198.51.100.21')).toBeVisible();
});

test('an address blocked by hand counts down and reaches every host', async ({ watch }) => {
  const page = await watch.open('/blocks?q=198.51.100.22');
  await blockByHand(page, '198.51.100.22', '10 minutes');
  const row = rowOf(page, '198.51.100.22');
  await expect(row).toContainText('by hand');
  await expect(row).toContainText('a test of the console');
  await expect(row).toContainText(EVERYWHERE, SOON);
  await expect(row).toContainText(/9 min 5[0-8] s/);
  await picture(page, 'blocked-by-hand');
});

test('an unblocked row leaves, and undo blocks it again for what was left', async ({ watch }) => {
  const page = await watch.open('/blocks?q=198.51.100.23');
  await blockByHand(page, '198.51.100.23');
  const row = rowOf(page, '198.51.100.23');
  await row.getByRole('button', { name: 'Unblock 198.51.100.23' }).click();
  await expect(row).toContainText(/unblock/);
  const undo = page.getByRole('button', { name: /^Undo: block again for/ });
  await expect(undo).toContainText(/59 min|1 h/);
  await picture(page, 'unblock-undo');
  await expect(row).toBeHidden(SOON);
  await undo.click();
  await expect(page.getByText(/198\.51\.100\.23 is blocked again, for 59 min/)).toBeVisible();
  await expect(row).toContainText(/59 min/, SOON);
});

test('somebody else sees a block and its end without reloading', async ({ watch }) => {
  const reader = await watch.open('/blocks?q=198.51.100.2');
  const actor = await watch.open('/blocks');
  await expect(reader.getByText(/address(es)? found/)).toBeVisible();
  const kept = await reader.getByRole('row').allInnerTexts();
  await blockByHand(actor, '198.51.100.24');
  const row = rowOf(reader, '198.51.100.24');
  if (kept.length > 0) {
    const news = reader.getByRole('button', { name: /^1 new since you opened this/ });
    await expect(news).toBeVisible(SOON);
    await expect(row).toBeHidden();
    await picture(reader, 'new-since-you-opened-this');
    await news.click();
  }
  await expect(row).toBeVisible(SOON);
  await actor.getByRole('searchbox').fill('198.51.100.24');
  await rowOf(actor, '198.51.100.24').getByRole('button', { name: /^Unblock/ }).click();
  await expect(row).toBeHidden({ timeout: 15_000 });
});

test('slips in the form are told at once, and the reader is not locked out', async ({ watch }) => {
  watch.expectError(/status of 409/);
  const page = await watch.open('/blocks');
  await page.getByRole('button', { name: 'Block an address' }).click();
  const dialog = page.getByRole('dialog', { name: 'Block an address' });
  await dialog.getByLabel('Address').fill('203.0.113');
  await dialog.getByRole('button', { name: 'Block', exact: true }).click();
  await expect(dialog.getByRole('alert')).toContainText('no IPv4 or IPv6 address');
  await expect(dialog.getByLabel('Address')).toBeFocused();
  await dialog.getByLabel('Address').fill('127.0.0.1');
  await dialog.getByRole('button', { name: 'Block', exact: true }).click();
  await expect(dialog.getByRole('alert')).toContainText('127.0.0.1 is the address from which you are connected');
  await picture(page, 'lock-out');
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await expect(dialog).toBeHidden();
  await page.getByRole('searchbox').fill('127.0.0.1');
  await expect(page.getByText('Nothing matches.')).toBeVisible();
});

test('a paused page does not change until it is resumed', async ({ watch }) => {
  const page = await watch.open('/blocks?q=198.51.100.2');
  const actor = await watch.open('/blocks');
  await expect(page.getByText(/address(es)? found/)).toBeVisible();
  await page.getByRole('button', { name: 'Pause live updates' }).click();
  await blockByHand(actor, '198.51.100.25');
  await actor.getByRole('searchbox').fill('198.51.100.25');
  await expect(rowOf(actor, '198.51.100.25')).toContainText(EVERYWHERE, SOON);
  await expect(page.getByText(/new since you opened this/)).toBeHidden();
  await page.getByRole('button', { name: 'Resume live updates' }).first().click();
  await expect(page.getByText(/new since you opened this/).or(rowOf(page, '198.51.100.25'))).toBeVisible(SOON);
});

test('two tabs of one browser share one stream, and it passes on when its tab closes', async ({ watch }) => {
  const first = await watch.open('/blocks?q=198.51.100.27');
  await expect(first.getByText('Live', { exact: true })).toBeVisible();
  const streams: string[] = [];
  first.context().on('request', (request) => {
    if (request.url().endsWith('/api/v1/events')) streams.push(request.url());
  });
  const second = await first.context().newPage();
  await second.goto('/blocks?q=198.51.100.27');
  await expect(second.getByText('Live', { exact: true })).toBeVisible();
  expect(streams).toEqual([]);
  await blockByHand(first, '198.51.100.27');
  await expect(rowOf(second, '198.51.100.27')).toBeVisible(SOON);
  await first.close();
  await expect.poll(() => streams.length).toBe(1);
  await rowOf(second, '198.51.100.27').getByRole('button', { name: /^Unblock/ }).click();
  await expect(rowOf(second, '198.51.100.27')).toBeHidden({ timeout: 15_000 });
});

test('without the stream the page says how old it is and changes nothing, until the stream is back', async ({ watch }) => {
  watch.expectError(/Failed to load resource|ERR_FAILED/);
  const page = await watch.open('/blocks');
  await page.route('**/api/v1/events', (route) => route.abort());
  await page.reload();
  await expect(page.getByText(/^Last updated .* reconnecting\.$/)).toBeVisible();
  const add = page.getByRole('button', { name: 'Block an address' });
  await expect(add).toHaveAttribute('aria-disabled', 'true');
  await expect(add).toHaveAttribute('title', 'This host does not answer');
  await add.dispatchEvent('click');
  await expect(page.getByRole('dialog')).toBeHidden();
  await picture(page, 'reconnecting');
  await page.unroute('**/api/v1/events');
  await expect(page.getByText('Live', { exact: true })).toBeVisible({ timeout: 20_000 });
  await expect(add).toHaveAttribute('aria-disabled', 'false');
});
