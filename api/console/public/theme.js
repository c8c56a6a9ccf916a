// Runs before the first paint, so that a chosen theme never flashes the other one. External, because the policy allows no inline script.
(function () {
  try {
    var theme = localStorage.getItem('palisade-theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be switched off: the system's theme holds.
  }
})();
