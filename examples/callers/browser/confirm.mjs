// Has a person confirm a sign-in on Vestibule's page, in the browser: the part of an application that its own pages load.
//
// The application's server signed the person in, the answer said `requires_mfa`, and its page now has the `challenge_token`. Vestibule
// answers to the origins in `spec.mfa.webauthn.origins` of the SigninPolicy: the application's must be among them.

const CLOSED_MS = 500;

/**
 * Gives the LoginResponse, or fails with an `Error` whose `code` says why. Call it where the person pressed something: a browser opens
 * windows for nobody else. A page with `Cross-Origin-Opener-Policy: same-origin` cannot be answered; `same-origin-allow-popups` can.
 */
export function confirmSignin(vestibule, challengeToken) {
  const page = new URL('/auth/mfa', vestibule);
  // The fragment stays in the browser; a query would be in the logs of everything on the way.
  page.hash = new URLSearchParams({ challenge_token: challengeToken });
  const opened = window.open(page, 'vestibule-mfa', 'popup,width=480,height=760');
  if (!opened) return Promise.reject(failure('window_blocked'));
  return new Promise((resolve, reject) => {
    const settle = (how, what) => {
      clearInterval(watching);
      removeEventListener('message', receive);
      how(what);
    };
    const receive = ({ origin, source, data }) => {
      // Any window may send a message. This one is believed only from the window that was opened here, and while it shows Vestibule.
      if (origin !== page.origin || source !== opened || data?.type !== 'vestibule.mfa') return;
      // One that failed stays open: it tells the person what to do.
      if (data.status !== 'completed') return settle(reject, failure(data.code));
      opened.close();
      settle(resolve, data.response);
    };
    const watching = setInterval(() => opened.closed && settle(reject, failure('window_closed')), CLOSED_MS);
    addEventListener('message', receive);
  });
}

function failure(code) {
  return Object.assign(new Error(code), { code });
}
