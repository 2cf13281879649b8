// Captions pictures with Transformers.js under Node, one JSON line each: {"image","caption","token_ids"}, as `distilvit caption`.
//
//   node caption.mjs --model DIR [--dtype fp32|q8] [--version 3|4] IMAGE…
import { parseArgs } from 'node:util';
import { load } from './transformers.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { model: { type: 'string' }, dtype: { type: 'string' }, version: { type: 'string', default: '4' } },
});
if (!values.model || positionals.length === 0) {
  console.error('usage: node caption.mjs --model DIR [--dtype fp32|q8] [--version 3|4] IMAGE…');
  process.exit(2);
}

const caption = await load(values);
for (const image of positionals) {
  console.log(JSON.stringify({ image, ...(await caption(image)) }));
}
await caption.close();
