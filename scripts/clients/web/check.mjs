// Opens the exports in a folder with the glTF validator and with three.js in headless Chromium, and
// compares them with NAME.json and NAME.npy, which contain what each file NAME must show.
//
//     node check.mjs FOLDER
//
// Prints one line a check and exits with 1 if one fails. Writes NAME.TIME.png next to each .glb.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import validator from 'gltf-validator';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const SECONDS = 1e-4; // float32 times of a motion of 10 minutes
const PICTURE = [1200, 900];

let failed = 0;

function check(file, what, good, detail = '') {
  if (!good) failed += 1;
  console.log(`${good ? 'ok' : 'FAILED'}  ${file}: ${what}${detail && ` (${detail})`}`);
}

/** Reads a .npy file of little-endian float32. */
function readNpy(file) {
  const bytes = fs.readFileSync(file);
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.subarray(10, start).toString('latin1');
  if (!header.includes("'<f4'")) throw new Error(`${file}: not float32`);
  const shape = header.match(/\(([\d, ]+)\)/)[1].split(',').filter(Boolean).map(Number);
  return { shape, values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + start)) };
}

function millimeters(positions, expected, frame) {
  const [, count] = expected.shape;
  if (positions.length !== 3 * count) return Infinity;
  let largest = 0;
  for (let i = 0; i < count; i++) {
    const at = 3 * (frame * count + i);
    const offset = [0, 1, 2].map((c) => positions[3 * i + c] - expected.values[at + c]);
    largest = Math.max(largest, Math.hypot(...offset));
  }
  return 1e3 * largest;
}

function comparePositions(file, reference, expected, frames) {
  const errors = frames.map((frame, k) => millimeters(frame.positions, expected, k));
  const worst = Math.max(...errors);
  check(file, `vertices in ${frames.length} frames`, worst <= reference.tolerance_mm,
    `${worst.toFixed(4)} mm of ${reference.tolerance_mm} mm`);
}

function compareDuration(file, reference, duration) {
  const wanted = (reference.n_frames - 1) / reference.fps;
  check(file, 'duration', Math.abs(duration - wanted) <= SECONDS, `${duration} s`);
}

/** The largest difference between two lists of lists of numbers. */
function distance(found, wanted) {
  const off = found.flatMap((row, i) => row.map((x, k) => Math.abs(x - wanted[i][k])));
  return off.some(Number.isNaN) ? Infinity : Math.max(0, ...off);
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const CHECKS = {
  async '.glb'(page, file, folder, reference, expected) {
    const times = reference.frames.map((k) => k / reference.fps);
    const found = await page.evaluate(([url, t]) => openGlb(url, t), [`/files/${file}`, times]);
    check(file, 'morph names', same(found.names, reference.names), `${found.names.length} names`);
    check(file, 'materials', same(found.materials, reference.materials), found.materials.join(' '));
    compareDuration(file, reference, found.duration);
    comparePositions(file, reference, expected, found.frames);
    check(file, 'all parts move together', found.frames.every((frame) => frame.equal));
    if (reference.rotations) {
      const off = distance(found.frames.map((frame) => frame.turned), reference.rotations);
      check(file, 'head rotation', off < 1e-5, `off by ${off.toExponential(1)}`);
    }
    for (const k of reference.pictures ?? []) {
      const url = await page.evaluate(([t, w, h]) => drawGlb(t, w, h),
        [k / reference.fps, ...PICTURE]);
      fs.writeFileSync(path.join(folder, `${file}.${k}.png`), Buffer.from(url.split(',')[1], 'base64'));
    }
  },

  async '.vrma'(page, file, folder, reference) {
    const times = reference.frames.map((k) => k / reference.fps);
    const found = await page.evaluate(([url, t]) => openVrma(url, t), [`/files/${file}`, times]);
    compareDuration(file, reference, found.duration);
    for (const kind of ['preset', 'custom']) {
      const names = Object.keys(reference[kind]).sort();
      check(file, `${kind} expressions`, same([...found[kind]].sort(), names),
        `${names.length} names`);
      const off = distance(found.frames.map((frame) => names.map((name) => frame.weights[name])),
        reference.frames.map((_, i) => names.map((name) => reference[kind][name][i])));
      check(file, `${kind} weights of an avatar`, off < 1e-5, `off by ${off.toExponential(1)}`);
    }
    check(file, 'hips of the rest pose', found.restHips[1] > 0.5, `${found.restHips}`);
    const still = reference.frames.map(() => [0, 0, 0, 1]);
    const off = distance(found.frames.map((frame) => frame.head), reference.rotations ?? still);
    check(file, 'head of an avatar', off < 1e-5, `off by ${off.toExponential(1)}`);
    const ahead = reference.frames.map(() => [0, 0]);
    const gaze = distance(found.frames.map((frame) => frame.gaze), reference.gaze ?? ahead);
    check(file, 'gaze of an avatar', gaze < 1e-3, `off by ${gaze.toExponential(1)} degrees`);
  },

  async '.mdd'(page, file, folder, reference, expected) {
    const obj = file.replace(/\.mdd$/, '.obj');
    const found = await page.evaluate(([a, b, k]) => openMdd(a, b, k),
      [`/files/${file}`, `/files/${obj}`, reference.frames]);
    check(file, 'frames', found.n_frames === reference.n_frames, `${found.n_frames}`);
    compareDuration(file, reference, found.duration);
    comparePositions(file, reference, expected, found.frames);
  },

  async '.usdz'(page, file, folder, reference, expected) {
    const found = await page.evaluate((url) => openUsd(url), `/files/${file}`);
    check(file, 'opens', found.meshes.length > 0, `${found.meshes.length} meshes`);
  },
};

async function validate(file, bytes) {
  const { issues } = await validator.validateBytes(new Uint8Array(bytes), { maxIssues: 50 });
  // The validator does not know the extension of .vrma, and its nodes have no content by design.
  const expected = ['UNSUPPORTED_EXTENSION', 'NODE_EMPTY'];
  const serious = issues.messages.filter((one) =>
    one.severity < 2 || !(file.endsWith('.vrma') && expected.includes(one.code)));
  const detail = serious.slice(0, 3).map((one) => `${one.code} ${one.pointer}`).join('; ');
  check(file, 'glTF validator', !serious.length, detail || `${issues.numInfos} infos`);
}

/** Serves the files of a folder, and an empty page, to this machine. */
async function serve(folder) {
  const server = http.createServer((request, response) => {
    const name = path.basename(decodeURIComponent(request.url));
    response.setHeader('content-type', 'text/html');
    if (!name) response.end('<!doctype html><body></body>');
    else fs.createReadStream(path.join(folder, name)).on('error', () => response.end()).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function openPage(port) {
  const bundle = await build({
    entryPoints: [path.join(HERE, 'page.js')], bundle: true, format: 'iife', write: false,
  });
  const found = BROWSERS.flatMap((name) => (process.env.PATH ?? '').split(path.delimiter)
    .map((directory) => path.join(directory, name))).find((file) => fs.existsSync(file));
  if (!found) {
    console.error(`no browser found: install one of ${BROWSERS.join(', ')}`);
    process.exit(2);
  }
  const browser = await chromium.launch({
    executablePath: found,
    args: ['--headless=new', '--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader'],
  });
  const page = await browser.newPage();
  page.on('console', (message) => ['warning', 'error'].includes(message.type())
    && !message.text().includes('GPU stall') && console.error(`browser: ${message.text()}`));
  page.on('pageerror', (error) => console.error(`browser: ${error}`));
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.addScriptTag({ content: bundle.outputFiles[0].text });
  return [browser, page];
}

const folder = path.resolve(process.argv[2]);
const names = fs.readdirSync(folder).sort();
const files = names.filter((name) => CHECKS[path.extname(name)] && names.includes(`${name}.json`));
if (!files.length) {
  console.error(`${folder}: no exports with a reference`);
  process.exit(2);
}
const server = await serve(folder);
const [browser, page] = await openPage(server.address().port);
try {
  for (const file of files) {
    const whole = path.join(folder, file);
    if (/\.(glb|vrma)$/.test(file)) await validate(file, fs.readFileSync(whole));
    const reference = JSON.parse(fs.readFileSync(`${whole}.json`, 'utf8'));
    const expected = fs.existsSync(`${whole}.npy`) ? readNpy(`${whole}.npy`) : null;
    try {
      await CHECKS[path.extname(file)](page, file, folder, reference, expected);
    } catch (error) {
      check(file, 'opens in three.js', false, String(error).split('\n')[0]);
    }
  }
} finally {
  await browser.close();
  server.close();
}
process.exit(failed ? 1 : 0);
