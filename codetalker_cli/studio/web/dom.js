// Small helpers for elements. Text from outside only becomes text, never HTML.

/** Returns the element with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * Returns a new element.
 *
 * @param {string} tag
 * @param {object} properties Properties; `on` contains listeners, and names with a hyphen are
 *   attributes.
 * @param {...(Node|string)} children Strings become text.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'on') for (const [type, call] of Object.entries(value)) element.addEventListener(type, call);
    else if (name.includes('-') || name === 'role' || name === 'for') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Sets the text of an element if it differs, so that a selection in it is kept. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function show(element, shown) {
  element.classList.toggle('hidden', !shown);
}

/** Reports something to screen readers without moving the focus. */
export function announce(text) {
  byId('status').textContent = text;
}

/** Shows a sentence above the page that can be closed; an equal one is shown only once. */
export function alertUser(text) {
  const list = byId('alerts');
  if ([...list.children].some((one) => one.firstChild.textContent === text)) return;
  const box = make('p', { className: 'alert' }, make('span', {}, text));
  box.append(make('button', { type: 'button', on: { click: () => box.remove() } }, 'Close'));
  list.append(box);
}

/** Returns text with a period at the end, and a capital letter at the start unless it is a name. */
export function sentence(text) {
  const trimmed = String(text).trim();
  const ended = /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
  return /^[a-z]+ /.test(ended) ? ended.charAt(0).toUpperCase() + ended.slice(1) : ended;
}
