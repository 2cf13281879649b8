// Visits a page of page/ in headless Chromium as people do and prints what it found, one JSON line each: captions of pictures that
// are chosen as {"how","image","caption","alt","html","status"}, and what is wrong as {"problem"}. No host but 127.0.0.1 can be reached.
//
//   node visit.mjs --url http://127.0.0.1:PORT [--device wasm|webgpu|server] [--dtype q8] [--shots DIR] [--chromium /usr/bin/chromium] IMAGE…
//
// The first picture is given in every way: chosen, by the keyboard alone, dropped, pasted, by its address, and by the camera
// (Chromium's test pattern). axe-core looks at the page before and after, light and dark.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { caption as captionOf, print, watch } from './visited.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string' },
    device: { type: 'string', default: '' },
    dtype: { type: 'string', default: '' },
    shots: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});
if (!values.url || positionals.length === 0) {
  console.error('usage: node visit.mjs --url http://127.0.0.1:PORT [--device …] [--dtype …] [--shots DIR] [--chromium PATH] IMAGE…');
  process.exit(2);
}
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const [first, ...others] = positionals;

const browser = await chromium.launch({
  executablePath: values.chromium,
  args: [
    '--no-sandbox',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    ...(values.device === 'webgpu' ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'] : []),
  ],
});
try {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, permissions: ['clipboard-read', 'clipboard-write', 'camera'] });
  const page = await context.newPage();
  watch(page);
  // From here on Chromium shows no file dialogue: asked for just before a key is pressed, that can come too late on a busy machine.
  page.on('filechooser', (chooser) => chooser.setFiles(first));
  await page.route('**/*', (route) => {
    const { hostname, href, protocol } = new URL(route.request().url());
    if (hostname === '127.0.0.1' || protocol === 'blob:' || protocol === 'data:') return route.continue();
    print({ problem: `asks for ${href}` });
    return route.abort();
  });
  await page.goto(values.url);
  await page.waitForSelector('body[data-ready]');
  if (values.device) await page.selectOption('#device', values.device);
  if (values.dtype) await page.selectOption('#dtype', values.dtype);

  const caption = (how, image, give) => captionOf(page, how, image, give);

  // draw has captions drawn by chance, and takes one.
  const draw = async () => {
    await page.click('#more');
    await page.waitForFunction(() => / drawn by chance\.$|^No other|^Chance gave/.test(document.querySelector('#status').textContent));
    const said = await page.$$eval('#others button', (all) => all.map((e) => e.textContent));
    const [likeliest, status] = [await page.textContent('#caption'), await page.textContent('#status')];
    if (new Set(said).size < said.length || said.includes(likeliest)) print({ problem: `drawn beside ${likeliest}: ${said.join('; ')}` });
    if (said.length) {
      await page.click('#others button');
      const html = await page.$eval('#html', (e) => e.value);
      if ((await page.inputValue('#alt')) !== said[0] || !html.includes(said[0])) print({ problem: `${said[0]} is not taken: ${html}` });
    }
    print({ how: 'others', image: '', caption: said.join('; '), status });
  };

  // look has axe-core look at the page, light and dark, on a screen and on a phone.
  const look = async (when) => {
    await page.evaluate(await readFile(axe, 'utf8'));
    for (const colorScheme of ['light', 'dark']) {
      for (const [name, width] of [['wide', 1100], ['phone', 320]]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 900 });
        const where = `${when}, ${colorScheme}, ${name}`;
        const { violations, passes } = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
        for (const v of violations) print({ problem: `${where}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' ')}` });
        if (passes.length < 10) print({ problem: `${where}: axe-core checked only ${passes.length} rules` });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) print({ problem: `${where}: ${over} pixels are wider than the window` });
        if (values.shots) await page.screenshot({ path: join(values.shots, `${where.replaceAll(', ', '-')}.png`), fullPage: true });
      }
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1100, height: 900 });
  };

  await look('before');
  await caption('chosen', first, () => page.setInputFiles('#file', first));
  for (const image of others) await caption('chosen', image, () => page.setInputFiles('#file', image));

  await caption('keyboard', first, async () => {
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('Tab');
    await page.waitForFunction(() => document.activeElement.id === 'file');
    await page.keyboard.press('Space');
  });
  await keys(page);
  if (values.device !== 'server') await draw();
  await look('after');

  const bytes = [...(await readFile(first))];
  const transfer = ([content, name]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(content)], name, { type: 'image/png' }));
    return data;
  };
  const data = await page.evaluateHandle(transfer, [bytes, basename(first)]);
  await caption('dropped', first, () => page.dispatchEvent('body', 'drop', { dataTransfer: data }));
  await caption('pasted', first, () =>
    page.evaluate((d) => dispatchEvent(new ClipboardEvent('paste', { clipboardData: d })), data),
  );
  await page.route('**/there.png', async (route) => route.fulfill({ body: await readFile(first), contentType: 'image/png' }));
  await caption('address', first, async () => {
    await page.fill('#url', new URL('there.png', values.url).href);
    await page.press('#url', 'Enter');
  });
  await caption('camera', '', async () => {
    await page.click('#camera');
    await page.waitForFunction(() => document.querySelector('#video').videoWidth > 0);
    await page.click('#shoot');
  });
  if (await page.$eval('#viewfinder', (d) => d.open)) print({ problem: 'the viewfinder is open after the photo' });

  await page.setInputFiles('#file', { name: 'a.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
  await page.waitForFunction(() => document.querySelector('#status').textContent.includes('no picture that the browser can read'));
} finally {
  await browser.close();
}

// keys goes on from the file's button with the keyboard alone: everything that is there can be reached, and the text be corrected and
// copied.
async function keys(page) {
  const reached = [];
  await page.evaluate(() => {
    globalThis.nameOf = (e) => e.id || (e.dataset.copy ? `copy ${e.dataset.copy}` : e.textContent.trim());
  });
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => nameOf(document.activeElement));
    if (reached.includes(at)) break;
    reached.push(at);
    if (at === 'alt') {
      await page.keyboard.press('ControlOrMeta+A');
      await page.keyboard.type('a "better" text');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelector('#status').textContent === 'The text is copied.');
      reached.push('copy alt');
      const copied = await page.evaluate(() => navigator.clipboard.readText());
      const html = await page.$eval('#html', (e) => e.value);
      if (copied !== 'a "better" text' || !html.includes('alt="a &quot;better&quot; text"')) print({ problem: `copied ${copied}, HTML ${html}` });
    }
  }
  const there = await page.$$eval('button, input, select, textarea', (all) =>
    all.filter((e) => e.checkVisibility() && e.id !== 'file').map((e) => nameOf(e)),
  );
  for (const id of there) {
    if (!reached.includes(id)) print({ problem: `the keyboard does not reach ${id}: ${reached}` });
  }
}
