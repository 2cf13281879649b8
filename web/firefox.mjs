// Visits a page of page/ in headless Firefox and prints one JSON line for each picture that is given to it, as visit.mjs does:
// {"how","image","caption","alt","html","status"}, and what is wrong as {"problem"}. No host but 127.0.0.1 can be reached.
//
//   node firefox.mjs --url http://127.0.0.1:PORT [--device wasm|webgpu|server] [--dtype q8] [--firefox /usr/bin/firefox-esr] IMAGE…
//
// What people can do with a page is visit.mjs's business; here it is the browser that is another: its modules, workers, WebAssembly,
// decoders and canvas. The first picture is chosen and dropped (a paste that a script makes has no data in Firefox).
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import puppeteer from 'puppeteer-core';
import { caption as captionOf, print, watch } from './visited.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string' },
    device: { type: 'string', default: '' },
    dtype: { type: 'string', default: '' },
    firefox: { type: 'string', default: '/usr/bin/firefox-esr' },
  },
});
if (!values.url || positionals.length === 0) {
  console.error('usage: node firefox.mjs --url http://127.0.0.1:PORT [--device …] [--dtype …] [--firefox PATH] IMAGE…');
  process.exit(2);
}
const [first] = positionals;

const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath: values.firefox,
  // A proxy that is not there stands before every other host.
  extraPrefsFirefox: {
    'network.proxy.type': 1,
    'network.proxy.http': '127.0.0.1',
    'network.proxy.http_port': 9,
    'network.proxy.ssl': '127.0.0.1',
    'network.proxy.ssl_port': 9,
    'network.proxy.no_proxies_on': '127.0.0.1',
    'network.proxy.allow_hijacking_localhost': false,
  },
});
try {
  const page = await browser.newPage();
  watch(page);
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (hostname !== '127.0.0.1' && protocol.startsWith('http')) print({ problem: `asks for ${request.url()}` });
  });
  await page.goto(values.url);
  await page.waitForSelector('body[data-ready]');
  if (values.device) await page.select('#device', values.device);
  if (values.dtype) await page.select('#dtype', values.dtype);

  const caption = (how, image, give) => captionOf(page, how, image, give);
  for (const image of positionals) await caption('chosen', image, async () => (await page.$('#file')).uploadFile(image));

  const bytes = [...(await readFile(first))];
  await caption('dropped', first, () =>
    page.evaluate(
      (content, name) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(content)], name, { type: 'image/png' }));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
      },
      bytes,
      basename(first),
    ),
  );
} finally {
  await browser.close();
}
