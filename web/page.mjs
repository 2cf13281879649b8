// Gives pictures to the page of docs/tutorial.md in headless Chromium, one after another, and prints what it shows: one JSON line
// each, {"image","caption"}. No host but 127.0.0.1 can be reached.
//
//   node page.mjs --url http://127.0.0.1:PORT [--chromium /usr/bin/chromium] IMAGE…
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { url: { type: 'string' }, chromium: { type: 'string', default: '/usr/bin/chromium' } },
});
if (!values.url || positionals.length === 0) {
  console.error('usage: node page.mjs --url http://127.0.0.1:PORT [--chromium PATH] IMAGE…');
  process.exit(2);
}

const browser = await chromium.launch({
  executablePath: values.chromium,
  args: ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  page.on('console', (message) => console.error(`page: ${message.text()}`));
  page.on('pageerror', (error) => console.error(`page: ${error}`));
  await page.goto(values.url);
  const shows = (texts, yes) =>
    page.waitForFunction(([t, y]) => t.includes(document.querySelector('#caption').textContent) === y, [texts, yes]);
  await shows(['choose a picture'], true);
  for (const image of positionals) {
    await page.setInputFiles('input', image);
    await shows(['choose a picture', 'looking'], false);
    console.log(JSON.stringify({ image, caption: await page.textContent('#caption') }));
  }
} finally {
  await browser.close();
}
