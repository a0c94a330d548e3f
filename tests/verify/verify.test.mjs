// The verifiers' own test: each accepts a good token of every algorithm and refuses it with one thing changed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';

import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';

const here = import.meta.dirname;
const tools = `${here}/../../target/tools`;
const VERIFIERS = {
  'PyJWT': [`${tools}/python/bin/python`, `${here}/verify.py`],
  'jose': [process.execPath, `${here}/verify.mjs`],
  'golang-jwt': [`${tools}/verify-go`],
};
const ALGORITHMS = ['ES256', 'ES384', 'EdDSA', 'RS256', 'PS256'];
const ISSUER = 'https://auth.corp.example';
const AUDIENCE = 'internal';

const keys = {};
let server;
let jwks;

before(async () => {
  const published = [];
  for (const alg of ALGORITHMS) {
    const { publicKey, privateKey } = await generateKeyPair(alg);
    const jwk = await exportJWK(publicKey);
    const kid = await calculateJwkThumbprint(jwk);
    keys[alg] = { alg, kid, privateKey };
    published.push({ ...jwk, kid, alg, use: 'sig' });
  }
  server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify({ keys: published }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  jwks = `http://127.0.0.1:${server.address().port}/jwks.json`;
});

after(() => server.close());

for (const [name, program] of Object.entries(VERIFIERS)) {
  for (const algorithm of ALGORITHMS) {
    test(`${name} accepts a token signed with ${algorithm} and prints its claims`, async () => {
      const { status, stdout, stderr } = await run(program, await token({ key: keys[algorithm] }));
      assert.equal(status, 0, stderr);
      assert.deepEqual(JSON.parse(stdout).groups, ['staff']);
    });
  }

  const refused = {
    'another audience': { audience: 'external' },
    'another issuer': { issuer: 'https://elsewhere.example' },
    'an expiry that has passed': { expiresIn: -120 },
    'the type of an ID token': { typ: 'JWT' },
    'no jti': { jti: undefined },
    'a kid that is not published': { kid: 'unknown' },
    'the kid of another key': { kid: () => keys.ES384.kid },
    'a changed payload': { tampered: true },
  };
  for (const [what, change] of Object.entries(refused)) {
    test(`${name} refuses a token with ${what}`, async () => {
      const { status, stdout, stderr } = await run(program, await token(change));
      assert.equal(status, 1, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, /^refused: .+\n$/);
    });
  }
}

async function token(change) {
  const { key = keys.ES256, typ = 'at+jwt', issuer = ISSUER, audience = AUDIENCE, expiresIn = 600, kid = key.kid, tampered = false } = change;
  const jti = 'jti' in change ? change.jti : 'j-1';
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, sub: 'user-1', aud: [audience], exp: now + expiresIn, iat: now - 300, jti, groups: ['staff'] };
  const signed = await new SignJWT(claims)
    .setProtectedHeader({ alg: key.alg, typ, kid: typeof kid === 'function' ? kid() : kid })
    .sign(key.privateKey);
  if (!tampered) return signed;
  const [header, , signature] = signed.split('.');
  return [header, Buffer.from(JSON.stringify({ ...claims, sub: 'user-2' })).toString('base64url'), signature].join('.');
}

async function run([command, ...first], input) {
  const child = spawn(command, [...first, '--issuer', ISSUER, '--audience', AUDIENCE, '--jwks', jwks, '--token-stdin']);
  child.stdin.end(input);
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { status, stdout, stderr };
}
