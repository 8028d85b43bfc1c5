// Requests to the server. The token comes once, in the address, and is then sent in a header.

const KEY = 'codetalker-studio-token';

/** An answer of the server that is an error: `code` for the page, `message` for the user. */
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Takes the token out of the address, and returns it; or returns that of this tab. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

/** Returns the response to a request, or throws `Refused` with a sentence. */
export async function request(method, path, body = undefined, signal = undefined) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
  let content = body;
  if (body !== undefined && !(body instanceof Blob)) {
    headers['Content-Type'] = 'application/json';
    content = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method, headers, body: content, signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused('gone', 'The server does not answer. Is codetalker studio still running?');
  }
  if (response.ok) return response;
  const fault = await response.json().then((json) => json.error, () => null);
  if (fault?.code === 'unauthorized') {
    throw new Refused('unauthorized', 'Please open the address that codetalker studio has printed.');
  }
  throw new Refused(fault?.code ?? 'unknown', fault?.message ?? `the server answers ${response.status}`);
}

/** Returns the JSON of a response. */
export async function ask(method, path, body = undefined, signal = undefined) {
  return (await request(method, path, body, signal)).json();
}

/** Sends a file with a report of its progress, from 0 to 1; returns the JSON of the response. */
export function upload(path, blob, report) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open('POST', path);
    sending.setRequestHeader('Authorization', `Bearer ${sessionStorage.getItem(KEY)}`);
    sending.responseType = 'json';
    sending.upload.onprogress = (event) => report(event.loaded / Math.max(1, event.total));
    sending.onerror = () => reject(new Refused('gone', 'the file could not be sent to the server'));
    sending.onload = () => {
      if (sending.status < 300) resolve(sending.response);
      else {
        const fault = sending.response?.error;
        reject(new Refused(fault?.code ?? 'unknown', fault?.message ?? `the server answers ${sending.status}`));
      }
    };
    sending.send(blob);
  });
}

/** Returns the token for the first message of a WebSocket. */
export const token = () => sessionStorage.getItem(KEY);

/** Returns a query from names and values. */
export const query = (values) => `?${new URLSearchParams(values)}`;
