// A real OpenID provider for the tests: starts, prints one line of JSON that says where it is, and serves until it is ended.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

// Standard output carries that one line and nothing else; a library's notices go to standard error.
console.info = console.error;
console.log = console.error;

const { control } = await import('./src/control.mjs');
const { Faults } = await import('./src/faults.mjs');
const { Identity } = await import('./src/identity.mjs');
const { KeyRing } = await import('./src/keys.mjs');
const { Listener } = await import('./src/listener.mjs');

const USAGE = `usage: node provider.mjs [--port N] [--host ADDRESS] [--issuer URL] [--tls-cert FILE --tls-key FILE]
                        [--id-token-ttl SECONDS] [--end-with-stdin]`;

async function main() {
  const options = parse();
  const tls = options['tls-cert'] && { cert: readFileSync(options['tls-cert']), key: readFileSync(options['tls-key']) };
  const faults = new Faults();
  let identity;
  const listener = new Listener({
    host: options.host,
    port: Number(options.port),
    tls,
    handle: (request, response) => serve({ identity, faults }, request, response),
  });
  const keys = await KeyRing.create();
  await listener.start();

  const issuer = options.issuer ?? `${tls ? 'https' : 'http'}://${options.host}:${listener.port}`;
  identity = new Identity({ issuer, keys, idTokenTtl: Number(options['id-token-ttl']) });
  const controlListener = new Listener({ host: '127.0.0.1', port: 0, handle: control({ issuer, keys, identity, faults, listener }) });
  await controlListener.start();

  // A test that is killed cannot end its provider, but its end of the pipe closes.
  if (options['end-with-stdin']) process.stdin.on('close', () => process.exit(0)).resume();
  process.stdout.write(`${JSON.stringify({ issuer, control: `http://127.0.0.1:${controlListener.port}` })}\n`);
}

function parse() {
  try {
    return parseArgs({
      options: {
        port: { type: 'string', default: '0' },
        host: { type: 'string', default: '127.0.0.1' },
        issuer: { type: 'string' },
        'tls-cert': { type: 'string' },
        'tls-key': { type: 'string' },
        'id-token-ttl': { type: 'string', default: '3600' },
        'end-with-stdin': { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    return process.exit(2);
  }
}

async function serve({ identity, faults }, request, response) {
  try {
    if (await faults.apply(request, response)) return;
    await identity.handle(request, response);
  } catch (error) {
    console.error(error);
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
}

await main();
