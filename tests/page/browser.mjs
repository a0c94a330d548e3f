// Chromium, an application that opens the page in it, and what every test holds the page to: no error, nothing against its policy, no
// request to anybody else, no token in any address.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { delimiter, join } from 'node:path';

import { chromium } from 'playwright-core';

import { APPLICATION, ISSUER } from './service.mjs';

const root = join(import.meta.dirname, '../..');
const screenshots = join(root, 'target/screenshots');
const axe = await readFile(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8');
const confirm = await readFile(join(root, 'examples/callers/browser/confirm.mjs'));
const WAIT_MS_MAX = 10_000;
/** An origin that nobody allowed. */
export const ELSEWHERE = 'http://elsewhere.localhost';

/** Gives a browser in which `ISSUER` is the service at this port. */
export async function startBrowser(servicePort) {
  await mkdir(screenshots, { recursive: true });
  const application = await serveApplication();
  const places = [
    `MAP auth.corp.localhost:80 127.0.0.1:${servicePort}`,
    `MAP app.corp.localhost:80 127.0.0.1:${application.address().port}`,
    `MAP elsewhere.localhost:80 127.0.0.1:${application.address().port}`,
    'MAP * ~NOTFOUND',
  ];
  const browser = await chromium.launch({ executablePath: findChromium(), args: [`--host-resolver-rules=${places.join(', ')}`] });
  return {
    /** A person's browser: nothing of another's is in it. */
    visit: (options) => Visit.begin(browser, options),
    async stop() {
      await browser.close();
      application.close();
      application.closeAllConnections();
    },
  };
}

/** The application's page, which uses what `examples` gives to applications. */
async function serveApplication() {
  const page = ['text/html', '<!doctype html><title>An application</title><script type="module" src="/page.mjs"></script>'];
  const files = {
    '/': page,
    '/isolated': [...page, 'same-origin'],
    '/allows-popups': [...page, 'same-origin-allow-popups'],
    '/page.mjs': [
      'text/javascript',
      `import { confirmSignin } from '/confirm.mjs';
       window.received = [];
       addEventListener('message', ({ origin, data }) => received.push({ origin, data }));
       window.confirmHere = (token) => {
         confirmSignin('${ISSUER}', token).then((response) => { window.outcome = { response }; }, ({ code }) => { window.outcome = { code }; });
       };`,
    ],
    '/confirm.mjs': ['text/javascript', confirm],
    '/framing': ['text/html', `<!doctype html><title>A frame</title><iframe src="${ISSUER}/auth/mfa"></iframe>`],
  };
  const server = createServer((request, response) => {
    const [type, content, openerPolicy = 'unsafe-none'] = files[request.url] ?? ['text/plain', ''];
    response.setHeader('content-type', type).setHeader('cross-origin-opener-policy', openerPolicy).end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

class Visit {
  static async begin(browser, { language = 'en', from = APPLICATION, ...options } = {}) {
    const visit = new Visit();
    visit.context = await browser.newContext({ locale: language, viewport: { width: 480, height: 760 }, ...options });
    visit.context.setDefaultTimeout(WAIT_MS_MAX);
    visit.requests = [];
    visit.errors = [];
    visit.context.on('request', (request) => visit.requests.push(request.url()));
    visit.context.on('weberror', (error) => visit.errors.push(String(error.error())));
    visit.context.on('console', (message) => {
      // That a call was refused is in the network's log, and the tests are about it.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) visit.errors.push(message.text());
    });
    visit.application = await visit.context.newPage();
    await visit.application.goto(from);
    return visit;
  }

  /** The application opens the page; gives the window once it shows something. */
  async open(token) {
    this.token = token;
    const opened = this.context.waitForEvent('page');
    await this.application.waitForFunction(() => window.confirmHere);
    await this.application.evaluate((challenge) => window.confirmHere(challenge), token);
    const page = await opened;
    await page.waitForSelector('[data-view]:not([hidden]):not([data-view="loading"])');
    return page;
  }

  /** What the application's `confirmSignin` came to, after a last press: the window may be gone before that has been answered. */
  async outcome(press) {
    await press?.catch((error) => {
      if (!error.message.includes('has been closed')) throw error;
    });
    await this.application.waitForFunction(() => window.outcome);
    return this.application.evaluate(() => window.outcome);
  }

  async received() {
    return this.application.evaluate(() => window.received);
  }

  async end() {
    await this.context.close();
    assert.deepEqual(this.errors, []);
    for (const url of this.requests) {
      assert.ok([ISSUER, APPLICATION, ELSEWHERE].includes(new URL(url).origin) || /^(data|blob):/.test(url), url);
      if (this.token) assert.ok(!new URL(url).pathname.includes(this.token) && !new URL(url).search.includes(this.token), url);
    }
  }
}

/** Waits until the page shows this view. */
export function view(page, name) {
  return page.waitForSelector(`[data-view="${name}"]:not([hidden])`);
}

/** What the page complains of, once it does. */
export async function problem(page) {
  await page.waitForFunction(() => document.getElementById('problem').textContent !== '');
  return page.textContent('#problem');
}

/** What has the focus: its id, or else its text. */
export function focused(page) {
  return page.evaluate(() => document.activeElement.id || document.activeElement.innerText);
}

/** Presses Tab until it is there, as somebody without a mouse does. */
export async function tabTo(page, wanted) {
  for (let presses = 0; presses < 20; presses += 1) {
    if ((await focused(page)) === wanted) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`${wanted} cannot be reached with Tab`);
}

/** Holds what is shown to WCAG 2.2 AA as far as axe can tell, and to a screen of 320 CSS pixels (which is 640 at 200 %). */
export async function accessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
  const size = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 480 });
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.setViewportSize(size);
  assert.ok(wider <= 0, `${wider} pixels are out of sight on a small screen`);
}

/** To be looked at: `target/screenshots`. */
export function screenshot(page, name) {
  return page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true, animations: 'disabled' });
}

function findChromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const folders = process.env.PATH.split(delimiter);
  const places = [process.env.CHROMIUM, ...names.flatMap((name) => folders.map((folder) => join(folder, name)))].filter(Boolean);
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error('Chromium is missing (Debian: chromium); CHROMIUM may name it');
  return found;
}
