import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { request, type FullConfig } from '@playwright/test';
import { oneTimePassword, SESSION_FILE } from './environment.ts';

/** Signs in once for all tests that are not about signing in: a one-time password is good for one session. */
export default async function signIn(config: FullConfig): Promise<void> {
  const { baseURL } = config.projects[0]?.use ?? {};
  const context = await request.newContext({ baseURL, ignoreHTTPSErrors: true });
  const answer = await context.post('/api/v1/session', { data: { password: oneTimePassword() } });
  if (!answer.ok()) throw new Error(`sign-in for the tests: ${answer.status()} ${await answer.text()}`);
  mkdirSync(dirname(SESSION_FILE), { recursive: true });
  await context.storageState({ path: SESSION_FILE });
  await context.dispose();
}
