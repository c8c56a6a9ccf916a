import { ATTACKER, ENFORCING, EVERYWHERE, HOSTS } from '../support/environment.ts';
import { expect, picture, test } from '../support/test.ts';

for (const colorScheme of ['light', 'dark'] as const) {
  test(`the dashboard shows an attacker blocked on every host, ${colorScheme}`, async ({ watch }) => {
    const page = await watch.open('/', { colorScheme });
    const blocks = page.getByRole('table', { name: 'Latest blocks' });
    const row = ATTACKER === undefined ? blocks.getByRole('row').last() : blocks.getByRole('row').filter({ hasText: ATTACKER });
    await expect(row).toContainText(EVERYWHERE);
    await expect(row).toContainText(/REGISTER|OPTIONS|INVITE/);
    await expect(page.getByRole('list', { name: 'Hosts' }).getByRole('listitem')).toHaveCount(HOSTS);
    await expect(page.getByRole('list', { name: 'Hosts' })).toContainText('Leader');
    await expect(page.getByRole('img', { name: /Attacks per minute in the last hour: [1-9]/ })).toBeVisible();
    await expect(page.getByRole('table', { name: 'Latest attacks' }).getByRole('row')).not.toHaveCount(1);
    await picture(page, `dashboard-${colorScheme}`);
  });
}

test('hosts that only watch are named, with the reason', async ({ watch }) => {
  const page = await watch.open('/');
  await expect(page.getByRole('list', { name: 'Hosts' }).getByText('blocking')).toHaveCount(ENFORCING);
  await expect(page.getByText(/only watch(es)?:$/)).toHaveCount(ENFORCING < HOSTS ? 1 : 0);
});

test('the number of blocked addresses leads to their list, and the new heading has the focus', async ({ watch }) => {
  const page = await watch.open('/');
  await page.getByRole('link', { name: /^All / }).click();
  await expect(page).toHaveURL(/\/blocks$/);
  await expect(page.getByRole('heading', { name: 'Active blocks' })).toBeFocused();
  await expect(page).toHaveTitle('Active blocks · Palisade');
  await page.goBack();
  await expect(page.getByRole('heading', { name: 'Dashboard' })).toBeFocused();
});

test('a chosen theme is there before the first paint of the next visit', async ({ watch }) => {
  const page = await watch.open('/', { colorScheme: 'light' });
  await page.getByRole('button', { name: /^Account/ }).click();
  await page.getByRole('radio', { name: 'Dark' }).check();
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await paper();
  await page.route('**/assets/*.js', (route) => route.abort());
  watch.expectError(/Failed to load resource/);
  await page.reload({ waitUntil: 'commit' });
  await expect.poll(paper).toBe(dark);
});

test('an address that does not exist says so and leads back', async ({ watch }) => {
  const page = await watch.open('/ip/45.143.9.131');
  await expect(page.getByRole('heading', { name: 'There is no such page' })).toBeVisible();
  await page.getByRole('link', { name: 'To the dashboard' }).click();
  await expect(page.getByRole('heading', { name: 'Dashboard' })).toBeVisible();
});
