import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

/** Older browsers would make Lightning CSS rewrite `light-dark()` into twice as much CSS. */
const BROWSERS = ['chrome123', 'firefox121', 'safari17.5'];

/** Where `npm run dev` finds a running host. */
const HOST = process.env['PALISADE_DEV_HOST'] ?? 'https://127.0.0.1:8443';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: BROWSERS,
    cssTarget: BROWSERS,
    // The content-security policy allows scripts, styles and images of this origin only: no data: URLs, no inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': { target: HOST, secure: false } } },
  test: { include: ['src/**/*.test.ts'] },
});
