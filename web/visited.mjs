// What visits of the page in page/ have in common, by Playwright or by Puppeteer, which name these things alike.

// print writes a JSON line.
export const print = (line) => console.log(JSON.stringify(line));

// watch prints what goes wrong in a page.
export function watch(page) {
  page.setDefaultTimeout(180_000);
  page.on('console', (message) => message.type() === 'error' && print({ problem: `console: ${message.text()}` }));
  page.on('pageerror', (error) => print({ problem: String(error) }));
}

// caption prints what a way of giving a picture leads to.
export async function caption(page, how, image, give) {
  await page.evaluate(() => (document.querySelector('#status').textContent = ''));
  await give();
  await page.waitForFunction(() => /^Caption: |failed|No caption/.test(document.querySelector('#status').textContent + document.querySelector('#caption').textContent));
  const text = (id) => page.$eval(`#${id}`, (e) => e.value ?? e.textContent);
  print({ how, image, caption: await text('caption'), alt: await text('alt'), html: await text('html'), status: await text('status') });
}
