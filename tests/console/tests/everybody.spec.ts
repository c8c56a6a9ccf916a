import { AxeBuilder } from '@axe-core/playwright';
import { expect, picture, test } from '../support/test.ts';

const SIGNED_OUT = { storageState: { cookies: [], origins: [] } };
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const PAGES = [
  { name: 'sign-in', path: '/', heading: 'Sign in', options: SIGNED_OUT },
  { name: 'dashboard', path: '/', heading: 'Dashboard', options: {} },
  { name: 'blocks', path: '/blocks', heading: 'Active blocks', options: {} },
];

for (const { name, path, heading, options } of PAGES) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`${name} has no violations that axe can find, ${colorScheme}`, async ({ watch }) => {
      watch.expectError(/status of 401/);
      const page = await watch.open(path, { ...options, colorScheme, reducedMotion: 'reduce' });
      await expect(page.getByRole('heading', { name: heading })).toBeVisible();
      if (name !== 'sign-in') await expect(page.getByRole('row').nth(1)).toBeVisible();
      const { violations } = await new AxeBuilder({ page }).withTags(WCAG).analyze();
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`)).toEqual([]);
    });
  }

  test(`${name} fits a phone`, async ({ watch }) => {
    watch.expectError(/status of 401/);
    const page = await watch.open(path, { ...options, viewport: { width: 390, height: 844 } });
    await expect(page.getByRole('heading', { name: heading })).toBeVisible();
    if (name !== 'sign-in') await expect(page.getByRole('row').nth(1)).toBeVisible();
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(tooWide).toBe(0);
    await picture(page, `${name}-phone`);
  });
}

test('on a phone the pages are in a sheet', async ({ watch }) => {
  const page = await watch.open('/', { viewport: { width: 390, height: 844 } });
  await page.getByRole('button', { name: 'Menu' }).click();
  await picture(page, 'sheet-phone');
  await page.getByRole('navigation', { name: 'Menu' }).getByRole('link', { name: 'Active blocks' }).click();
  await expect(page.getByRole('heading', { name: 'Active blocks' })).toBeFocused();
  await expect(page.getByRole('navigation', { name: 'Menu' })).toBeHidden();
});

test('an address can be blocked and unblocked with the keyboard alone', async ({ watch }) => {
  const page = await watch.open('/blocks?q=198.51.100.26');
  await expect(page.getByText(/address(es)? found/)).toBeVisible();
  await page.getByRole('button', { name: 'Block an address' }).focus();
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog', { name: 'Block an address' });
  await expect(dialog.getByLabel('Address')).toBeFocused();
  await page.keyboard.type('198.51.100.26');
  await page.keyboard.press('Enter');
  await expect(dialog).toBeHidden();
  const unblock = page.getByRole('button', { name: 'Unblock 198.51.100.26' });
  await unblock.focus();
  await page.keyboard.press('Enter');
  await expect(unblock).toBeHidden();
});
