// The provider's socket, which can be closed and opened again on the same port: to its callers the provider is then gone.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';

export class Listener {
  #server;
  #address;

  constructor({ host, port, tls, handle }) {
    this.#address = { host, port };
    this.#server = tls ? https.createServer(tls, handle) : http.createServer(handle);
  }

  get port() {
    return this.#address.port;
  }

  get listening() {
    return this.#server.listening;
  }

  async start() {
    if (this.#server.listening) return;
    this.#server.listen(this.#address);
    await once(this.#server, 'listening');
    this.#address.port = this.#server.address().port;
  }

  async stop() {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}
