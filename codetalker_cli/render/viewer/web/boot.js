// The only script that runs from the page itself. It decompresses the modules, loads them through
// blob URLs (a page on disk cannot import modules in another way), and starts each viewer.
(async () => {
  const viewers = [...document.querySelectorAll('.codetalker-viewer')];
  const report = (text) => viewers.forEach((viewer) => {
    viewer.querySelector('.status').textContent = text;
  });

  /** Returns the bytes of a script element with base64 text, and frees the text. */
  function bytesOf(element) {
    const text = element.textContent.trim();
    element.remove();
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  async function unzip(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Loads modules, which are listed after those that they import; returns the last one. */
  async function load(modules) {
    const urls = {};
    for (const [name, source] of modules) {
      const linked = source.replace(/@@([^@]+)@@/g, (_, imported) => urls[imported]);
      urls[name] = URL.createObjectURL(new Blob([linked], { type: 'text/javascript' }));
    }
    try {
      return await import(urls[modules[modules.length - 1][0]]);
    } finally {
      for (const url of Object.values(urls)) URL.revokeObjectURL(url);
    }
  }

  const HINT = 'Please open the page in a current version of Firefox, Chrome, Edge or Safari.';

  async function start(viewer, mount) {
    const status = viewer.querySelector('.status');
    try {
      status.textContent = 'Loading…';
      const part = (kind) => [...viewer.querySelectorAll(`script[data-part="${kind}"]`)];
      const packets = await unzip(bytesOf(part('packets')[0]));
      const blob = (element) => new Blob([bytesOf(element)], { type: element.dataset.type });
      const [sound = null] = part('sound').map(blob);
      await mount(viewer, { packets, sound, films: part('film').map(blob) });
      status.remove();
    } catch (error) {
      status.textContent = `The faces cannot be shown: ${error.message}`;
    }
  }

  if (!('DecompressionStream' in window)) {
    report(`This browser is too old to show the faces. ${HINT}`);
    return;
  }
  let viewerModule;
  try {
    const code = await unzip(bytesOf(document.querySelector('script[data-part="modules"]')));
    viewerModule = await load(JSON.parse(new TextDecoder().decode(code)));
  } catch (error) { // a browser that does not know the syntax of a module, or a damaged page
    report(`The faces cannot be shown (${error.message}). ${HINT}`);
    return;
  }
  const { mount, canDraw } = viewerModule;
  if (!canDraw()) {
    report('The faces cannot be shown, because WebGL does not work in this browser. Please turn on '
      + 'hardware acceleration in its settings, or open the page in another browser.');
    return;
  }
  for (const viewer of viewers) {
    const button = viewer.querySelector('button.open');
    if (!button) await start(viewer, mount);
    else {
      button.hidden = false;
      button.addEventListener('click', () => {
        // The focus stays in the viewer, which moves it to its first button.
        viewer.tabIndex = -1;
        viewer.focus({ preventScroll: true });
        button.remove();
        start(viewer, mount);
      });
    }
  }
})();
