// Compares a published model in Transformers.js with what `distilvit caption -o json` said of the same pictures.
//
//   node check.mjs --model DIR --expected FILE [--versions 3,4] [--dtypes fp32,q8] [--browser]
//
// FILE holds JSON lines (or one JSON array) of {"image","caption","token_ids"} from the fp32 weights; pictures are model-size PNGs,
// because Transformers.js resizes differently. fp32: all token ids equal. q8, int8: at least 95 % of the captions equal.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    expected: { type: 'string' },
    versions: { type: 'string', default: '3,4' },
    dtypes: { type: 'string', default: 'fp32,q8' },
    browser: { type: 'boolean', default: false },
  },
});
if (!values.model || !values.expected) {
  console.error('usage: node check.mjs --model DIR --expected FILE [--versions 3,4] [--dtypes fp32,q8] [--browser]');
  process.exit(2);
}
const expected = parse(await readFile(values.expected, 'utf8'));
if (expected.length === 0) {
  console.error(`${values.expected}: no captions`);
  process.exit(2);
}
console.log(`${expected.length} pictures, ${new Set(expected.map((e) => e.caption)).size} different captions`);
console.log('version  dtype  same ids  same captions  result');

let failed = false;
for (const version of values.versions.split(',')) {
  for (const dtype of values.dtypes.split(',')) {
    const got = await caption(version, dtype);
    const sameIDs = expected.filter((want, i) => String(want.token_ids) === String(got[i].token_ids)).length;
    const different = expected.map((want, i) => ({ want, got: got[i] })).filter((p) => p.got.caption !== p.want.caption.trim());
    const sameCaptions = expected.length - different.length;
    const ok = dtype === 'fp32' ? sameIDs === expected.length && different.length === 0 : sameCaptions >= 0.95 * expected.length;
    failed ||= !ok;
    const row = [version.padEnd(7), dtype.padEnd(5), String(sameIDs).padStart(8), String(sameCaptions).padStart(13)];
    console.log(`${row.join('  ')}  ${ok ? 'ok' : 'FAILED'}`);
    if (ok) continue;
    for (const { want, got } of different.slice(0, 10)) {
      console.log(`  ${want.image}\n    expected ${want.caption}\n    got      ${got.caption}`);
    }
  }
}
process.exit(failed ? 1 : 0);

// caption runs each combination in a process of its own: two versions of ONNX Runtime do not fit into one.
async function caption(version, dtype) {
  const script = fileURLToPath(new URL(values.browser ? 'browser.mjs' : 'caption.mjs', import.meta.url));
  const images = expected.map((e) => e.image);
  const args = [script, '--model', values.model, '--dtype', dtype, '--version', version, ...images];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 28 });
  const got = parse(stdout);
  if (got.length !== expected.length) throw new Error(`${got.length} captions of ${expected.length} pictures`);
  return got;
}

function parse(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith('[')) return JSON.parse(trimmed);
  return trimmed ? trimmed.split('\n').map((line) => JSON.parse(line)) : [];
}
