// Compares a published model in Transformers.js with what `distilvit caption -o json` said of the same pictures.
//
//   node check.mjs --model DIR --expected FILE [--versions 3,4] [--dtypes fp32,q8]
//
// FILE holds JSON lines (or one JSON array) of {"image","caption","token_ids"} from the fp32 weights; pictures are model-size PNGs,
// because Transformers.js resizes differently. fp32: all token ids equal. q8: at least 95 % of the captions equal.
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { load } from './transformers.mjs';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    expected: { type: 'string' },
    versions: { type: 'string', default: '3,4' },
    dtypes: { type: 'string', default: 'fp32,q8' },
  },
});
if (!values.model || !values.expected) {
  console.error('usage: node check.mjs --model DIR --expected FILE [--versions 3,4] [--dtypes fp32,q8]');
  process.exit(2);
}

const required = { fp32: 1, q8: 0.95 };
const expected = parse(await readFile(values.expected, 'utf8'));
if (expected.length === 0) {
  console.error(`${values.expected}: no captions`);
  process.exit(2);
}
const distinct = new Set(expected.map((e) => e.caption)).size;
console.log(`${expected.length} pictures, ${distinct} different captions`);
console.log('version  dtype  same ids  same captions  result');

let failed = false;
for (const version of values.versions.split(',')) {
  for (const dtype of values.dtypes.split(',')) {
    const caption = await load({ model: values.model, dtype, version });
    const differences = [];
    let sameIDs = 0;
    let sameCaptions = 0;
    for (const want of expected) {
      const got = await caption(want.image);
      if (equal(got.token_ids, want.token_ids)) sameIDs++;
      if (got.caption === want.caption.trim()) sameCaptions++;
      else differences.push(`  ${want.image}\n    expected ${want.caption}\n    got      ${got.caption}`);
    }
    await caption.close();
    const same = dtype === 'fp32' ? Math.min(sameIDs, sameCaptions) : sameCaptions;
    const ok = same >= (required[dtype] ?? 0.95) * expected.length;
    failed ||= !ok;
    const row = [version.padEnd(7), dtype.padEnd(5), String(sameIDs).padStart(8), String(sameCaptions).padStart(13)];
    console.log(`${row.join('  ')}  ${ok ? 'ok' : 'FAILED'}`);
    if (!ok) console.log(differences.slice(0, 10).join('\n'));
  }
}
process.exit(failed ? 1 : 0);

function parse(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith('[')) return JSON.parse(trimmed);
  return trimmed ? trimmed.split('\n').map((line) => JSON.parse(line)) : [];
}

function equal(a, b) {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}
