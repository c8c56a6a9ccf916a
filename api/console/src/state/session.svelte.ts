/** Whether somebody is signed in, and who. */

import * as api from '../lib/api';
import type { Session } from '../lib/dto';
import { Problem } from '../lib/problem';

type State =
  | { is: 'unknown'; problem: string | null }
  | { is: 'out'; ended: boolean }
  | { is: 'in'; session: Session };

const RETRY_MS = 2000;

class Sessions {
  state = $state.raw<State>({ is: 'unknown', problem: null });

  get csrfToken(): string {
    return this.state.is === 'in' ? (this.state.session.csrf_token ?? '') : '';
  }

  /** Asks the host who we are; goes on asking while it does not answer. */
  async load(): Promise<void> {
    try {
      this.state = { is: 'in', session: await api.currentSession() };
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 401) this.ended();
      else {
        if (this.state.is === 'unknown') this.state = { is: 'unknown', problem: problem.message };
        setTimeout(() => void this.load(), problem.retryAfterSeconds === null ? RETRY_MS : problem.retryAfterSeconds * 1000);
      }
    }
  }

  async signIn(password: string): Promise<void> {
    this.state = { is: 'in', session: await api.signIn(password) };
  }

  async signOut(): Promise<void> {
    await api.signOut();
    this.state = { is: 'out', ended: false };
  }

  /** The host does not know the session any more. */
  ended(): void {
    this.state = { is: 'out', ended: this.state.is === 'in' };
  }
}

export const sessions = new Sessions();
