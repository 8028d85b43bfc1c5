// Starts the page.

import { ask, query, takeToken } from './api.js';
import { alertUser, byId, sentence } from './dom.js';
import { Characters } from './characters.js';
import { listenForKeys } from './keys.js';
import { Live } from './live.js';
import { Options } from './options.js';
import { Player } from './player.js';
import { Recorder, named } from './recorder.js';
import { Results } from './results.js';
import { Sources } from './sources.js';
import { Takes } from './takes.js';

async function start() {
  if (!takeToken()) {
    alertUser('Please open the address that codetalker studio has printed.');
    return;
  }
  const voice = await ask('GET', '/api/studio');
  byId('model').textContent = `Voice: ${voice.model}`;
  const options = new Options(voice);
  const player = new Player();
  const results = new Results(voice.formats);
  const takes = new Takes();
  const sources = new Sources(options, voice);
  const addFile = (blob, word) => sources.add([named(blob, word)]);
  const recorder = new Recorder(addFile, voice.recording_minutes);
  const live = new Live(player, options, addFile);
  const characters = new Characters({ takes, player, results }, voice);
  follow({ takes, player, results, sources, live, options, characters });
  listenForKeys({ takes, player, recorder, live });
  byId('subject').addEventListener('change', () => {
    if (!takes.selected) player.showFace(options.value.subject).catch(report);
  });
  await player.showFace(options.value.subject);
  window.studio = { player, takes, live }; // for tests and the curious
}

function follow({ takes, player, results, sources, live, options, characters }) {
  let last = null; // the take that this page has added last
  sources.addEventListener('take', ({ detail: take }) => {
    takes.beginBatch();
    takes.add(take);
    const isBusy = last && takes.selected?.id === last && player.playback?.playing;
    if (!isBusy) {
      last = take.id;
      takes.select(take.id);
    }
  });
  sources.addEventListener('character', ({ detail: file }) => characters.add(file));
  takes.addEventListener('select', ({ detail: take }) => {
    if (live.isLive) live.stop();
    byId('take-title').textContent = take ? take.name : 'No take yet';
    byId('again').disabled = !take;
    results.show(take);
    if (!take) player.clear();
    else {
      if (take.id !== last) options.value = { ...take.options, subject: take.subject };
      player.load(take, { isPlayed: take.id === last });
    }
  });
  takes.addEventListener('update', ({ detail: take }) => {
    byId('take-title').textContent = take.name;
    results.show(take);
    if (take.state === 'failed') byId('player-error').textContent = sentence(take.error);
  });
  byId('again').addEventListener('click', async () => {
    try {
      const path = `/api/takes/${takes.selected.id}/again${query({ options: JSON.stringify(options.value) })}`;
      const take = await ask('POST', path);
      sources.dispatchEvent(new CustomEvent('take', { detail: take }));
    } catch (error) {
      byId('make-error').textContent = sentence(error.message);
    }
  });
}

function report(error) {
  alertUser(sentence(error.message));
}

start().catch(report);
