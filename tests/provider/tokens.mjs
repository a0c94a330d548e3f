// Signs in at a provider through its authorization-code flow with PKCE, and prints the ID tokens, one a line.

import { parseArgs } from 'node:util';

import { idTokens } from './src/flow.mjs';

const USAGE = `usage: node tokens.mjs --issuer URL [--client web] [--subject alice] [--nonce N] [--scope openid] [--count 1]
{n} in subject and nonce becomes the number of the token.`;

try {
  const { values } = parseArgs({
    options: {
      issuer: { type: 'string' },
      client: { type: 'string' },
      subject: { type: 'string' },
      nonce: { type: 'string' },
      scope: { type: 'string' },
      count: { type: 'string', default: '1' },
    },
  });
  if (!values.issuer) throw new Error(`--issuer is missing\n${USAGE}`);
  const tokens = await idTokens({ ...values, count: Number(values.count) });
  process.stdout.write(`${tokens.join('\n')}\n`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
