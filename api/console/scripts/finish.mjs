// After `vite build`: refuses a console that has grown over its budget, then writes the .br and .gz files that the host serves.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join, relative } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

/** Everything that a browser loads for all pages together. */
const BUDGET_BYTES_GZIP = 80 * 1024;
/** Below this a compressed body saves no packet. */
const WORTH_COMPRESSING_BYTES = 512;
const COMPRESSIBLE = new Set(['.html', '.js', '.css', '.svg', '.json', '.webmanifest']);

const dist = new URL('../dist/', import.meta.url).pathname;

function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

let total = 0;
for (const path of filesUnder(dist)) {
  const extension = extname(path);
  if (extension === '.br' || extension === '.gz') {
    rmSync(path);
    continue;
  }
  const bytes = readFileSync(path);
  const gzip = gzipSync(bytes, { level: 9 });
  total += gzip.length;
  console.log(`${String(bytes.length).padStart(8)} B ${String(gzip.length).padStart(7)} B gzip  ${relative(dist, path)}`);
  if (!COMPRESSIBLE.has(extension) || bytes.length < WORTH_COMPRESSING_BYTES) continue;
  writeFileSync(`${path}.gz`, gzip);
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
}

const summary = `${(total / 1024).toFixed(1)} KB gzip of ${BUDGET_BYTES_GZIP / 1024} KB`;
if (total > BUDGET_BYTES_GZIP) {
  console.error(`the console is over its budget: ${summary}`);
  process.exit(1);
}
console.log(`within the budget: ${summary}`);
