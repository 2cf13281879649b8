// Measures one caption in headless Chromium, first and further tokens, with a published model as it is and as optimum exports it
// (uncached.mjs), one after the other in the same page, and prints a line of JSON for each:
// {device, threads, dtype, cached, first, further: milliseconds of each caption, ids}.
//
//   node time.mjs --model DIR [--dtypes q8,q4] [--devices wasm1,wasm4,webgpu] [--tokens 10] [--captions 3]
//     [--chromium /usr/bin/chromium]
//
// A device is Chromium's WebAssembly with so many threads, or WebGPU, which SwiftShader computes on the processor.
import { copyFile, mkdtemp, readFile, rm, symlink, mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { uncached } from './uncached.mjs';

const { values } = parseArgs({
  options: {
    model: { type: 'string' }, dtypes: { type: 'string', default: 'q8' }, devices: { type: 'string', default: 'wasm1' },
    tokens: { type: 'string', default: '10' }, captions: { type: 'string', default: '3' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});
if (!values.model) {
  console.error('usage: node time.mjs --model DIR [--dtypes q8,q4] [--devices wasm1,wasm4,webgpu] [--tokens N] [--captions N]');
  process.exit(2);
}
const suffixes = { fp32: '', fp16: '_fp16', q8: '_quantized', int8: '_int8', q4: '_q4', q4f16: '_q4f16' };
const dtypes = values.dtypes.split(',');
const modules = new URL('node_modules/', import.meta.url).pathname;
const folders = { library: join(modules, '@huggingface/transformers/dist'), wasm: join(modules, 'onnxruntime-web/dist') };
const scratch = await mkdtemp(join(tmpdir(), 'distilvit-time-'));
for (const form of ['cached', 'uncached']) {
  const to = join(scratch, form, 'onnx');
  await mkdir(to, { recursive: true });
  for (const name of await readdir(values.model)) {
    if (name.endsWith('.json')) await copyFile(join(values.model, name), join(scratch, form, name));
  }
  for (const dtype of dtypes) {
    const [encoder, decoder] = ['encoder_model', 'decoder_model_merged'].map((n) => `${n}${suffixes[dtype]}.onnx`);
    await symlink(join(values.model, 'onnx', encoder), join(to, encoder));
    if (form === 'cached') await symlink(join(values.model, 'onnx', decoder), join(to, decoder));
    else await uncached(join(values.model, 'onnx', decoder), join(to, decoder));
  }
}

const types = { '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm', '.json': 'application/json' };
const server = createServer(async (request, answer) => {
  const [, top, ...rest] = new URL(request.url, 'http://x').pathname.split('/');
  const path = rest.includes('..') ? '' : join({ ...folders, model: scratch }[top] ?? '/none', ...rest);
  const headers = {
    'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp', // allow threads
    'content-type': types[extname(path)] ?? 'application/octet-stream',
  };
  if (!top) return answer.writeHead(200, { ...headers, 'content-type': 'text/html' }).end('<!doctype html><title>time</title>');
  try {
    const bytes = await readFile(path);
    answer.writeHead(200, { ...headers, 'content-length': bytes.length }).end(bytes);
  } catch {
    answer.writeHead(404, headers).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

// measure runs in the page. Both forms are loaded, each captions once unmeasured, and then they take turns.
async function measure({ device, threads, dtype, tokens, captions }) {
  const { env, pipeline, RawImage } = await import('/library/transformers.min.js');
  env.allowRemoteModels = env.useBrowserCache = env.useWasmCache = false;
  env.allowLocalModels = true;
  env.localModelPath = '/model/';
  env.backends.onnx.wasm.wasmPaths = '/wasm/';
  if (threads) env.backends.onnx.wasm.numThreads = threads;
  if (threads > 1 && !crossOriginIsolated) throw new Error('the page may not use threads');
  const { size } = await (await fetch('/model/cached/preprocessor_config.json')).json();
  const pixels = new Uint8ClampedArray(size.width * size.height * 3).map((_, i) => (i * 7919) % 251);
  const image = new RawImage(pixels, size.width, size.height, 3);
  const forms = [];
  for (const cached of [true, false]) {
    const captioner = await pipeline('image-to-text', cached ? 'cached' : 'uncached', { device, dtype });
    forms.push({ cached, captioner, first: [], further: [], ids: [] });
  }
  for (let turn = 0; turn <= captions; turn++) {
    for (const form of forms) {
      const at = [];
      const streamer = {
        put: (ids) => {
          at.push(performance.now());
          if (at.length > 1 && turn === 0) form.ids.push(Number(ids[0][0]));
        },
        end: () => {},
      };
      const begun = performance.now();
      await form.captioner(image, { streamer, max_new_tokens: tokens, min_new_tokens: tokens });
      if (turn === 0) continue;
      form.first.push(at[1] - begun); // at[0] is the start token's
      form.further.push(...at.slice(2).map((t, i) => t - at[i + 1]));
    }
  }
  for (const form of forms) await form.captioner.dispose();
  return forms.map(({ cached, first, further, ids }) => ({ cached, first, further, ids }));
}

const browser = await chromium.launch({
  executablePath: values.chromium,
  args: [
    '--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--enable-unsafe-webgpu',
    '--enable-features=Vulkan', '--use-webgpu-adapter=swiftshader',
  ],
});
try {
  for (const device of values.devices.split(',')) {
    for (const dtype of dtypes) {
      const page = await browser.newPage();
      page.on('pageerror', (error) => console.error(`page: ${error}`));
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      const [, name, threads] = /^([a-z]+)(\d*)$/.exec(device);
      const what = { device: name, threads: Number(threads), dtype };
      try {
        const forms = await page.evaluate(measure, { ...what, tokens: Number(values.tokens), captions: Number(values.captions) });
        for (const form of forms) console.log(JSON.stringify({ ...what, ...form }));
      } catch (error) {
        console.log(JSON.stringify({ ...what, error: error.message.split('\n')[0] }));
      }
      await page.close();
    }
  }
} finally {
  await browser.close();
  server.close();
  await rm(scratch, { recursive: true });
}
