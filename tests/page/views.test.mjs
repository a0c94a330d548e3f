// Each view of the page, in both languages: what it says, where the focus is, what is pressed next. The page comes from the real service;
// its endpoints' answers are the test's, for half of them are faults that a healthy service does not have. `flows.test.mjs` has the others.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { accessible, ELSEWHERE, focused, problem, screenshot, startBrowser, tabTo, view } from './browser.mjs';
import { APPLICATION, ISSUER, policy, provider, serve } from './service.mjs';

const TOKEN = 'vct_the-token-of-this-challenge';
const ALL = ['webauthn', 'totp', 'sms_otp', 'email_otp', 'recovery_code'];
const SIGNED_IN = { access_token: 'at', refresh_token: 'rt', token_type: 'Bearer', expires_in: 600, requires_mfa: false };
const CODES = Array.from({ length: 10 }, (_, number) => `ABCD-EFGH-IJKL-MN0${number}`);
const QR = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M1 1h3v3H1zM5 1h3v3H5zM1 5h3v3H1zM6 6h1v1H6z"/></svg>';
const TOTP = { id: 'f-1', method: 'totp', secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', otpauth_uri: 'otpauth://totp/x?secret=JBSW', qr_svg: QR };
const LANGUAGES = ['en', 'zh'];

let service;
let browser;

before(async () => {
  service = await serve([policy(), provider('https://login.corp.example')]);
  browser = await startBrowser(service.port);
});

after(async () => {
  await browser?.stop();
  await service?.stop();
});

for (const language of LANGUAGES) {
  test(`a person may choose among all methods (${language})`, async () => {
    await visiting({ language, ...describing({ methods: ALL, mfa_check_reason: language === 'zh' ? '您使用了新设备。' : 'This device is new.' }) }, async ({ page }) => {
      assert.deepEqual(await page.$$eval('[data-view="choose"] li:not([hidden]) button', (buttons) => buttons.map((one) => one.dataset.choose)), ALL);
      await looks(page, `choose-${language}`);
    });
  });

  test(`a code that was sent is entered, and a new one sent later (${language})`, async () => {
    const sent = { 'challenge/email_otp': [200, { sent_to: 'a…@corp.example', expires_in: 300, resend_in: 4 }] };
    await visiting({ language, ...describing({ methods: ['email_otp'] }), ...sent, verify: [401, 'mfa_code_invalid'] }, async ({ page, calls }) => {
      assert.equal(calls.length, 1, 'nothing is sent that nobody asked for');
      await page.click('[data-choose="email_otp"]');
      await view(page, 'code');
      assert.equal(await focused(page), 'code');
      assert.match(await page.innerText('#code-hint'), /a…@corp\.example/);
      await page.fill('#code', '000 000');
      await page.keyboard.press('Enter');
      await problem(page);
      assert.equal(calls.at(-1).body.code, '000000');
      assert.equal(await page.getAttribute('#code', 'aria-invalid'), 'true');
      assert.equal(await focused(page), 'code');
      // Before the picture, which takes as long as the wait on a busy machine.
      assert.equal(await page.getAttribute('#send-again', 'aria-disabled'), 'true');
      await page.click('#send-again', { force: true });
      await looks(page, `code-wrong-${language}`);
      await page.waitForSelector('#send-again[aria-disabled="false"]');
      const before = calls.length;
      await page.click('#send-again');
      await page.waitForSelector('#send-again[aria-disabled="true"]');
      assert.equal(calls.length, before + 1, 'a button that waits sends nothing');
    });
  });

  for (const [name, ends] of Object.entries({
    ended: { challenge: [401, 'mfa_challenge_invalid'] },
    locked: { challenge: [429, 'mfa_locked', { 'retry-after': '900' }] },
    unavailable: { challenge: [403, 'mfa_unavailable'] },
    refused: { challenge: [403, 'user_disabled'] },
  })) {
    test(`what is over says so, and what to do next: ${name} (${language})`, async () => {
      await visiting({ language, ...ends }, async ({ page }) => {
        await view(page, name);
        assert.equal(await focused(page), await page.innerText(`[data-view="${name}"] h1`));
        assert.equal(await page.isVisible('#language'), false);
        await looks(page, `${name}-${language}`);
        const closed = page.waitForEvent('close');
        // The window may be gone before the click has been answered.
        await Promise.all([closed, page.click(`[data-view="${name}"] [data-close]`).catch(() => {})]);
      });
    });
  }

  test(`an authenticator app is set up, and its recovery codes are kept (${language})`, async () => {
    const enrolling = { 'enrollments/totp': [201, TOTP], 'enrollments/totp/confirm': [200, { ...SIGNED_IN, recovery_codes: CODES }] };
    await visiting({ language, ...describing({ enrollable: ['webauthn', 'totp'] }), ...enrolling }, async ({ visit, page, calls }) => {
      await view(page, 'enroll');
      await looks(page, `enroll-${language}`);
      await page.click('#enroll-totp');
      await view(page, 'enroll-totp');
      assert.equal(await page.$eval('#totp-qr', (picture) => picture.decode().then(() => picture.naturalWidth > 0)), true);
      assert.equal(await page.inputValue('#totp-secret'), 'JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP');
      assert.equal(await page.getAttribute('#totp-open', 'href'), TOTP.otpauth_uri);
      await looks(page, `enroll-totp-${language}`);
      await page.fill('#enroll-totp-code', '123456');
      await page.keyboard.press('Enter');
      await view(page, 'codes');
      assert.deepEqual(calls.at(-1).body, { challenge_token: TOKEN, id: 'f-1', code: '123456' });
      await looks(page, `codes-${language}`);
      assert.deepEqual(await visit.received(), [], 'the application waits until the codes are kept');
      await page.click('[data-view="codes"] button[type="submit"]');
      await problem(page);
      assert.equal(await focused(page), 'codes-kept');
      await page.check('#codes-kept');
      assert.deepEqual(await visit.outcome(page.click('[data-view="codes"] button[type="submit"]')), { response: SIGNED_IN }, 'and never sees them');
    });
  });

  test(`a passkey is asked for (${language})`, async () => {
    await visiting({ language, ...describing({ methods: ['webauthn', 'totp'] }) }, async ({ page }) => {
      await page.click('[data-choose="webauthn"]');
      await view(page, 'passkey');
      await looks(page, `passkey-${language}`);
    });
  });

  test(`what is confirmed says so, and is forgotten (${language})`, async () => {
    // Without an origin the window stays, and can be looked at.
    await visiting({ language, ...describing({ methods: ['totp'], origins: [] }), verify: [200, SIGNED_IN] }, async ({ page }) => {
      assert.equal(await page.evaluate(() => history.state.challengeToken), TOKEN);
      await page.fill('#code', '123456');
      await page.keyboard.press('Enter');
      await view(page, 'done');
      await looks(page, `done-${language}`);
      const kept = await page.evaluate(() => [history.state, { ...localStorage }, { ...sessionStorage }, document.cookie]);
      assert.deepEqual(kept, [null, {}, {}, '']);
    });
  });

  test(`a window that no application waits for says so (${language})`, async () => {
    const visit = await browser.visit({ language });
    const page = await visit.context.newPage();
    await page.goto(`${ISSUER}/auth/mfa#challenge_token=${TOKEN}`);
    await view(page, 'alone');
    await looks(page, `alone-${language}`);
    await visit.end();
  });
}

test('the recovery codes can be copied, downloaded and printed', async () => {
  const enrolling = { 'enrollments/totp': [201, TOTP], 'enrollments/totp/confirm': [200, { ...SIGNED_IN, recovery_codes: CODES }] };
  await visiting({ ...describing({ enrollable: ['totp'] }), ...enrolling }, async ({ visit, page }) => {
    await visit.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: ISSUER });
    await page.click('#enroll-totp');
    await page.fill('#enroll-totp-code', '123456');
    await page.keyboard.press('Enter');
    await view(page, 'codes');
    const text = CODES.map((code) => `${code}\n`).join('');
    await page.click('#codes-copy');
    await page.waitForFunction(() => document.getElementById('news').textContent !== '');
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), text);
    const downloading = page.waitForEvent('download');
    await page.click('#codes-download');
    const download = await downloading;
    assert.equal(download.suggestedFilename(), 'recovery-codes.txt');
    const chunks = await (await download.createReadStream()).toArray();
    assert.equal(Buffer.concat(chunks).toString(), text);
    await page.evaluate(() => addEventListener('beforeprint', () => { document.title = 'printing'; }));
    await page.click('#codes-print');
    await page.waitForFunction(() => document.title === 'printing');
    await page.emulateMedia({ media: 'print' });
    assert.equal(await page.isVisible('#codes'), true);
    assert.equal(await page.isVisible('#codes-kept'), false);
  });
});

test('everything can be done without a mouse', async () => {
  const sent = { 'challenge/sms_otp': [200, { sent_to: '…89', expires_in: 300 }], verify: [200, SIGNED_IN] };
  await visiting({ ...describing({ methods: ALL }), ...sent }, async ({ visit, page, calls }) => {
    await tabTo(page, 'Code by text message');
    await page.keyboard.press('Enter');
    await view(page, 'code');
    assert.equal(await focused(page), 'code');
    await page.keyboard.type('123456');
    await tabTo(page, 'code-remember');
    await page.keyboard.press('Space');
    await tabTo(page, 'Confirm');
    assert.deepEqual(await visit.outcome(page.keyboard.press('Enter')), { response: SIGNED_IN });
    assert.deepEqual(calls.at(-1).body, { challenge_token: TOKEN, method: 'sms_otp', code: '123456', remember_device: true });
  });
});

test('whatever has the focus shows it', async () => {
  await visiting(describing({ methods: ALL }), async ({ page }) => {
    for (let presses = 0; presses < 6; presses += 1) {
      await page.keyboard.press('Tab');
      const width = await page.evaluate(() => (document.activeElement === document.body ? 3 : parseFloat(getComputedStyle(document.activeElement).outlineWidth)));
      assert.ok(width >= 2, await focused(page));
    }
  });
});

test('a dark screen stays dark, and readable', async () => {
  await visiting({ colorScheme: 'dark', ...describing({ methods: ['totp'] }), verify: [401, 'mfa_code_invalid'] }, async ({ page }) => {
    await page.fill('#code', '000000');
    await page.keyboard.press('Enter');
    await problem(page);
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(21, 24, 28)');
    await looks(page, 'code-wrong-dark');
  });
});

test('nothing moves', async () => {
  await visiting(describing({ methods: ALL }), async ({ page }) => {
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    const moving = await page.$$eval('*', (all) => all.filter((one) => getComputedStyle(one).transitionDuration !== '0s').length);
    assert.equal(moving, 0);
  });
});

test('a method that is out of order is left out, and the others go on', async () => {
  await visiting({ ...describing({ methods: ['sms_otp', 'totp'] }), 'challenge/sms_otp': [403, 'mfa_unavailable'] }, async ({ page }) => {
    await page.click('[data-choose="sms_otp"]');
    await problem(page);
    await view(page, 'choose');
    assert.equal(await page.isVisible('[data-choose="sms_otp"]'), false);
    await page.click('[data-choose="totp"]');
    await view(page, 'code');
    assert.equal(await page.textContent('#problem'), '');
  });
});

test('when the last method is out of order, nothing is left to do here', async () => {
  await visiting({ ...describing({ methods: ['sms_otp'] }), 'challenge/sms_otp': [403, 'mfa_unavailable'] }, async ({ visit, page }) => {
    await page.click('[data-choose="sms_otp"]');
    await view(page, 'unavailable');
    assert.equal(await page.textContent('#problem'), '');
    assert.deepEqual(await visit.outcome(), { code: 'mfa_unavailable' });
  });
});

test('a code that was sent a moment ago can be entered after the page was loaded anew', async () => {
  await visiting({ ...describing({ methods: ['email_otp'] }), 'challenge/email_otp': [429, 'mfa_locked', { 'retry-after': '20' }] }, async ({ page }) => {
    await page.click('[data-choose="email_otp"]');
    await view(page, 'code');
    assert.match(await page.textContent('#news'), /a moment ago/);
    assert.match(await page.textContent('#send-again'), /in (20|19) s/);
  });
});

for (const [what, answer, says] of [
  ['an outage', [503, 'store_unavailable', { 'retry-after': '1' }], /went wrong/],
  ['a proxy that answers with HTML', [502, undefined], /went wrong/],
  ['no answer at all', 'abort', /connection/],
  ['too many requests', [429, 'rate_limited', { 'retry-after': '1' }], /Too fast/],
]) {
  test(`after ${what} one may try again`, async () => {
    const answers = { ...describing({ methods: ['totp'] }), verify: answer };
    await visiting(answers, async ({ visit, page, change }) => {
      await page.fill('#code', '123456');
      await page.keyboard.press('Enter');
      assert.match(await problem(page), says);
      change({ verify: [200, SIGNED_IN] });
      assert.deepEqual(await visit.outcome(page.keyboard.press('Enter')), { response: SIGNED_IN });
    });
  });
}

test('a page that could not begin begins when it is told to', async () => {
  await visiting({ challenge: [503, 'not_ready', { 'retry-after': '1' }] }, async ({ page, change }) => {
    assert.match(await problem(page), /went wrong/);
    await looks(page, 'failed');
    change(describing({ methods: ['totp'] }));
    await page.click('[data-go="again"]');
    await view(page, 'code');
    assert.equal(await page.textContent('#problem'), '');
  });
});

test('pressing twice sends once', async () => {
  await visiting({ ...describing({ methods: ['totp'] }), verify: [200, SIGNED_IN] }, async ({ visit, page, calls }) => {
    await page.fill('#code', '123456');
    await page.evaluate(() => {
      document.getElementById('code-form').requestSubmit();
      document.getElementById('code-form').requestSubmit();
    });
    await visit.outcome();
    assert.equal(calls.filter(({ path }) => path === 'verify').length, 1);
  });
});

test('an empty code is not sent', async () => {
  await visiting(describing({ methods: ['totp'] }), async ({ page, calls }) => {
    await page.fill('#code', '  ');
    await page.keyboard.press('Enter');
    assert.match(await problem(page), /Enter the code/);
    assert.equal(calls.length, 1);
  });
});

test('a minute before the time is over, and when it is, the page says so by itself', async () => {
  await visiting({ clock: true, ...describing({ methods: ['totp'], expires_in: 300 }) }, async ({ visit, page }) => {
    await page.clock.fastForward(200_000);
    assert.equal(await page.textContent('#news'), '');
    await page.clock.fastForward(45_000);
    assert.match(await page.textContent('#news'), /One minute/);
    await page.clock.fastForward(60_000);
    await view(page, 'ended');
    await page.clock.resume();
    assert.deepEqual(await visit.outcome(), { code: 'mfa_challenge_invalid' });
  });
});

test('a reload and another language keep the challenge, and the address shows neither', async () => {
  await visiting(describing({ methods: ALL }), async ({ page, calls }) => {
    assert.equal(page.url(), `${ISSUER}/auth/mfa`);
    await page.reload();
    await view(page, 'choose');
    await page.click('#language');
    await page.waitForSelector('html[lang="zh"] [data-view="choose"]:not([hidden])');
    assert.equal(page.url(), `${ISSUER}/auth/mfa?lang=zh`);
    assert.equal(await page.title(), '确认是您本人');
    assert.ok(calls.length === 3 && calls.every(({ body }) => body.challenge_token === TOKEN));
    assert.equal(calls.at(-1).language, 'zh');
  });
});

test('another challenge in a window that is open takes its place', async () => {
  await visiting(describing({ methods: ['totp'] }), async ({ visit, page, calls }) => {
    await visit.application.evaluate(() => window.confirmHere('another'));
    await page.waitForFunction(() => history.state?.challengeToken === 'another');
    await view(page, 'code');
    assert.equal(calls.at(-1).body.challenge_token, 'another');
    assert.equal(page.url(), `${ISSUER}/auth/mfa`);
  });
});

test('an application of another origin gets nothing, neither the answer nor that there is none', async () => {
  await visiting({ from: ELSEWHERE, ...describing({ methods: ['totp'] }), verify: [200, SIGNED_IN] }, async ({ visit, page }) => {
    // The browser says so in its console, and that is what is wanted here.
    await page.fill('#code', '123456');
    await page.keyboard.press('Enter');
    await view(page, 'done');
    assert.deepEqual(await visit.received(), []);
    assert.ok(visit.errors.every((error) => error.includes('postMessage')), visit.errors.join('\n'));
    visit.errors.length = 0;
  });
});

test('an application that cuts itself off from its windows gets no answer, and one that only keeps others out does', async () => {
  await visiting({ from: `${APPLICATION}/isolated`, ...describing({ methods: ['totp'] }) }, async ({ visit, page }) => {
    await view(page, 'alone');
    assert.deepEqual(await visit.outcome(), { code: 'window_closed' });
  });
  await visiting({ from: `${APPLICATION}/allows-popups`, ...describing({ methods: ['totp'] }), verify: [200, SIGNED_IN] }, async ({ visit, page }) => {
    await page.fill('#code', '123456');
    assert.deepEqual(await visit.outcome(page.keyboard.press('Enter')), { response: SIGNED_IN });
  });
});

test('an application that has gone is noticed before a code is used up for nobody', async () => {
  await visiting({ ...describing({ methods: ['totp'] }), verify: [200, SIGNED_IN] }, async ({ visit, page, calls }) => {
    await visit.application.close();
    await page.fill('#code', '123456');
    await page.keyboard.press('Enter');
    await view(page, 'alone');
    assert.equal(calls.length, 1);
  });
});

test('the page trusts no message', async () => {
  await visiting({ ...describing({ methods: ['totp'] }) }, async ({ visit, page }) => {
    await visit.application.evaluate(() => {
      const opened = window.open('', 'vestibule-mfa');
      opened.postMessage({ type: 'vestibule.mfa', status: 'completed', response: { access_token: 'forged' } }, '*');
    });
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
    assert.equal(await page.isVisible('[data-view="code"]'), true);
    assert.deepEqual(await visit.received(), []);
  });
});

test('the application believes no other window', async () => {
  await visiting(describing({ methods: ['totp'] }), async ({ visit }) => {
    await visit.application.evaluate(() => window.postMessage({ type: 'vestibule.mfa', status: 'completed', response: { access_token: 'forged' } }));
    await visit.application.waitForFunction(() => window.received.length === 1);
    assert.equal(await visit.application.evaluate(() => window.outcome), undefined);
  });
});

test('a person who closes the window is noticed by the application', async () => {
  await visiting(describing({ methods: ['totp'] }), async ({ visit, page }) => {
    await page.close();
    assert.deepEqual(await visit.outcome(), { code: 'window_closed' });
  });
});

test('the page stands in no frame', async () => {
  const visit = await browser.visit();
  const refused = visit.context.waitForEvent('console', (message) => message.text().includes('frame-ancestors'));
  await visit.application.goto(`${APPLICATION}/framing`);
  await refused;
  assert.notEqual(visit.application.frames()[1].url(), `${ISSUER}/auth/mfa`);
  visit.errors.length = 0;
  await visit.end();
});

test('a script that got into the page would run nothing and reach nobody', async () => {
  await visiting(describing({ methods: ['totp'] }), async ({ visit, page }) => {
    const refused = await page.evaluate(async (elsewhere) => {
      const directives = [];
      addEventListener('securitypolicyviolation', (event) => directives.push(event.effectiveDirective));
      const inline = Object.assign(document.createElement('script'), { type: 'module' });
      try { inline.textContent = 'window.ran = true'; } catch { directives.push('text refused'); }
      document.body.append(inline, Object.assign(new Image(), { src: `${elsewhere}/x` }));
      try { document.body.innerHTML = '<p>'; } catch { directives.push('markup refused'); }
      await fetch(elsewhere).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve));
      return [window.ran, directives];
    }, ELSEWHERE);
    assert.equal(refused[0], undefined);
    for (const directive of ['connect-src', 'img-src', 'require-trusted-types-for', 'markup refused']) assert.ok(refused[1].includes(directive), `${directive}: ${refused[1]}`);
    visit.errors.length = 0;
  });
});

/** A challenge that asks for this. */
function describing(description) {
  return { challenge: [200, { methods: [], enrollable: [], origins: [APPLICATION], expires_in: 300, ...description }] };
}

/** Opens the page with these answers, and has the test look at it. */
async function visiting({ language, from, colorScheme, clock, ...answers }, look) {
  const visit = await browser.visit({ language, from, colorScheme });
  if (clock) await visit.context.clock.install();
  const calls = [];
  await visit.context.route(`${ISSUER}/auth/mfa/**`, (route) => {
    const request = route.request();
    if (request.method() !== 'POST') return route.continue();
    const body = request.postDataJSON();
    const path = new URL(request.url()).pathname.slice('/auth/mfa/'.length);
    calls.push({ path, body, language: request.headers()['accept-language'] });
    const answer = answers[body.method && path === 'challenge' ? `challenge/${body.method}` : path];
    if (answer === 'abort') return route.abort();
    const [status, content, headers] = answer;
    const members = typeof content === 'string' ? { code: content } : content;
    return route.fulfill({ status, headers, contentType: members ? 'application/json' : 'text/html', body: members ? JSON.stringify(members) : '<p>Bad gateway' });
  });
  const page = await visit.open(TOKEN);
  await look({ visit, page, calls, change: (changed) => Object.assign(answers, changed) });
  await visit.end();
}

async function looks(page, name) {
  await screenshot(page, name);
  await accessible(page);
}
