// Captions with Transformers.js. It is told {open: {device, dtype, bytes, runtime}} once and {caption: blob} or {others: blob} any
// number of times, and answers {loading: [bytes, total]}, {text} as a caption grows, and {caption, milliseconds, loaded}, {others:
// captions} or {error}.
import { env, pipeline, RawImage, TextStreamer } from './lib/transformers.min.js';

const here = new URL('.', import.meta.url).href;
env.allowRemoteModels = false; // everything comes from this folder
env.allowLocalModels = true;
env.useBrowserCache = env.useWasmCache = false; // HTTP's cache knows when a model is replaced
env.localModelPath = new URL(here).pathname; // a whole URL would be another site's

let opened; // promises {captioner, size, milliseconds}

onmessage = async ({ data }) => {
  if (data.open) {
    opened = open(data.open);
    opened.catch(() => {}); // the first caption says so
    return;
  }
  try {
    postMessage(data.others ? await others(data.others) : await caption(data.caption));
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};

async function open({ device, dtype, bytes, runtime }) {
  const begun = performance.now();
  const total = bytes + runtime;
  let loaded = 0;
  // counted is an answer whose bytes are reported as they come.
  const counted = (answer) =>
    new Response(
      answer.body.pipeThrough(
        new TransformStream({
          transform(part, out) {
            loaded += part.length;
            postMessage({ loading: [Math.min(loaded, total - 1), total] }); // the end is when it has started
            out.enqueue(part);
          },
        }),
      ),
      answer,
    );
  // The library's own progress would load every file twice.
  env.fetch = async (url, options) => {
    const answer = await fetch(url, options);
    return String(url).endsWith('.onnx') && answer.ok ? counted(answer) : answer;
  };
  // The runtime for WebGPU computes in WebAssembly, too, but is twice as large.
  const name = `${here}lib/ort-wasm-simd-threaded${device === 'webgpu' ? '.asyncify' : ''}`;
  const answer = await fetch(`${name}.wasm`);
  if (!answer.ok) throw new Error(`${name}.wasm answers ${answer.status}`);
  const { wasm } = env.backends.onnx;
  wasm.wasmPaths = { mjs: `${name}.mjs`, wasm: `${name}.wasm` };
  wasm.wasmBinary = await counted(answer).arrayBuffer();
  const processor = await (await fetch(`${here}model/preprocessor_config.json`)).json();
  const captioner = await pipeline('image-to-text', 'model', { device, dtype });
  postMessage({ loading: [total, total] });
  return { captioner, size: processor.size, milliseconds: performance.now() - begun };
}

async function caption(blob) {
  const first = opened.used ? undefined : (await opened).milliseconds;
  const { captioner, size } = await opened;
  opened.used = true;
  const begun = performance.now();
  const image = await shrink(blob, size);
  let text = '';
  const streamer = new TextStreamer(captioner.tokenizer, {
    skip_prompt: true,
    callback_function: (more) => postMessage({ text: (text += more) }),
  });
  const [{ generated_text }] = await captioner(image, { streamer });
  return { caption: generated_text, milliseconds: performance.now() - begun, loaded: first };
}

// others draws captions by chance, each token by how likely it is: Transformers.js 4 has no beams, and no seed.
async function others(blob) {
  const { captioner, size } = await opened;
  const image = await shrink(blob, size);
  const said = [];
  for (let i = 0; i < 6; i++) {
    const [{ generated_text }] = await captioner(image, { do_sample: true, temperature: 0.8, top_k: 20 });
    said.push(generated_text);
  }
  return { others: said };
}

// shrink gives a picture the model's size, smoothly, as training did: Transformers.js would leave pixels out. White is
// behind what is transparent.
async function shrink(blob, size) {
  const whole = await createImageBitmap(blob);
  let { width, height } = size;
  if (size.shortest_edge) {
    const scale = size.shortest_edge / Math.min(whole.width, whole.height);
    [width, height] = [Math.round(whole.width * scale), Math.round(whole.height * scale)];
  }
  const small = await createImageBitmap(whole, { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
  const canvas = new OffscreenCanvas(width, height).getContext('2d');
  canvas.fillStyle = 'white';
  canvas.fillRect(0, 0, width, height);
  canvas.drawImage(small, 0, 0);
  whole.close();
  small.close();
  return new RawImage(canvas.getImageData(0, 0, width, height).data, width, height, 4).rgb();
}
