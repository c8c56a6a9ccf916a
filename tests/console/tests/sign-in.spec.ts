import { oneTimePassword } from '../support/environment.ts';
import { expect, picture, test } from '../support/test.ts';

const SIGNED_OUT = { storageState: { cookies: [], origins: [] } };
const REFUSED = /status of (401|429)/;

/** Slips that are free before the host makes people wait; more is an error of the test. */
const MOST_SLIPS = 8;

test('a page asked for while signed out comes after signing in', async ({ watch }) => {
  watch.expectError(REFUSED);
  const page = await watch.open('/blocks?q=nobody', SIGNED_OUT);
  await expect(page.getByText('palisade user')).toBeVisible();
  await picture(page, 'sign-in-light');
  await page.getByLabel('One-time password').fill(oneTimePassword());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'Active blocks' })).toBeVisible();
  await expect(page.getByRole('searchbox')).toHaveValue('nobody');

  await page.getByRole('button', { name: /^Account/ }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByLabel('One-time password')).toBeVisible();
  await page.reload();
  await expect(page.getByLabel('One-time password')).toBeVisible();
});

test('wrong passwords are refused, then made to wait, and a good one still opens', async ({ watch }) => {
  watch.expectError(REFUSED);
  const page = await watch.open('/', SIGNED_OUT);
  const password = page.getByLabel('One-time password');
  const waiting = page.getByRole('button', { name: /^Try again in/ });
  await password.fill('not the password');
  await password.press('Enter');
  await expect(page.getByRole('alert')).toContainText('does not open this host');
  await expect(password).toHaveValue('');
  let hasWaited = false;
  const seen = waiting.waitFor({ timeout: 30_000 }).then(() => {
    hasWaited = true;
  });
  for (let slip = 1; slip < MOST_SLIPS && !hasWaited; slip += 1) {
    await password.fill('not the password');
    await password.press('Enter');
    // Refused: the field is empty again. Refused and told to wait: the text stays for later.
    await Promise.race([expect(password).toHaveValue(''), seen]);
  }
  await seen;
  await picture(page, 'sign-in-back-off');
  await expect(page.getByRole('button', { name: 'Sign in' })).toHaveAttribute('aria-disabled', 'false', { timeout: 30_000 });
  await password.fill(oneTimePassword());
  await password.press('Enter');
  await expect(page.getByRole('heading', { name: 'Dashboard' })).toBeVisible();
});
