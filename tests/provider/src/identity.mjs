// The OpenID provider itself: `oidc-provider` with two public clients and users whose claims the tests choose.
//
// Keys, claim names and a client's algorithm are fixed when a Provider is made. To change one, a new Provider takes the
// old one's place; both share the adapter, so a sign-in that began with the old one ends with the new one.

import { randomBytes } from 'node:crypto';

import Provider from 'oidc-provider';

import { memoryAdapter } from './adapter.mjs';
import { REDIRECT_URI } from './flow.mjs';
import { ALGORITHMS } from './keys.mjs';

const USERS_MAX = 10_000;
const STANDARD_CLAIMS = ['sub', 'acr', 'amr', 'auth_time', 'sid'];

export class Identity {
  #issuer;
  #keys;
  #idTokenTtl;
  #provider;
  #users = new Map();
  #clientAlgorithms = new Map([['web', 'RS256'], ['other', 'RS256']]);
  #logoutUris = new Map();
  #adapter = memoryAdapter();
  #cookieKey = randomBytes(32).toString('base64url');

  constructor({ issuer, keys, idTokenTtl }) {
    this.#issuer = issuer;
    this.#keys = keys;
    this.#idTokenTtl = idTokenTtl;
    this.rebuild();
  }

  handle(request, response) {
    const provider = this.#provider;
    if (request.url.startsWith('/interaction/')) return signIn(provider, request, response, (sub) => this.#claimsOf(sub));
    return provider.callback()(request, response);
  }

  setUser(sub, claims) {
    if (!this.#users.has(sub) && this.#users.size >= USERS_MAX) throw new RangeError(`at most ${USERS_MAX} users can be set`);
    this.#users.set(sub, claims);
    this.rebuild();
  }

  setClientAlgorithm(client, algorithm) {
    if (!this.#clientAlgorithms.has(client)) throw new RangeError(`unknown client ${client}: use web or other`);
    if (!ALGORITHMS.includes(algorithm)) throw new RangeError(`unknown algorithm ${algorithm}: use one of ${ALGORITHMS.join(', ')}`);
    this.#clientAlgorithms.set(client, algorithm);
    this.rebuild();
  }

  // From here on the client's ID tokens name the session, and `logOut` tells this URI.
  setLogoutUri(client, uri) {
    if (!this.#clientAlgorithms.has(client)) throw new RangeError(`unknown client ${client}: use web or other`);
    this.#logoutUris.set(client, uri);
    this.rebuild();
  }

  // As the provider does when a session ends: throws when the client does not answer with 200 or 204.
  async logOut({ client, subject, sid }) {
    const registered = await this.#provider.Client.find(client);
    if (!registered?.backchannelLogoutUri) throw new RangeError(`client ${client} has no logout URI`);
    await registered.backchannelLogout(subject, sid);
  }

  rebuild() {
    this.#provider = new Provider(this.#issuer, {
      adapter: this.#adapter,
      jwks: this.#keys.jwks,
      clients: [...this.#clientAlgorithms].map(([client, algorithm]) => publicClient(client, algorithm, this.#logoutUris.get(client))),
      claims: { openid: this.#claimNames() },
      conformIdTokenClaims: false,
      cookies: { keys: [this.#cookieKey] },
      enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
      features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
      // The library's own way refuses loopback, where everything is that a test starts.
      fetch: (url, { dispatcher, ...options }) => fetch(url, options),
      findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ ...this.#claimsOf(sub), sub }) }),
      interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
      loadExistingGrant: grantEverything,
      pkce: { required: () => true },
      renderError: (ctx, problem) => { ctx.body = problem; },
      ttl: { IdToken: this.#idTokenTtl, AccessToken: 600, AuthorizationCode: 60, Grant: 3600, Interaction: 600, Session: 3600 },
    });
    this.#provider.on('server_error', (_ctx, error) => console.error(error));
  }

  #claimsOf(sub) {
    return this.#users.get(sub) ?? defaultClaims(sub);
  }

  #claimNames() {
    const names = new Set([...STANDARD_CLAIMS, ...Object.keys(defaultClaims(''))]);
    for (const claims of this.#users.values()) Object.keys(claims).forEach((name) => names.add(name));
    return [...names];
  }
}

function defaultClaims(sub) {
  return {
    email: `${sub}@corp.example`,
    email_verified: true,
    preferred_username: sub,
    name: sub,
    groups: ['staff'],
    roles: ['reader'],
  };
}

function publicClient(client, algorithm, logoutUri) {
  return {
    client_id: client,
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: [REDIRECT_URI],
    id_token_signed_response_alg: algorithm,
    ...(logoutUri && { backchannel_logout_uri: logoutUri, backchannel_logout_session_required: true }),
  };
}

// Nobody is asked for consent: what these tests are about begins when the token is there.
async function grantEverything(ctx) {
  const grant = new ctx.oidc.provider.Grant({
    clientId: ctx.oidc.client.clientId,
    accountId: ctx.oidc.session.accountId,
  });
  grant.addOIDCScope('openid profile email');
  await grant.save();
  return grant;
}

// The place of a login form: whoever `login_hint` names is signed in.
async function signIn(provider, request, response, claimsOf) {
  const { params } = await provider.interactionDetails(request, response);
  const sub = params.login_hint;
  if (!sub) {
    const refusal = { error: 'access_denied', error_description: 'say who signs in with login_hint' };
    return provider.interactionFinished(request, response, refusal, { mergeWithLastSubmission: false });
  }
  const { acr, amr } = claimsOf(sub);
  const login = { accountId: sub, ...(acr && { acr }), ...(amr && { amr }) };
  // A native client's user is always asked for consent; an empty answer says yes to what `grantEverything` gave.
  return provider.interactionFinished(request, response, { login, consent: {} }, { mergeWithLastSubmission: false });
}
