// The authorization-code flow with PKCE over HTTP, as a browser and a public client go through it together.

import { createHash, randomBytes } from 'node:crypto';

export const REDIRECT_URI = 'http://127.0.0.1/callback';
const REDIRECTS_MAX = 10;
const PARALLEL_MAX = 8;
const WAIT_MILLISECONDS_MAX = 30_000;

// `{n}` in subject and nonce becomes the number of the token, so that one call signs in many users.
export async function idTokens({ issuer, client = 'web', subject = 'alice', nonce, scope = 'openid', count = 1 }) {
  const discovery = await json(await request(`${issuer}/.well-known/openid-configuration`));
  const tokens = new Array(count);
  let next = 0;
  async function worker() {
    while (next < count) {
      const n = next;
      next += 1;
      tokens[n] = await idToken(discovery, {
        client,
        scope,
        subject: subject.replaceAll('{n}', n),
        nonce: nonce?.replaceAll('{n}', n),
      });
    }
  }
  await Promise.all(Array.from({ length: Math.min(count, PARALLEL_MAX) }, worker));
  return tokens;
}

async function idToken(discovery, { client, subject, nonce, scope }) {
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const authorize = new URL(discovery.authorization_endpoint);
  authorize.search = new URLSearchParams({
    client_id: client,
    redirect_uri: REDIRECT_URI,
    response_type: 'code',
    scope,
    state,
    login_hint: subject,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...(nonce !== undefined && { nonce }),
  });

  const answer = await browse(authorize);
  if (answer.get('error')) throw new Error(`the provider refused: ${answer.get('error')}: ${answer.get('error_description')}`);
  if (answer.get('state') !== state) throw new Error('the provider answered with another state');

  const tokens = await json(await request(discovery.token_endpoint, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: client,
      code: answer.get('code'),
      redirect_uri: REDIRECT_URI,
      code_verifier: verifier,
    }),
  }));
  return tokens.id_token;
}

// Follows redirects with cookies until one leads to the client, and returns what that one carries.
async function browse(start) {
  const cookies = new Map();
  let url = start;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await request(url, { redirect: 'manual', headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    const location = response.headers.get('location');
    const body = await response.text();
    if (location === null) throw new Error(`${url} answered ${response.status} and no redirect: ${body.slice(0, 500)}`);
    url = new URL(location, url);
    if (url.href.startsWith(REDIRECT_URI)) return url.searchParams;
  }
  throw new Error(`more than ${REDIRECTS_MAX} redirects`);
}

function request(url, options = {}) {
  return fetch(url, { ...options, signal: AbortSignal.timeout(WAIT_MILLISECONDS_MAX) });
}

async function json(response) {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text);
}
