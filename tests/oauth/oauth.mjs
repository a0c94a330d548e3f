// Uses Vestibule's OAuth endpoints with openid-client, as a service in Node would. README.md says what it is told and what it tells.

import { json } from 'node:stream/consumers';

import { importPKCS8 } from 'jose';
import * as client from 'openid-client';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const SECONDS_MAX = 20;

async function authentication(task) {
  switch (task.method) {
    case 'client_secret_basic':
      return client.ClientSecretBasic(task.client_secret);
    case 'client_secret_post':
      return client.ClientSecretPost(task.client_secret);
    case 'private_key_jwt':
      return client.PrivateKeyJwt(await importPKCS8(task.private_key, task.algorithm));
    case 'service_account':
      // The token that Kubernetes keeps in a file of the pod.
      return (_server, _client, body) => {
        body.set('client_assertion', task.account_token);
        body.set('client_assertion_type', ASSERTION);
      };
    case 'none':
      return client.None();
    default:
      throw new Error(`unknown method ${task.method}`);
  }
}

async function run(task) {
  const config = await client.discovery(
    new URL(task.issuer),
    task.client_id,
    undefined,
    await authentication(task),
    { algorithm: 'oauth2', execute: [client.allowInsecureRequests], timeout: SECONDS_MAX },
  );
  // Of a policy without clients nobody learns what a token says.
  const introspect = async (token) =>
    task.method === 'none' ? {} : client.tokenIntrospection(config, token);

  const tokens = await client.genericGrantRequest(config, EXCHANGE, {
    subject_token: task.id_token,
    subject_token_type: ID_TOKEN,
  });
  const exchanged = await introspect(tokens.access_token);
  const next = await client.refreshTokenGrant(config, tokens.refresh_token);
  const refreshed = await introspect(next.access_token);
  await client.tokenRevocation(config, next.refresh_token);
  const revoked = await introspect(next.access_token);
  let refresh_refused;
  try {
    await client.refreshTokenGrant(config, next.refresh_token);
  } catch (error) {
    refresh_refused = error.error;
  }
  return { exchanged, refreshed, revoked, refresh_refused };
}

try {
  console.log(JSON.stringify(await run(await json(process.stdin))));
} catch (error) {
  console.error(`failed: ${error.status ?? ''} ${error.error ?? ''} ${error.message} ${error.cause?.message ?? ''}`);
  process.exitCode = 1;
}
