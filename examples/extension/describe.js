// Captions the picture that background.js names, with the published page that this file lies in: its worker, model and library.
import { open } from './captioners.js';

const $ = (id) => document.getElementById(id);

// choice is the export that config.json names for WebAssembly, else the smallest.
async function choice() {
  const about = await (await fetch('page.json')).json();
  const usual = (await (await fetch('model/config.json')).json())['transformers.js_config']?.dtype;
  const all = about.dtypes.toSorted((a, b) => a.bytes - b.bytes);
  return { device: 'wasm', runtime: about.runtime.wasm, ...(all.find((d) => d.dtype === usual) ?? all[0]) };
}

try {
  const answer = await fetch(new URLSearchParams(location.search).get('picture'));
  if (!answer.ok) throw new Error(`the picture's site answers ${answer.status}`);
  const picture = await answer.blob();
  $('shown').src = URL.createObjectURL(picture);
  const captioner = open(await choice(), (loaded, total) => {
    $('status').textContent = loaded < total ? `Loading the model: ${Math.floor((100 * loaded) / total)} %` : 'Looking';
  });
  const said = await captioner.caption(picture, (text) => ($('caption').textContent = text));
  $('caption').textContent = $('shown').alt = said.caption.trim();
  $('status').textContent = `Described in ${Math.round(said.milliseconds)} ms.`;
} catch (error) {
  $('caption').textContent = '';
  $('status').textContent = `No description: ${error.message}`;
}
