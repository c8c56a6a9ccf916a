/** Light, dark, or as the system has it. `/theme.js` applies the stored choice before the first paint. */

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'palisade-theme';

class Themes {
  chosen = $state<Theme>(stored());

  choose(theme: Theme): void {
    this.chosen = theme;
    if (theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    try {
      if (theme === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Storage may be switched off: the choice then holds for this page only.
    }
  }
}

function stored(): Theme {
  const theme = document.documentElement.dataset['theme'];
  return theme === 'light' || theme === 'dark' ? theme : 'system';
}

export const themes = new Themes();
