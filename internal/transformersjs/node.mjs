// Captions pictures with Transformers.js under Node. The job (see transformersjs.go) is JSON on standard input, each caption a line of
// JSON on standard output.
import { basename, dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { captionAll } from './captioning.mjs';

const { library: path, version, models, work } = JSON.parse(await text(process.stdin));
const library = await import(pathToFileURL(path));
library.env.allowRemoteModels = false;
library.env.useFSCache = false;
for (const model of models) {
  library.env.localModelPath = dirname(model) + '/';
  await captionAll(library, { version, model: basename(model), work }, (line) => console.log(JSON.stringify({ model, ...line })));
}
