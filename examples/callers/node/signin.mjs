#!/usr/bin/env node
// Signs a person in at Vestibule with the built-in fetch: signin.mjs URL [PROVIDER], with the ID token on standard input.

import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ATTEMPTS_MAX = 3;
const WAIT_SECONDS_MAX = 5;
const TIMEOUT_MS = 10_000;

// An error of Vestibule: `code` is stable, and `requestId` finds the reason in its audit trail.
export class Refused extends Error {
  constructor(status, problem) {
    const { code = 'unknown', detail = '', request_id: requestId = 'unknown' } = problem ?? {};
    super(`${code}: ${detail} (request ${requestId})`);
    Object.assign(this, { status, code, requestId });
  }
}

// Gives the answer, of which the caller looks at `requires_mfa` and `must_change_password` before the tokens.
// `person` has the headers that say whom the request is for: rate limits and risk are judged by the person's address, not by this
// machine's.
export async function signIn(url, idToken, { provider, person = {} } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await fetch(`${url}/auth/id-token/signin`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...person },
      body: JSON.stringify({ id_token: idToken, provider }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (answer.ok) return answer.json();
    // Something between here and Vestibule may have answered without JSON.
    const problem = await answer.json().catch(() => null);
    const wait = retryAfter(answer);
    if (![429, 503].includes(answer.status) || attempt === ATTEMPTS_MAX || wait > WAIT_SECONDS_MAX) {
      throw new Refused(answer.status, problem);
    }
    // An outage or a limit ends by itself.
    await sleep(wait * 1000);
  }
}

function retryAfter(answer) {
  const seconds = answer.headers.get('retry-after') ?? '';
  return /^\d+$/.test(seconds) ? Number(seconds) : 1;
}

async function main([url, provider]) {
  if (!url) {
    console.error('usage: signin.mjs URL [PROVIDER] <id-token');
    return 1;
  }
  const { USER_ADDRESS, USER_AGENT, USER_LANGUAGE } = process.env;
  const headers = { 'X-Forwarded-For': USER_ADDRESS, 'User-Agent': USER_AGENT, 'Accept-Language': USER_LANGUAGE };
  const person = Object.fromEntries(Object.entries(headers).filter(([, value]) => value));
  let answer;
  try {
    answer = await signIn(url, (await text(process.stdin)).trim(), { provider, person });
  } catch (error) {
    if (!(error instanceof Refused)) {
      console.error(`cannot reach ${url}: ${error.cause?.message ?? error.message}`);
      return 2;
    }
    console.error(error.message);
    return error.status === 429 || error.status >= 500 ? 2 : 1;
  }
  if (answer.requires_mfa) {
    console.log(`a second factor is needed (${answer.required_mfa_methods.join(', ')}): ${answer.mfa_check_reason}`);
    return 3;
  }
  if (answer.must_change_password) {
    console.log('the password must be changed first');
    return 4;
  }
  console.log(`signed in as ${answer.user.username ?? answer.user.id}, for ${answer.expires_in} s`);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main(process.argv.slice(2));
