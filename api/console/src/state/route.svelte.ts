/** Where the reader is. The address bar is the only store of it. */

class Route {
  path = $state(location.pathname);
  search = $state(location.search);
  /** Counts arrivals at a page, for whoever must say that a new one is shown. */
  arrivals = $state(0);

  constructor() {
    addEventListener('popstate', () => {
      const arrived = this.path !== location.pathname;
      this.#read();
      if (arrived) this.arrivals += 1;
    });
    document.addEventListener('click', (click) => this.#follow(click));
  }

  /** Opens another page, or the same one with another view, as a step that Back undoes. */
  go(to: string): void {
    const arrived = new URL(to, location.href).pathname !== this.path;
    history.pushState(null, '', to);
    this.#read();
    if (arrived) {
      scrollTo(0, 0);
      this.arrivals += 1;
    }
  }

  /** Changes the view without a step: while typing. */
  amend(search: string): void {
    history.replaceState(null, '', location.pathname + search);
    this.#read();
  }

  #read(): void {
    this.path = location.pathname;
    this.search = location.search;
  }

  #follow(click: MouseEvent): void {
    if (click.defaultPrevented || click.button !== 0 || click.metaKey || click.ctrlKey || click.shiftKey || click.altKey) return;
    const link = click.target instanceof Element ? click.target.closest('a') : null;
    if (!link || link.origin !== location.origin || link.target !== '' || link.hasAttribute('download')) return;
    if (link.hash !== '' && link.pathname === location.pathname) return;
    click.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const route = new Route();
