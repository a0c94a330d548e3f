// The page on which a person completes an MFA challenge. An application opens it in a window of its own, with the challenge token in
// the fragment, and gets the answer by `postMessage`.
//
// Who may have the answer: the window that opened this one, and only while it shows an origin that the server names for this challenge
// (`spec.mfa.webauthn.origins` of the policy). The browser holds to that, since each message is addressed to one origin; an address to
// return to, which anybody could write into a link, does not exist. The page listens to no messages, and what it knows it forgets with
// its window.

/** `type` of every message to the application. */
const MESSAGE = 'vestibule.mfa';
/** For the server's answer, which may have to wait for a mail server. */
const ANSWER_MS_MAX = 20_000;
/** Between two codes, where the server does not say. */
const SEND_AGAIN_SECONDS = 30;
/** Until the next code may be sent; whoever has to wait longer made too many tries. */
const WAIT_SECONDS_MAX = 120;
const MINUTE_MS = 60_000;
/** Codes that are sent when they are asked for. */
const SENT = ['sms_otp', 'email_otp'];
const METHODS = ['webauthn', 'totp', ...SENT, 'recovery_code'];
const ENROLLABLE = ['webauthn', 'totp'];
const PASSKEY_PROBLEMS = {
  InvalidStateError: 'problem_passkey_known',
  NotSupportedError: 'problem_passkey_unusable',
  SecurityError: 'problem_passkey_unusable',
};

/** An answer that is not 2xx, or none at all. */
class Refused extends Error {
  constructor(code, { status = 0, retryAfterSeconds = 0 } = {}) {
    super(code);
    Object.assign(this, { code, status, retryAfterSeconds });
  }
}

const application = window.opener;
const token = takeToken();
/** What the server says of the challenge. */
let challenge = { methods: [], enrollable: [], origins: [] };
/** The method whose code is being entered. */
let method;
/** The authenticator app that is being set up. */
let factor;
/** The answer, while the person keeps the recovery codes. */
let answer;
let busy = false;
let over = false;
const timers = { end: 0, warning: 0, sendAgain: 0 };

listen();
if (token === null || application === null) end('alone');
else act(describe);

/**
 * Out of the address at once, where eyes, extensions and bookmarks would find it. A reload, as phones do to a page that was away
 * while a message was read, finds it in the state of this entry of the history.
 */
function takeToken() {
  const sent = new URLSearchParams(location.hash.slice(1)).get('challenge_token');
  const kept = sent ?? history.state?.challengeToken ?? null;
  history.replaceState({ challengeToken: kept }, '', location.pathname + location.search);
  return kept;
}

async function describe() {
  show('loading');
  const described = await call('challenge', {});
  const usable = (names, known) => (names ?? []).filter((name) => known.includes(name) && (name !== 'webauthn' || canUsePasskeys()));
  challenge = {
    ...described,
    methods: usable(described.methods, METHODS),
    enrollable: usable(described.enrollable, ENROLLABLE),
    origins: described.origins ?? [],
  };
  const endsAt = Date.now() + challenge.expires_in * 1000;
  // What is under way by then, the server decides.
  timers.end = setTimeout(() => busy || end('ended', 'mfa_challenge_invalid'), endsAt - Date.now());
  const warnsAt = endsAt - MINUTE_MS;
  if (warnsAt > Date.now()) timers.warning = setTimeout(() => say('minute_left'), warnsAt - Date.now());
  const until = element('until');
  until.textContent = until.dataset.time.replace('{time}', clock(endsAt));
  until.hidden = false;
  for (const reason of document.querySelectorAll('[data-reason]')) reason.textContent = challenge.mfa_check_reason ?? '';
  const [only, ...others] = [...challenge.methods, ...challenge.enrollable];
  // Nothing is sent that nobody asked for.
  if (challenge.methods.includes(only) && others.length === 0 && !SENT.includes(only)) return choose(only);
  overview();
}

/** Every way that there is. */
function overview() {
  const { methods, enrollable } = challenge;
  if (methods.length > 0) return show('choose', enrollable.length > 0 ? [...methods, 'enroll'] : methods);
  if (enrollable.length > 0) return enroll();
  end('unavailable', 'mfa_unavailable');
}

function enroll() {
  show('enroll', challenge.enrollable);
}

async function choose(name) {
  method = name;
  if (name === 'webauthn') return show('passkey');
  if (SENT.includes(name)) return send();
  ask();
}

async function send() {
  try {
    const sent = await call('challenge', { method });
    ask(sent.sent_to);
    say('code_sent');
    countDown(sent.resend_in ?? SEND_AGAIN_SECONDS);
  } catch (error) {
    // One was sent a moment ago, before the page was loaded anew for one, and is good still.
    if (error.code !== 'mfa_locked' || error.retryAfterSeconds > WAIT_SECONDS_MAX) throw error;
    ask();
    say('code_sent_before');
    countDown(error.retryAfterSeconds);
  }
}

function ask(sentTo) {
  const code = element('code');
  code.value = '';
  code.inputMode = method === 'recovery_code' ? 'text' : 'numeric';
  code.autocomplete = method === 'recovery_code' ? 'off' : 'one-time-code';
  for (const hint of document.querySelectorAll('[data-sent-to]')) {
    if (sentTo || !hint.textContent) hint.textContent = hint.dataset.sentTo.replace('{sent_to}', sentTo ?? text('you'));
  }
  show('code', [method], code);
}

/** The button keeps the focus while it waits, which `disabled` would take away. */
function countDown(seconds) {
  const button = element('send-again');
  clearInterval(timers.sendAgain);
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) clearInterval(timers.sendAgain);
    button.ariaDisabled = left > 0 ? 'true' : 'false';
    button.textContent = left > 0 ? button.dataset.waiting.replace('{seconds}', left) : button.dataset.ready;
  };
  timers.sendAgain = setInterval(tick, 1000);
  tick();
}

async function verifyCode() {
  const code = typed('code');
  if (code) finish(await call('verify', { method, code, remember_device: element('code-remember').checked }));
}

async function usePasskey() {
  say('passkey_waiting');
  const { options } = await call('challenge', { method: 'webauthn' });
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const credential = (await navigator.credentials.get({ publicKey })).toJSON();
  finish(await call('verify', { method: 'webauthn', credential, remember_device: element('passkey-remember').checked }));
}

async function enrollTotp() {
  factor = await call('enrollments/totp', {});
  // A picture in `img` runs nothing, whatever is in it.
  element('totp-qr').src = `data:image/svg+xml,${encodeURIComponent(factor.qr_svg)}`;
  element('totp-secret').value = factor.secret.match(/.{1,4}/g).join(' ');
  if (factor.otpauth_uri.startsWith('otpauth://')) element('totp-open').href = factor.otpauth_uri;
  element('enroll-totp-code').value = '';
  show('enroll-totp');
}

async function confirmTotp() {
  const code = typed('enroll-totp-code');
  if (code) finish(await call('enrollments/totp/confirm', { id: factor.id, code }));
}

async function enrollPasskey() {
  say('passkey_waiting');
  const { id, options } = await call('enrollments/webauthn', {});
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const credential = (await navigator.credentials.create({ publicKey })).toJSON();
  finish(await call('enrollments/webauthn/confirm', { id, credential }));
}

/** Recovery codes are for the person alone: they are shown first, and the application never sees them. */
function finish({ recovery_codes: codes, ...response }) {
  over = true;
  forget();
  answer = response;
  if (!codes?.length) return handOver();
  element('codes').replaceChildren(...codes.map((code) => Object.assign(document.createElement('li'), { textContent: code })));
  show('codes');
}

function handOver() {
  tell({ status: 'completed', response: answer });
  answer = undefined;
  show('done');
}

function end(view, code) {
  if (over) return;
  over = true;
  forget();
  if (code) tell({ status: 'failed', code });
  show(view);
}

/** The challenge is no more, or nothing that one could do with it. */
function forget() {
  for (const timer of Object.values(timers)) clearTimeout(timer);
  history.replaceState(null, '');
  element('until').hidden = true;
  // It loads the page anew, which has nothing left to show.
  element('language').hidden = true;
}

/** The browser delivers it where the opener's origin is the one named, and drops the others. */
function tell(message) {
  for (const origin of challenge.origins) application.postMessage({ type: MESSAGE, ...message }, origin);
}

async function call(path, body) {
  // Whoever waits for the answer has gone: a code would be used up, and a session made, for nobody.
  if (application.closed) throw new Refused('alone');
  let response;
  try {
    response = await fetch(new URL(path, import.meta.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'accept-language': document.documentElement.lang },
      body: JSON.stringify({ challenge_token: token, ...body }),
      credentials: 'omit',
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
  } catch {
    throw new Refused('offline');
  }
  const members = await response.json().catch(() => ({}));
  if (response.ok) return members;
  throw new Refused(members.code, { status: response.status, retryAfterSeconds: Number(response.headers.get('retry-after')) });
}

/** One thing at a time: pressing twice does it once. */
async function act(what, ...how) {
  if (busy || over) return;
  busy = true;
  element('main').dataset.busy = '';
  complain();
  try {
    await what(...how);
  } catch (error) {
    explain(error);
  }
  delete element('main').dataset.busy;
  busy = false;
}

/** What a person can do about it. */
function explain(error) {
  say();
  if (error instanceof DOMException) return complain(PASSKEY_PROBLEMS[error.name] ?? 'problem_passkey_cancelled');
  switch (error.code) {
    case 'mfa_code_invalid':
      return field() ? complain('problem_code_invalid', field()) : complain('problem_passkey_refused');
    case 'mfa_challenge_invalid':
      return end('ended', error.code);
    case 'mfa_locked':
      element('locked-hint').textContent = element('locked-hint').dataset.time.replace('{time}', clock(Date.now() + error.retryAfterSeconds * 1000));
      return end('locked', error.code);
    case 'mfa_method_unavailable':
    case 'mfa_unavailable':
      // Of this method; the others go on.
      challenge.methods = challenge.methods.filter((name) => name !== method);
      overview();
      return over || complain('problem_method_unavailable');
    case 'alone':
      return end('alone');
    case 'rate_limited':
      return hitch('problem_wait');
    case 'offline':
      return hitch('problem_offline');
    default:
      // Of the account or its provider, which trying again does not change.
      if (error.status === 403) return end('refused', error.code);
      if (!(error instanceof Refused)) console.error(error);
      return hitch('problem_server');
  }
}

/** It passes; what was pressed can be pressed again. */
function hitch(key) {
  if (!document.querySelector('[data-view="loading"]').hidden) show('failed');
  complain(key);
}

function canUsePasskeys() {
  const credential = window.PublicKeyCredential;
  return Boolean(credential?.parseCreationOptionsFromJSON && credential.parseRequestOptionsFromJSON && credential.prototype.toJSON);
}

/** What is in the field, without the blanks that make a code easy to read; nothing, and a word about it, when it is empty. */
function typed(id) {
  const code = element(id).value.replace(/\s/g, '');
  if (!code) complain('problem_code_empty', element(id));
  return code;
}

/** The view's field for a code, if it has one. */
function field() {
  return document.querySelector('[data-view]:not([hidden]) input:not([type="checkbox"])');
}

/** Shows one view, of it what concerns these names, and moves the focus there: to its heading, unless to something better. */
function show(name, names = [], focus = undefined) {
  complain();
  say();
  for (const view of document.querySelectorAll('[data-view]')) view.hidden = view.dataset.view !== name;
  const view = document.querySelector(`[data-view="${name}"]`);
  for (const part of view.querySelectorAll('[data-method]')) {
    part.hidden = !part.dataset.method.split(' ').some((one) => names.includes(one));
  }
  // Best first is the server's order.
  view.querySelector('[data-choices]')?.append(...names.map((one) => view.querySelector(`li[data-method="${one}"]`)).filter(Boolean));
  const ways = challenge.methods.length + challenge.enrollable.length;
  for (const part of view.querySelectorAll('[data-if-choice]')) part.hidden = ways < 2;
  for (const part of view.querySelectorAll('[data-if-methods]')) part.hidden = challenge.methods.length === 0;
  const heading = view.querySelector('h1');
  document.title = heading.innerText;
  (focus ?? heading).focus();
}

function complain(key, about) {
  for (const input of document.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
  element('problem').textContent = key ? text(key) : '';
  if (!about) return;
  about.ariaInvalid = 'true';
  about.focus();
  about.select();
}

function say(key) {
  element('news').textContent = key ? text(key) : '';
}

function text(key) {
  return document.querySelector(`[data-text="${key}"]`).textContent;
}

function clock(time) {
  const today = new Date(time).toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' };
  return new Intl.DateTimeFormat(document.documentElement.lang, style).format(time);
}

function element(id) {
  return document.getElementById(id);
}

function codesAsText() {
  return [...document.querySelectorAll('#codes li')].map((code) => `${code.textContent}\n`).join('');
}

async function copyCodes() {
  try {
    await navigator.clipboard.writeText(codesAsText());
    say('codes_copied');
  } catch {
    say('codes_not_copied');
  }
}

function downloadCodes() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([codesAsText()], { type: 'text/plain' }));
  link.download = element('codes-download').dataset.file;
  link.click();
  // The browser has begun to read it by the next minute.
  setTimeout(() => URL.revokeObjectURL(link.href), MINUTE_MS);
  say('codes_downloaded');
}

function listen() {
  const on = (id, event, what) => element(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    what();
  });
  on('code-form', 'submit', () => act(verifyCode));
  on('passkey-use', 'click', () => act(usePasskey));
  on('enroll-totp', 'click', () => act(enrollTotp));
  on('enroll-totp-form', 'submit', () => act(confirmTotp));
  on('enroll-passkey-use', 'click', () => act(enrollPasskey));
  on('send-again', 'click', () => element('send-again').ariaDisabled === 'true' || act(send));
  on('codes-copy', 'click', copyCodes);
  on('codes-download', 'click', downloadCodes);
  on('codes-print', 'click', () => window.print());
  on('codes-form', 'submit', () => (element('codes-kept').checked ? handOver() : complain('codes_keep_first', element('codes-kept'))));
  on('language', 'click', () => {
    location.assign(`${element('language').href}#${new URLSearchParams({ challenge_token: token })}`);
  });
  for (const button of document.querySelectorAll('[data-choose]')) {
    button.addEventListener('click', () => act(choose, button.dataset.choose));
  }
  const views = { again: describe, choose: overview, enroll, 'enroll-passkey': () => show('enroll-passkey') };
  for (const button of document.querySelectorAll('[data-go]')) {
    button.addEventListener('click', () => act(views[button.dataset.go]));
  }
  for (const button of document.querySelectorAll('[data-close]')) button.addEventListener('click', () => window.close());
  // Another challenge in the same window changes only the fragment, which loads nothing by itself.
  window.addEventListener('hashchange', () => location.reload());
}
