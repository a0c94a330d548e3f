// The control endpoint: what a test tells the provider to do. Loopback only, and no part of what is under test.

import { idTokens } from './flow.mjs';

const BODY_BYTES_MAX = 1024 * 1024;
const TOKENS_MAX = 10_000;

export function control({ issuer, keys, identity, faults, listener }) {
  const state = () => ({
    issuer,
    port: listener.port,
    listening: listener.listening,
    signing: keys.signingKids,
    published: keys.publishedKids,
    fetches: faults.fetches,
  });

  const commands = {
    'GET /state': () => state(),
    'POST /keys/rotate': async ({ algorithms, keepOld }) => {
      await keys.rotate({ algorithms, keepOld });
      identity.rebuild();
      return state();
    },
    'POST /keys/drop-old': () => {
      keys.dropOld();
      identity.rebuild();
      return state();
    },
    'PUT /clients/{}': ({ algorithm, logoutUri }, client) => {
      if (algorithm !== undefined) identity.setClientAlgorithm(client, algorithm);
      if (logoutUri !== undefined) identity.setLogoutUri(client, logoutUri);
    },
    'POST /logout': (body) => identity.logOut(body),
    'PUT /users/{}': (claims, sub) => identity.setUser(sub, claims),
    'PUT /faults': (body) => faults.set(body),
    'PUT /listening': ({ listening }) => (listening ? listener.start() : listener.stop()),
    'POST /tokens': async (body) => ({ id_tokens: await idTokens({ ...bounded(body), issuer }) }),
  };

  // One change at a time: of two rotations at once, each would think that the other's key is the old one.
  let last = Promise.resolve();
  function inTurn(change) {
    const turn = last.then(change);
    last = turn.catch(() => {});
    return turn;
  }

  return async function handle(request, response) {
    try {
      const body = await readJson(request);
      const { name, argument } = parse(request);
      const command = commands[name];
      if (!command) return reply(response, 404, { error: `no such command: ${name}` });
      const run = async () => (await command(body, argument)) ?? {};
      // A sign-in changes nothing here, and must be able to overlap with a rotation.
      return reply(response, 200, name === 'POST /tokens' ? await run() : await inTurn(run));
    } catch (error) {
      return reply(response, 400, { error: [error.message, error.cause?.code].filter(Boolean).join(': ') });
    }
  };
}

// `PUT /users/alice` is the command `PUT /users/{}` with the argument `alice`.
function parse({ method, url }) {
  const [, kind, argument] = /^\/(users|clients)\/([^/]+)$/.exec(url) ?? [];
  if (kind) return { name: `${method} /${kind}/{}`, argument: decodeURIComponent(argument) };
  return { name: `${method} ${url}` };
}

function bounded(body) {
  const { count = 1 } = body;
  if (!(Number.isInteger(count) && count >= 1 && count <= TOKENS_MAX)) throw new RangeError(`count must be 1 to ${TOKENS_MAX}`);
  return body;
}

async function readJson(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new RangeError(`a command has at most ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return bytes === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString());
}

function reply(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
