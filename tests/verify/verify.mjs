// Verifies an access token from the published keys with jose, as a resource server in Node would.

import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';

import { createRemoteJWKSet, jwtVerify } from 'jose';

const ALGORITHMS = ['ES256', 'ES384', 'EdDSA', 'RS256', 'PS256'];
const REQUIRED_CLAIMS = ['iss', 'sub', 'aud', 'exp', 'iat', 'jti'];
const FETCH_MILLISECONDS_MAX = 10_000;

const { values } = parseArgs({
  options: {
    issuer: { type: 'string' },
    audience: { type: 'string' },
    jwks: { type: 'string' },
    'token-stdin': { type: 'boolean' },
  },
});
const { issuer, audience, jwks } = values;
if (!issuer || !audience || !jwks || !values['token-stdin']) {
  console.error('usage: node verify.mjs --issuer URL --audience A --jwks URL --token-stdin');
  process.exit(2);
}

try {
  const token = (await text(process.stdin)).trim();
  const keys = createRemoteJWKSet(new URL(jwks), { timeoutDuration: FETCH_MILLISECONDS_MAX });
  const { payload } = await jwtVerify(token, keys, {
    algorithms: ALGORITHMS,
    audience,
    issuer,
    requiredClaims: REQUIRED_CLAIMS,
    typ: 'at+jwt',
  });
  console.log(JSON.stringify(payload));
} catch (error) {
  console.error(`refused: ${error.message}`);
  process.exitCode = 1;
}
