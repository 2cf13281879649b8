// Captions pictures with Transformers.js under Node, one JSON line each: {"image","caption","token_ids"}, as `distilvit caption`.
//
//   node caption.mjs --model DIR [--dtype fp32|q8|int8] [--version 3|4] IMAGE…
//
// The caption is what the pipeline returns; the ids are those of its generate(), without the start token.
import { basename, dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { model: { type: 'string' }, dtype: { type: 'string' }, version: { type: 'string', default: '4' } },
});
const library = { 3: 'tjs3', 4: '@huggingface/transformers' }[values.version];
if (!values.model || !library || positionals.length === 0) {
  console.error('usage: node caption.mjs --model DIR [--dtype fp32|q8|int8] [--version 3|4] IMAGE…');
  process.exit(2);
}

const { env, pipeline } = await import(library);
const directory = resolve(values.model);
env.allowRemoteModels = false;
env.useFSCache = false;
env.localModelPath = dirname(directory) + '/';
const captioner = await pipeline('image-to-text', basename(directory), values.dtype ? { dtype: values.dtype } : {});

let ids;
const generate = captioner.model.generate.bind(captioner.model);
captioner.model.generate = async (options) => {
  const output = await generate(options);
  ids = Array.from(output.data, Number).slice(1);
  return output;
};
for (const image of positionals) {
  const [{ generated_text }] = await captioner(image);
  console.log(JSON.stringify({ image, caption: generated_text, token_ids: ids }));
}
await captioner.dispose();
