// Where sessions, grants and codes live: outside the provider object, so that replacing it (new keys) interrupts no sign-in.

const ENTRIES_MAX = 20_000;

export function memoryAdapter() {
  const entries = new Map();
  return (model) => new MemoryAdapter(model, entries);
}

class MemoryAdapter {
  #model;
  #entries;

  constructor(model, entries) {
    this.#model = model;
    this.#entries = entries;
  }

  async upsert(id, payload, expiresInSeconds) {
    const expiresAt = expiresInSeconds === undefined ? Infinity : Date.now() + expiresInSeconds * 1000;
    this.#entries.delete(this.#key(id));
    this.#entries.set(this.#key(id), { payload, expiresAt });
    // A Map keeps insertion order, so its first key is the oldest.
    while (this.#entries.size > ENTRIES_MAX) this.#entries.delete(this.#entries.keys().next().value);
  }

  async find(id) {
    const entry = this.#entries.get(this.#key(id));
    return entry && entry.expiresAt > Date.now() ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return this.#first((payload) => payload.uid === uid);
  }

  async findByUserCode(userCode) {
    return this.#first((payload) => payload.userCode === userCode);
  }

  async consume(id) {
    const payload = await this.find(id);
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.#entries.delete(this.#key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of this.#entries) {
      if (payload.grantId === grantId) this.#entries.delete(key);
    }
  }

  #key(id) {
    return `${this.#model}:${id}`;
  }

  #first(matches) {
    for (const [key, { payload, expiresAt }] of this.#entries) {
      if (key.startsWith(`${this.#model}:`) && expiresAt > Date.now() && matches(payload)) return payload;
    }
    return undefined;
  }
}
