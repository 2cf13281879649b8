// Captions pictures with Transformers.js in a page of the server in browser.go: the job comes from /job, each line goes to /line, and
// /end ends it.
import { captionAll } from './captioning.mjs';

const send = (path, value) => fetch(path, { method: 'POST', body: JSON.stringify(value) });
document.addEventListener('securitypolicyviolation', (event) => send('/line', { error: `the page asked for ${event.blockedURI}` }));
try {
  const { version, device, models, work } = await (await fetch('/job')).json();
  if (device === 'webgpu' && !(await navigator.gpu?.requestAdapter())) throw new Error('there is no WebGPU adapter') // browser.go knows it;
  const library = await import('/library/transformers.min.js');
  library.env.allowRemoteModels = false;
  library.env.allowLocalModels = true;
  library.env.useBrowserCache = false;
  library.env.localModelPath = '/model/';
  library.env.backends.onnx.wasm.wasmPaths = '/wasm/';
  for (const model of models) {
    await captionAll(library, { version, model, device, work }, (line) => send('/line', { model, ...line }));
  }
} catch (error) {
  await send('/line', { error: String(error?.message ?? error) });
}
await send('/end', null);
