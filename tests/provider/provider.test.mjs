// The provider's own promises: the other tests lean on them, so a break shows here by name.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';

const here = import.meta.dirname;
let provider;
let issuer;
let control;

before(async () => {
  provider = spawn(process.execPath, [`${here}/provider.mjs`, '--end-with-stdin'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const [line] = await once(createInterface({ input: provider.stdout }), 'line');
  ({ issuer, control } = JSON.parse(line));
});

after(async () => {
  const ended = once(provider, 'exit');
  provider.stdin.end();
  await ended;
});

test('an ID token carries subject, audience, nonce and the claims of the user', async () => {
  await command('PUT', '/users/alice', { email: 'a@corp.example', email_verified: 'true', hd: 'corp.example', amr: ['mfa'] });
  const token = await idToken({ subject: 'alice', nonce: 'n-1', client: 'other' });
  const { payload } = await verify(token, { issuer, audience: 'other' });
  assert.deepEqual(
    { sub: payload.sub, nonce: payload.nonce, email: payload.email, email_verified: payload.email_verified, hd: payload.hd, amr: payload.amr },
    { sub: 'alice', nonce: 'n-1', email: 'a@corp.example', email_verified: 'true', hd: 'corp.example', amr: ['mfa'] },
  );
});

test('a token asked for without a nonce has none', async () => {
  assert.equal(decodeJwt(await idToken({ subject: 'bob' })).nonce, undefined);
});

for (const algorithm of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
  test(`a client's tokens are signed with ${algorithm} when it is told so`, async () => {
    await command('PUT', '/clients/other', { algorithm });
    const token = await idToken({ client: 'other' });
    assert.equal(decodeProtectedHeader(token).alg, algorithm);
    await verify(token, { issuer, audience: 'other' });
  });
}

test('an unknown client and an unknown algorithm are refused', async () => {
  await assert.rejects(command('PUT', '/clients/nobody', { algorithm: 'RS256' }), /unknown client nobody/);
  await assert.rejects(command('PUT', '/clients/web', { algorithm: 'HS256' }), /unknown algorithm HS256/);
  await assert.rejects(idToken({ client: 'nobody' }), /invalid_client/);
});

test('after a rotation that keeps the old key, old and new tokens verify', async () => {
  const old = await idToken({});
  await command('POST', '/keys/rotate', { algorithms: ['RS256'], keepOld: true });
  const fresh = await idToken({});
  assert.notEqual(decodeProtectedHeader(old).kid, decodeProtectedHeader(fresh).kid);
  await verify(old, { issuer });
  await verify(fresh, { issuer });
});

test('after a rotation that drops the old key, only new tokens verify', async () => {
  const old = await idToken({});
  await command('POST', '/keys/rotate', { keepOld: false });
  await command('POST', '/keys/drop-old');
  await assert.rejects(verify(old, { issuer }), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
  await verify(await idToken({}), { issuer });
});

test('sign-ins that run while keys rotate all succeed', async () => {
  const signedIn = command('POST', '/tokens', { subject: 'user-{n}', count: 60 });
  for (let rotation = 0; rotation < 5; rotation += 1) await command('POST', '/keys/rotate', { algorithms: ['RS256'] });
  const { id_tokens: tokens } = await signedIn;
  assert.equal(new Set(tokens.map((token) => decodeJwt(token).sub)).size, 60);
  for (const token of tokens) await verify(token, { issuer });
});

test('fetches of discovery and keys are counted', async () => {
  const { fetches: before } = await command('GET', '/state');
  await fetch(`${issuer}/jwks`);
  await fetch(`${issuer}/.well-known/openid-configuration`);
  const { fetches: now } = await command('GET', '/state');
  assert.deepEqual([now.jwks - before.jwks, now.discovery - before.discovery], [1, 1]);
});

test('an endpoint answers with the error and the delay it was told to, then works again', async () => {
  await command('PUT', '/faults', { jwks: { status: 503, retryAfter: 7, latencyMs: 200 } });
  const started = performance.now();
  const failed = await fetch(`${issuer}/jwks`);
  assert.deepEqual([failed.status, failed.headers.get('retry-after')], [503, '7']);
  assert.ok(performance.now() - started >= 195);
  assert.equal((await fetch(`${issuer}/.well-known/openid-configuration`)).status, 200);
  await command('PUT', '/faults', {});
  assert.equal((await fetch(`${issuer}/jwks`)).status, 200);
});

test('the provider goes away and comes back on the same port with the same keys', async () => {
  const token = await idToken({});
  await command('PUT', '/listening', { listening: false });
  await assert.rejects(fetch(`${issuer}/jwks`), (error) => error.cause.code === 'ECONNREFUSED');
  await command('PUT', '/listening', { listening: true });
  await verify(token, { issuer });
});

test('a sign-in without login_hint, without PKCE or with another redirect is refused', async () => {
  const complete = {
    client_id: 'web', redirect_uri: 'http://127.0.0.1/callback', response_type: 'code', scope: 'openid', login_hint: 'alice',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  };
  assert.match(await authorize(complete), /\/interaction\//);
  assert.match(await authorize({ ...complete, code_challenge: undefined, code_challenge_method: undefined }), /error=invalid_request/);
  assert.equal(await authorize({ ...complete, redirect_uri: 'http://127.0.0.1/elsewhere' }), null);
  await assert.rejects(idToken({ subject: '' }), /access_denied/);
});

test('tokens.mjs prints one token a line', async () => {
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, [`${here}/tokens.mjs`, '--issuer', issuer, '--subject', 'u{n}', '--nonce', 'n{n}', '--count', '3']);
  const claims = stdout.trim().split('\n').map((token) => decodeJwt(token));
  assert.deepEqual(claims.map(({ sub, nonce }) => [sub, nonce]), [['u0', 'n0'], ['u1', 'n1'], ['u2', 'n2']]);
  await assert.rejects(run(process.execPath, [`${here}/tokens.mjs`]), /--issuer is missing/);
});

async function command(method, path, body) {
  const response = await fetch(`${control}${path}`, { method, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function idToken(wanted) {
  const { id_tokens: [token] } = await command('POST', '/tokens', wanted);
  return token;
}

async function verify(token, expected) {
  const keys = await (await fetch(`${issuer}/jwks`)).json();
  return jwtVerify(token, createLocalJWKSet(keys), expected);
}

async function authorize(parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined));
  const response = await fetch(`${issuer}/auth?${query}`, { redirect: 'manual' });
  return response.headers.get('location');
}
