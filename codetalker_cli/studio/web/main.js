// Starts the page.

import { ask, query, takeToken } from './api.js';
import { alertUser, byId, sentence, setText } from './dom.js';
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
  window.studio = { player, takes, live, characters }; // for tests and the curious
}

function follow({ takes, player, results, sources, live, options, characters }) {
  let isNew = false; // whether the take that is being selected was added just now
  sources.addEventListener('take', ({ detail: { take, isShown } }) => {
    takes.beginBatch();
    takes.add(take);
    isNew = true;
    if (isShown) takes.select(take.id);
    isNew = false;
  });
  sources.addEventListener('character', ({ detail: file }) => characters.add(file));
  takes.addEventListener('select', ({ detail: take }) => {
    if (live.isLive) live.stop();
    setText(byId('take-title'), take ? take.name : 'No take yet');
    byId('again').disabled = !take;
    results.show(take);
    if (!take) player.clear();
    else {
      if (!isNew) options.value = { ...take.options, subject: take.subject };
      player.load(take, { isPlayed: isNew });
    }
  });
  live.addEventListener('start', () => {
    takes.select(null);
    player.clear();
    byId('take-title').textContent = 'Live';
  });
  takes.addEventListener('update', ({ detail: take }) => {
    setText(byId('take-title'), take.name);
    results.show(take);
  });
  byId('again').addEventListener('click', async () => {
    try {
      const path = `/api/takes/${takes.selected.id}/again${query({ options: JSON.stringify(options.value) })}`;
      sources.report(await ask('POST', path));
    } catch (error) {
      byId('make-error').textContent = sentence(error.message);
    }
  });
}

function report(error) {
  alertUser(sentence(error.message));
}

start().catch(report);
