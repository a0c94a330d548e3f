// `vestibule serve` as a process, with manifests and a data directory of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const root = join(import.meta.dirname, '../..');
const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/vestibule');
const STARTS_MS_MAX = 30_000;

/** Where the browser finds the service: the name, and no port of it, is what passkeys and origins are bound to. */
export const ISSUER = 'http://auth.corp.localhost';
/** The one application that the policy lets have the answer. */
export const APPLICATION = 'http://app.corp.localhost';

export const policy = (mfa = {}) => ({
  apiVersion: 'vestibule.dev/v1alpha1',
  kind: 'SigninPolicy',
  metadata: { name: 'default', namespace: 'auth' },
  spec: { token: { issuer: ISSUER, audiences: ['internal'] }, signing: { managed: { algorithm: 'ES256' } }, mfa },
});

export const provider = (issuer) => ({
  apiVersion: 'vestibule.dev/v1alpha1',
  kind: 'OidcProvider',
  metadata: { name: 'corp', namespace: 'auth' },
  spec: { issuer, audiences: ['web'] },
});

/** Starts it and waits until it is ready. */
export async function serve(manifests) {
  if (!existsSync(program)) throw new Error(`${program} is missing: \`cargo build --workspace\` makes it, and \`make test\` does that first`);
  const folder = await mkdtemp(join(tmpdir(), 'vestibule-page-'));
  await writeFile(join(folder, 'manifests.yaml'), manifests.map((manifest) => JSON.stringify(manifest, null, 2)).join('\n---\n'));
  const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('VESTIBULE_'));
  const listen = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--plain-http', '--allow-http-issuers'];
  const child = spawn(program, ['serve', '--manifests', folder, '--data-dir', join(folder, 'data'), ...listen], {
    env: Object.fromEntries(environment),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log = [];
  const ended = once(child, 'exit');
  const { address, admin } = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      const said = JSON.parse(line);
      if (said.message === 'serving') resolve(said);
    });
    ended.then(() => reject(new Error(`vestibule ended at its start:\n${log.join('\n')}`)));
  });
  const deadline = Date.now() + STARTS_MS_MAX;
  while (!(await fetch(`http://${admin}/readyz`)).ok) {
    if (Date.now() > deadline) throw new Error(`vestibule did not become ready:\n${log.join('\n')}`);
  }
  const url = `http://${address}`;
  return {
    url,
    log,
    port: Number(new URL(url).port),
    async post(path, body, headers = {}) {
      const answer = await fetch(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      return { status: answer.status, body: await answer.json() };
    },
    async stop() {
      child.kill();
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}
