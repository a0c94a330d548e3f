// Whole sign-ins: a token of a real provider, the challenge that the service answers with, the page, and the tokens that the application gets.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { generateSync } from 'otplib';
import { SMTPServer } from 'smtp-server';

import { accessible, problem, screenshot, startBrowser, tabTo, view } from './browser.mjs';
import { APPLICATION, ISSUER, policy, provider, serve } from './service.mjs';

const STEP_SECONDS = 30;
const MAIL_MS_MAX = 10_000;

let identity;
let mail;
let service;
let browser;

before(async () => {
  identity = await startProvider();
  mail = await startMail();
  const mfa = {
    mode: 'Always',
    webauthn: { rpId: 'corp.localhost', rpName: 'Corp', origins: [ISSUER, APPLICATION] },
    email: { host: '127.0.0.1', port: mail.port, tls: 'None', from: 'Corp <sign-in@corp.example>' },
  };
  const corp = provider(identity.issuer);
  // Whoever comes with it is signed in without a challenge, which makes an account that has an address and no factor.
  corp.spec.upstreamMfa = { amr: ['mfa'] };
  service = await serve([policy(mfa), corp]);
  browser = await startBrowser(service.port);
});

after(async () => {
  await browser?.stop();
  await service?.stop();
  await mail?.stop();
  await identity?.stop();
});

test('a person sets up an authenticator app at the first sign-in, with the keyboard alone, and signs in with it and with a recovery code later', async () => {
  const first = await browser.visit();
  const page = await first.open(await challenge('ada'));
  await view(page, 'enroll');
  await tabTo(page, 'enroll-totp');
  await page.keyboard.press('Enter');
  await view(page, 'enroll-totp');
  await looks(page, 'flow-enroll-totp');
  const secret = (await page.inputValue('#totp-secret')).replaceAll(' ', '');
  await tabTo(page, 'enroll-totp-code');
  await page.keyboard.type(wrong(secret));
  await page.keyboard.press('Enter');
  assert.match(await problem(page), /not right/);
  const now = Math.floor(Date.now() / 1000);
  await page.keyboard.type(code(secret, now));
  await page.keyboard.press('Enter');
  await view(page, 'codes');
  await looks(page, 'flow-codes');
  const codes = await page.$$eval('#codes li', (items) => items.map((item) => item.textContent));
  assert.equal(codes.length, 10);
  await tabTo(page, 'codes-kept');
  await page.keyboard.press('Space');
  await tabTo(page, 'Continue');
  const { response } = await first.outcome(page.keyboard.press('Enter'));
  assert.equal(response.recovery_codes, undefined, 'they are for the person alone');
  await signedIn(response, 'otp');
  await first.end();

  const second = await browser.visit({ language: 'zh' });
  const chinese = await second.open(await challenge('ada'));
  await chinese.click('[data-choose="totp"]');
  await view(chinese, 'code');
  await chinese.fill('#code', code(secret, now));
  await chinese.keyboard.press('Enter');
  assert.match(await problem(chinese), /不正确/, 'the code that set the app up is used');
  await looks(chinese, 'flow-totp-used-zh');
  // The next one is taken early: a clock may be a step ahead.
  await chinese.fill('#code', code(secret, now + STEP_SECONDS));
  await chinese.check('#code-remember');
  const again = (await second.outcome(chinese.keyboard.press('Enter'))).response;
  assert.equal(typeof again.device_token, 'string');
  await signedIn(again, 'otp');
  await second.end();

  const third = await browser.visit();
  const recovering = await third.open(await challenge('ada'));
  await recovering.click('[data-choose="recovery_code"]');
  await recovering.fill('#code', codes[0].toLowerCase());
  await signedIn((await third.outcome(recovering.keyboard.press('Enter'))).response, 'otp');
  await third.end();
});

test('a person sets up a passkey, and signs in with it', async () => {
  const visit = await browser.visit();
  const setUp = await visit.open(await challenge('pia'));
  const authenticator = await addAuthenticator(visit, setUp);
  await setUp.click('[data-go="enroll-passkey"]');
  await view(setUp, 'enroll-passkey');
  await looks(setUp, 'flow-enroll-passkey');
  await setUp.click('#enroll-passkey-use');
  await view(setUp, 'codes');
  const credentials = await authenticator.credentials();
  assert.equal(credentials.length, 1);
  assert.equal(credentials[0].rpId, 'corp.localhost');
  await setUp.check('#codes-kept');
  await signedIn((await visit.outcome(setUp.click('[data-view="codes"] button[type="submit"]'))).response, 'hwk');
  await visit.end();

  const later = await browser.visit();
  const page = await later.open(await challenge('pia'));
  await addAuthenticator(later, page, credentials);
  await page.click('[data-choose="webauthn"]');
  await view(page, 'passkey');
  await looks(page, 'flow-passkey');
  await signedIn((await later.outcome(page.click('#passkey-use'))).response, 'hwk');
  await later.end();
});

test('a passkey whose holder is not recognised is not accepted, and another way is open', async () => {
  const visit = await browser.visit();
  const setUp = await visit.open(await challenge('uma'));
  const authenticator = await addAuthenticator(visit, setUp);
  await authenticator.recognises(false);
  await setUp.click('[data-go="enroll-passkey"]');
  await setUp.click('#enroll-passkey-use');
  await problem(setUp);
  await setUp.click('[data-view="enroll-passkey"] [data-go="enroll"]');
  await view(setUp, 'enroll');
  await visit.end();
});

test('a person without a factor confirms by email', async () => {
  await identity.command('PUT', '/users/eve', { email: 'eve@corp.example', email_verified: true, amr: ['mfa'] });
  const known = await signIn('eve');
  assert.equal(known.requires_mfa, false, 'the provider asked for a second factor itself');
  await identity.command('PUT', '/users/eve', { email: 'eve@corp.example', email_verified: true });

  const visit = await browser.visit();
  const page = await visit.open(await challenge('eve'));
  await view(page, 'choose');
  assert.equal(mail.sent.length, 0);
  await page.click('[data-choose="email_otp"]');
  await view(page, 'code');
  await looks(page, 'flow-email');
  assert.doesNotMatch(await page.innerText('#code-hint'), /eve@corp\.example/, 'the address is not shown in full');
  assert.equal(await page.getAttribute('#send-again', 'aria-disabled'), 'true');
  await page.fill('#code', '000000');
  const sent = (await mail.next()).match(/\b\d{6,8}\b/)[0];
  await page.fill('#code', sent);
  await signedIn((await visit.outcome(page.keyboard.press('Enter'))).response, 'otp');
  await visit.end();
});

test('a challenge that was answered, one that never was, and one that five newer ones took the place of are over', async () => {
  const answered = await challenge('max');
  const visit = await browser.visit();
  const page = await visit.open(answered);
  await page.click('#enroll-totp');
  await view(page, 'enroll-totp');
  const secret = (await page.inputValue('#totp-secret')).replaceAll(' ', '');
  await page.fill('#enroll-totp-code', code(secret));
  await page.keyboard.press('Enter');
  await view(page, 'codes');
  await page.check('#codes-kept');
  await visit.outcome(page.click('[data-view="codes"] button[type="submit"]'));
  await visit.end();

  const replaced = await challenge('max');
  // The oldest is void, and ages are whole seconds.
  const second = () => Math.floor(Date.now() / 1000);
  for (const began = second(); second() === began; ) await new Promise(setImmediate);
  for (let newer = 0; newer < 5; newer += 1) await challenge('max');
  for (const token of [answered, replaced, 'nobody-ever-gave-this-out']) {
    const another = await browser.visit();
    const ended = await another.open(token);
    await view(ended, 'ended');
    // Such a challenge names no origin that could be told.
    await ended.close();
    assert.deepEqual(await another.outcome(), { code: 'window_closed' });
    await another.end();
  }
});

test('after too many wrong codes nothing more can be tried', async () => {
  const enrolling = await browser.visit();
  const setUp = await enrolling.open(await challenge('lou'));
  await setUp.click('#enroll-totp');
  await view(setUp, 'enroll-totp');
  const secret = (await setUp.inputValue('#totp-secret')).replaceAll(' ', '');
  await setUp.fill('#enroll-totp-code', code(secret));
  await setUp.keyboard.press('Enter');
  await view(setUp, 'codes');
  await enrolling.end();

  const visit = await browser.visit();
  let page = await visit.open(await challenge('lou'));
  for (let tries = 0; ; tries += 1) {
    assert.ok(tries < 20, 'the counters of the policy stop it: 5 tries a challenge, 10 in 15 minutes');
    const chosen = await page.$('[data-choose="totp"]:visible');
    if (chosen) await chosen.click();
    await page.waitForSelector('#code:visible');
    await page.fill('#code', wrong(secret));
    const answered = page.waitForResponse((response) => response.url().endsWith('/verify'));
    await page.keyboard.press('Enter');
    const answer = await answered;
    if (answer.status() === 429) break;
    if ((await answer.json()).code === 'mfa_code_invalid') {
      await page.waitForSelector('#code[aria-invalid="true"]');
      continue;
    }
    await view(page, 'ended');
    await page.close();
    await visit.outcome();
    await visit.application.reload();
    page = await visit.open(await challenge('lou'));
  }
  await view(page, 'locked');
  await looks(page, 'flow-locked');
  assert.deepEqual(await visit.outcome(), { code: 'mfa_locked' });
  await visit.end();
});

/** What a service does: passes an ID token on. Gives the answer. */
async function signIn(subject) {
  const { id_tokens: [idToken] } = await identity.command('POST', '/tokens', { subject });
  const { status, body } = await service.post('/auth/id-token/signin', { id_token: idToken });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** The challenge of a sign-in that needs a second factor. */
async function challenge(subject) {
  const answer = await signIn(subject);
  assert.equal(answer.requires_mfa, true, JSON.stringify(answer));
  return answer.challenge_token;
}

/** The answer is a whole one, and says how the person confirmed. */
async function signedIn(response, method) {
  assert.equal(response.token_type, 'Bearer');
  assert.equal(typeof response.refresh_token, 'string');
  const { amr } = JSON.parse(Buffer.from(response.access_token.split('.')[1], 'base64url'));
  assert.ok(amr.includes(method), String(amr));
  const user = await fetch(`${service.url}/auth/userinfo`, { headers: { authorization: `Bearer ${response.access_token}` } });
  assert.equal(user.status, 200);
}

function code(secret, epoch = Math.floor(Date.now() / 1000)) {
  return generateSync({ secret, epoch });
}

/** Of none of the steps that could be taken. */
function wrong(secret) {
  const now = Math.floor(Date.now() / 1000);
  const right = [-2, -1, 0, 1, 2].map((steps) => code(secret, now + steps * STEP_SECONDS));
  return ['000000', '111111', '222222', '333333', '444444', '555555'].find((one) => !right.includes(one));
}

/** A virtual authenticator (WebDriver's, over Chromium's protocol), with these credentials. */
async function addAuthenticator(visit, page, credentials = []) {
  const session = await visit.context.newCDPSession(page);
  await session.send('WebAuthn.enable');
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  for (const credential of credentials) await session.send('WebAuthn.addCredential', { authenticatorId, credential });
  return {
    credentials: async () => (await session.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    recognises: (isUserVerified) => session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
  };
}

async function startProvider() {
  const child = spawn(process.execPath, [`${import.meta.dirname}/../provider/provider.mjs`, '--end-with-stdin'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'exit');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const { issuer, control } = JSON.parse(line);
  return {
    issuer,
    async command(method, path, body) {
      const answer = await fetch(control + path, { method, body: JSON.stringify(body) });
      const members = await answer.json();
      assert.ok(answer.ok, members.error);
      return members;
    },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

/** A mail server that keeps what it is given. */
async function startMail() {
  const sent = [];
  const arrived = new EventEmitter();
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    onData(stream, _session, done) {
      const chunks = [];
      stream.on('data', (chunk) => chunks.push(chunk));
      stream.on('end', () => {
        sent.push(Buffer.concat(chunks).toString().split('\r\n\r\n').slice(1).join('\n'));
        arrived.emit('mail');
        done();
      });
    },
  });
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  return {
    sent,
    port: server.server.address().port,
    /** The text of the first mail that nobody has read. */
    async next() {
      const late = AbortSignal.timeout(MAIL_MS_MAX);
      if (sent.length === 0) await once(arrived, 'mail', { signal: late });
      return sent.shift();
    },
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
}

async function looks(page, name) {
  await screenshot(page, name);
  await accessible(page);
}
