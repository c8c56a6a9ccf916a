/** Short messages with at most one thing to do about them. */

export interface Toast {
  id: number;
  text: string;
  tone: 'plain' | 'bad';
  /** The address that it concerns: newer news of the same address replace it. */
  about: string;
  action: { label: string; run: () => void } | null;
  /** Milliseconds until it leaves; stands still while the pointer or the focus is on it. */
  left: number;
}

const LIFE_MS = 8000;
const TICK_MS = 250;
/** More would cover the page: the oldest leaves. */
const MOST = 4;

class Toasts {
  items = $state<Toast[]>([]);
  held = $state(false);
  #next = 1;

  constructor() {
    setInterval(() => this.#tick(), TICK_MS);
  }

  say(about: string, text: string, action: Toast['action'] = null): void {
    this.#add({ id: this.#next++, text, tone: 'plain', about, action, left: LIFE_MS });
  }

  complain(about: string, text: string): void {
    this.#add({ id: this.#next++, text, tone: 'bad', about, action: null, left: LIFE_MS });
  }

  drop(id: number): void {
    this.items = this.items.filter((toast) => toast.id !== id);
    if (this.items.length === 0) this.held = false;
  }

  #add(toast: Toast): void {
    this.items = [...this.items.filter((known) => known.about !== toast.about), toast].slice(-MOST);
  }

  #tick(): void {
    if (this.held || this.items.length === 0) return;
    for (const toast of this.items) toast.left -= TICK_MS;
    if (this.items.some((toast) => toast.left <= 0)) this.items = this.items.filter((toast) => toast.left > 0);
  }
}

export const toasts = new Toasts();
