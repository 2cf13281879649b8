// Captions pictures with Transformers.js in headless Chromium, one JSON line each, as caption.mjs does under Node. The model comes
// from a server on 127.0.0.1 and no other host can be reached, so this also shows that a page needs nothing but the directory.
//
//   node browser.mjs --model DIR [--dtype fp32|q8|int8] [--version 3|4] [--chromium /usr/bin/chromium] IMAGE…
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    dtype: { type: 'string' },
    version: { type: 'string', default: '4' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});
if (!values.model || positionals.length === 0) {
  console.error('usage: node browser.mjs --model DIR [--dtype fp32|q8|int8] [--version 3|4] [--chromium PATH] IMAGE…');
  process.exit(2);
}

const modules = fileURLToPath(new URL('node_modules/', import.meta.url));
const library = {
  3: { script: join(modules, 'tjs3/dist'), wasm: join(modules, 'tjs3/dist') },
  4: { script: join(modules, '@huggingface/transformers/dist'), wasm: join(modules, 'onnxruntime-web/dist') },
}[values.version];
const folders = { script: library.script, wasm: library.wasm, models: resolve(values.model, '..') };
const types = { '.html': 'text/html', '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm', '.png': 'image/png' };

// serve answers /, /pictures/N, and files of the folders.
async function serve(request, response) {
  const [, folder, ...rest] = decodeURIComponent(new URL(request.url, 'http://127.0.0.1').pathname).split('/');
  if (folder === '') {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>captions</title>');
    return;
  }
  const file = folder === 'pictures' ? positionals[rest[0]] : folders[folder] && join(folders[folder], normalize('/' + rest.join('/')));
  const info = file && (await stat(file).catch(() => undefined));
  if (!info?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream', 'content-length': info.size });
  createReadStream(file).pipe(response);
}

// captionAll runs in the page.
async function captionAll({ model, dtype, count }) {
  const { env, pipeline } = await import('/script/transformers.min.js');
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.useBrowserCache = false;
  env.localModelPath = '/models/';
  env.backends.onnx.wasm.wasmPaths = '/wasm/';
  const captioner = await pipeline('image-to-text', model, { device: 'wasm', ...(dtype ? { dtype } : {}) });
  let ids;
  const generate = captioner.model.generate.bind(captioner.model);
  captioner.model.generate = async (options) => {
    const output = await generate(options);
    ids = Array.from(output.data, Number).slice(1);
    return output;
  };
  const captions = [];
  for (let i = 0; i < count; i++) {
    const [{ generated_text }] = await captioner(`/pictures/${i}`);
    captions.push({ caption: generated_text, token_ids: ids });
  }
  return captions;
}

const server = createServer((request, response) => {
  serve(request, response).catch((error) => response.destroy(error));
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({
  executablePath: values.chromium,
  args: ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
});
try {
  const page = await browser.newPage();
  const blocked = [];
  await page.route('**/*', (route) => {
    const url = new URL(route.request().url());
    if (url.hostname === '127.0.0.1' || url.protocol === 'blob:') return route.continue();
    blocked.push(url.href);
    return route.abort();
  });
  page.on('console', (message) => console.error(`page: ${message.text()}`));
  page.on('pageerror', (error) => console.error(`page: ${error}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const model = resolve(values.model).split('/').pop();
  const captions = await page.evaluate(captionAll, { model, dtype: values.dtype, count: positionals.length });
  if (blocked.length > 0) throw new Error(`the page asked for ${blocked.join(', ')}`);
  captions.forEach((caption, i) => console.log(JSON.stringify({ image: positionals[i], ...caption })));
} finally {
  await browser.close();
  server.close();
}
