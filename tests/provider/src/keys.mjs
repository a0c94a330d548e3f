// The provider's keys: for each algorithm one that signs, and those that are still published after it was replaced.

import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';

import { calculateJwkThumbprint } from 'jose';

const generate = promisify(generateKeyPair);

export const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];

// A test that rotates for ever must not grow the JWKS for ever: the oldest replaced keys go first.
const KEPT_KEYS_MAX = 32;

export class KeyRing {
  #signing = new Map();
  #kept = [];

  static async create() {
    const ring = new KeyRing();
    await ring.rotate({ algorithms: ALGORITHMS, keepOld: false });
    return ring;
  }

  async rotate({ algorithms = ALGORITHMS, keepOld = true }) {
    const fresh = await Promise.all(algorithms.map(generateJwk));
    for (const [index, algorithm] of algorithms.entries()) {
      const replaced = this.#signing.get(algorithm);
      if (replaced && keepOld) this.#kept.unshift(replaced);
      this.#signing.set(algorithm, fresh[index]);
    }
    this.#kept.length = Math.min(this.#kept.length, KEPT_KEYS_MAX);
  }

  dropOld() {
    this.#kept = [];
  }

  // Private keys; `oidc-provider` signs with the first that fits, so the signing ones come first.
  get jwks() {
    return { keys: [...this.#signing.values(), ...this.#kept] };
  }

  get signingKids() {
    return Object.fromEntries([...this.#signing].map(([algorithm, jwk]) => [algorithm, jwk.kid]));
  }

  get publishedKids() {
    return this.jwks.keys.map((jwk) => jwk.kid);
  }
}

async function generateJwk(algorithm) {
  const { privateKey } = await generateFor(algorithm);
  const jwk = privateKey.export({ format: 'jwk' });
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: algorithm, use: 'sig' };
}

function generateFor(algorithm) {
  switch (algorithm) {
    case 'RS256':
    case 'PS256':
      return generate('rsa', { modulusLength: 2048 });
    case 'ES256':
      return generate('ec', { namedCurve: 'P-256' });
    case 'EdDSA':
      return generate('ed25519');
    default:
      throw new RangeError(`unknown algorithm ${algorithm}: use one of ${ALGORITHMS.join(', ')}`);
  }
}
