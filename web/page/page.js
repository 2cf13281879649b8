// The page: takes a picture, has it captioned by a captioner of captioners.js, and shows what comes.
import { open } from './captioners.js';
import { camera, given } from './pictures.js';

const $ = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

const about = await (await fetch('page.json')).json(); // name, dtypes, runtime, server: see page.go
const devices = await findDevices();
let captioner; // of the choice in #device and #dtype, once it is needed
let picture; // {blob, name, width, height}
let turn = 0; // a newer picture or choice makes what is under way useless

start();

// findDevices are the choices of where captions are computed, best first.
async function findDevices() {
  const list = [];
  if (about.server) list.push({ id: 'server', text: 'on this server' });
  if (!about.dtypes) return list;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter) list.push({ id: 'webgpu', text: 'in this browser, on WebGPU', half: adapter.features.has('shader-f16') });
  list.push({ id: 'wasm', text: 'in this browser, in WebAssembly', why: adapter ? '' : ' This browser has no WebGPU here.' });
  return list;
}

async function start() {
  $('about').textContent = `${about.name}: a description for people who do not see it.`;
  $('device').append(...devices.map((d) => new Option(d.text, d.id)));
  $('device').onchange = async () => {
    await offerNumbers();
    change();
  };
  $('dtype').onchange = change;
  $('alt').oninput = showHTML;
  $('more').onclick = drawOthers;
  for (const button of document.querySelectorAll('[data-copy]')) button.onclick = () => copy(button.dataset.copy);
  await offerNumbers();
  tellWhere();
  given($, take, (problem) => say(problem));
  camera($, take);
  document.body.dataset.ready = 'true';
}

// offerNumbers lists the exports for the chosen device, and chooses the one that config.json names for it, else the smallest.
async function offerNumbers() {
  const device = devices.find((d) => d.id === $('device').value);
  $('numbers').hidden = device.id === 'server';
  if (device.id === 'server') return;
  const config = await (await fetch('model/config.json')).json();
  const defaults = config['transformers.js_config'] ?? {};
  const usual = defaults.device_config?.[device.id]?.dtype ?? defaults.dtype;
  const needsHalf = ({ dtype }) => device.id === 'webgpu' && !device.half && ['fp16', 'q4f16'].includes(dtype);
  const usable = about.dtypes.filter((d) => !needsHalf(d)).sort((a, b) => a.bytes - b.bytes);
  const chosen = (usable.find((d) => d.dtype === usual) ?? usable[0])?.dtype;
  const options = about.dtypes.map((d) => {
    const option = new Option(`${d.dtype}, ${megabytes(d.bytes)}`, d.dtype, d.dtype === chosen, d.dtype === chosen);
    option.disabled = needsHalf(d);
    if (option.disabled) option.text += ' (this GPU has no 16-bit numbers)';
    return option;
  });
  $('dtype').replaceChildren(...options);
}

function choice() {
  const device = $('device').value;
  const dtype = about.dtypes?.find((d) => d.dtype === $('dtype').value);
  return device === 'server' ? { device, url: about.server } : { device, ...dtype, runtime: about.runtime[device] };
}

function tellWhere() {
  const { device, bytes, runtime } = choice();
  const why = devices.find((d) => d.id === device).why ?? '';
  $('where').textContent =
    device === 'server'
      ? 'Pictures are sent to the server that this page comes from, and to nobody else.'
      : `Pictures stay in this browser. With the first one the model is loaded: ${megabytes(bytes)}, and ${megabytes(runtime)} of program.${why}`;
}

// change follows another choice of device or numbers.
function change() {
  captioner?.close();
  captioner = undefined;
  tellWhere();
  if (picture) describe();
}

// take shows a picture and captions it.
async function take(blob, name) {
  let size;
  try {
    size = await createImageBitmap(blob);
  } catch {
    say('This is no picture that the browser can read.');
    return;
  }
  if (picture) URL.revokeObjectURL($('shown').src);
  picture = { blob, name, width: size.width, height: size.height };
  size.close();
  $('shown').src = URL.createObjectURL(blob);
  $('shown').alt = '';
  $('frame').hidden = false;
  await describe();
}

async function describe() {
  const mine = ++turn;
  const current = () => mine === turn;
  $('uses').hidden = $('others').hidden = true;
  $('caption').textContent = '…';
  try {
    captioner ??= open(choice(), showLoading);
    const said = await captioner.caption(picture.blob, (text) => {
      if (current()) $('caption').textContent = text;
    });
    if (!current()) return;
    const { milliseconds, loaded } = said;
    const caption = said.caption.trim();
    $('caption').textContent = caption;
    $('shown').alt = $('alt').value = caption;
    showHTML();
    $('more').hidden = !captioner.others;
    $('uses').hidden = false;
    say(`It took ${seconds(milliseconds)}${loaded ? `; the model was loaded in ${seconds(loaded)}` : ''}.`, `Caption: ${caption}. `);
  } catch (error) {
    if (!current()) return;
    captioner?.close();
    captioner = undefined;
    if ($('device').value === 'webgpu') {
      $('device').value = 'wasm';
      await offerNumbers();
      tellWhere();
      say(`WebGPU failed (${error.message}); trying WebAssembly.`);
      return describe();
    }
    $('caption').textContent = 'No caption.';
    say(error.message);
  }
}

// drawOthers lists captions that chance gives; one that is chosen becomes the text.
async function drawOthers() {
  if (drawOthers.busy) return;
  drawOthers.busy = true;
  const mine = turn;
  say('Drawing other captions …');
  try {
    const drawn = await captioner.others(picture.blob);
    if (mine !== turn) return;
    const others = new Set(drawn.map((text) => text.trim()).filter((text) => text && text !== $('caption').textContent));
    const items = [...others].map((text) => {
      const item = document.createElement('li');
      const button = item.appendChild(document.createElement('button'));
      Object.assign(button, { type: 'button', textContent: text });
      button.onclick = () => {
        $('alt').value = text;
        showHTML();
        say('The text is this caption now.');
      };
      return item;
    });
    $('others').querySelector('ul').replaceChildren(...items);
    $('others').hidden = items.length === 0;
    const number = items.length === 1 ? '1 other caption' : `${items.length} other captions`;
    say(items.length ? `${number}, drawn by chance.` : 'Chance gave no other caption: the model is sure of this one.');
  } catch (error) {
    if (mine === turn) say(`No other captions: ${error.message}`);
  } finally {
    drawOthers.busy = false;
  }
}

// showLoading shows how much of the model has come.
function showLoading(loaded, total) {
  $('progress').hidden = loaded >= total;
  $('progress').value = loaded / total;
  const tenth = Math.floor((10 * loaded) / total);
  if (showLoading.said === tenth) return; // a screen reader says every change
  showLoading.said = tenth;
  say(loaded < total ? `Loading the model: ${10 * tenth} % of ${megabytes(total)}` : 'Starting the model');
}

function showHTML() {
  const image = document.implementation.createHTMLDocument().createElement('img'); // elsewhere, so that nothing is loaded
  const attributes = { src: picture.name, alt: $('alt').value, width: picture.width, height: picture.height };
  for (const [name, value] of Object.entries(attributes)) image.setAttribute(name, value);
  $('html').value = image.outerHTML;
}

async function copy(id) {
  try {
    await navigator.clipboard.writeText($(id).value);
  } catch {
    $(id).select(); // where pages may not write: the keys do it
    say('Press Ctrl+C to copy what is selected.');
    return;
  }
  say(id === 'alt' ? 'The text is copied.' : 'The HTML is copied.');
}

// say shows what happens; a screen reader says it, after what it alone has to say.
function say(text, unseen = '') {
  $('status').textContent = text;
  if (!unseen) return;
  const span = document.createElement('span');
  span.className = 'unseen';
  span.textContent = unseen;
  $('status').prepend(span);
}
