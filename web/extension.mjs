// Loads the browser extension of a folder in headless Chromium, has it describe pictures of a page, and prints one JSON line each:
// {"image","caption","status"} or {"problem"}. No host but 127.0.0.1 can be reached.
//
//   node extension.mjs --extension FOLDER --url http://127.0.0.1:PORT/ [--chromium /usr/bin/chromium] IMAGE…
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { extension: { type: 'string' }, url: { type: 'string' }, chromium: { type: 'string', default: '/usr/bin/chromium' } },
});
if (!values.extension || !values.url || positionals.length === 0) {
  console.error('usage: node extension.mjs --extension FOLDER --url http://127.0.0.1:PORT/ [--chromium PATH] IMAGE…');
  process.exit(2);
}
const print = (line) => console.log(JSON.stringify(line));
const profile = await mkdtemp(join(tmpdir(), 'distilvit-extension-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: values.chromium,
  headless: false, // --headless=new below: the other one has no extensions
  ignoreDefaultArgs: ['--disable-extensions'],
  args: [
    '--headless=new', '--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    `--disable-extensions-except=${values.extension}`, `--load-extension=${values.extension}`,
  ],
});
try {
  context.on('console', (message) => message.type() === 'error' && print({ problem: `console: ${message.text()}` }));
  context.on('weberror', (error) => print({ problem: String(error.error()) }));
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker'));
  for (const image of positionals) {
    const opened = context.waitForEvent('page');
    // What a click on the entry calls; Chromium's menus are no part of pages, so that nobody can click on them here.
    await worker.evaluate((srcUrl) => chrome.contextMenus.onClicked.dispatch({ menuItemId: 'describe', srcUrl }, {}), `${values.url}${image}`);
    const page = await opened;
    await page.waitForFunction(() => /^Described|^No description/.test(document.querySelector('#status')?.textContent), null, {
      timeout: 180_000,
    });
    print({ image, caption: await page.textContent('#caption'), status: await page.textContent('#status') });
    await page.close();
  }
} finally {
  await context.close();
  await rm(profile, { recursive: true });
}
