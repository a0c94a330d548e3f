// What goes wrong on request: latency and error answers for each of the provider's endpoints, and counts of what was fetched.

const ENDPOINTS = { '/.well-known/openid-configuration': 'discovery', '/jwks': 'jwks', '/auth': 'authorize', '/token': 'token' };
const NAMES = Object.values(ENDPOINTS);
const LATENCY_MILLISECONDS_MAX = 60_000;

export class Faults {
  #faults = {};
  fetches = Object.fromEntries(NAMES.map((name) => [name, 0]));

  // `{jwks: {latencyMs, status, retryAfter}, …}`; what is not named works.
  set(faults) {
    for (const [name, { latencyMs = 0, status }] of Object.entries(faults)) {
      if (!NAMES.includes(name)) throw new RangeError(`unknown endpoint ${name}: use one of ${NAMES.join(', ')}`);
      if (!(latencyMs >= 0 && latencyMs <= LATENCY_MILLISECONDS_MAX)) throw new RangeError(`latencyMs must be 0 to ${LATENCY_MILLISECONDS_MAX}`);
      if (status !== undefined && !(status >= 400 && status <= 599)) throw new RangeError('status must be 400 to 599');
    }
    this.#faults = faults;
  }

  // True when the request was answered here.
  async apply(request, response) {
    const name = ENDPOINTS[request.url.split('?', 1)[0]];
    if (name === undefined) return false;
    this.fetches[name] += 1;
    const { latencyMs = 0, status, retryAfter } = this.#faults[name] ?? {};
    if (latencyMs > 0) await new Promise((resolve) => { setTimeout(resolve, latencyMs); });
    if (status === undefined) return false;
    if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter));
    response.writeHead(status, { 'content-type': 'application/json' }).end('{"error":"temporarily_unavailable"}');
    return true;
  }
}
