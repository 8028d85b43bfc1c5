// One clock for the faces, the sound and the film. With sound, the sound leads; the clock only fills
// the gaps between the coarse positions that an audio element reports. Without sound, or after its
// end, the clock runs on its own.

/** Seconds by which the clock may differ from the sound before it jumps. */
const JUMP = 0.06;
/** The part of a smaller difference that is corrected with each picture. */
const PULL = 0.2;

/**
 * Plays, pauses and seeks. Events: "frame" before each picture while the time changes, "state" when
 * playing, speed or length changes.
 */
export class Playback extends EventTarget {
  /**
   * @param {{fps: number, nFrames: number, sound?: HTMLMediaElement, delay?: number}} options
   *   `delay` is the time in the sound, in seconds, at which frame 0 is shown.
   */
  constructor({ fps, nFrames, sound = null, delay = 0 }) {
    super();
    this.fps = fps;
    this.nFrames = nFrames;
    this.delay = delay;
    this.playing = false;
    this.loop = false;
    this.open = false; // more frames will arrive: wait at the end instead of stopping
    this._sound = sound;
    this._speed = 1;
    this._time = 0;
    this._drawn = null;
    this._request = 0;
    this._starts = 0;
  }

  /** The length in seconds; it grows with `nFrames`. */
  get seconds() {
    return this.nFrames / this.fps;
  }

  /** The present time in seconds. */
  get time() {
    return this._time;
  }

  /** The frame that is shown now: the last one that has begun. */
  get frame() {
    const frame = Math.floor(this._time * this.fps + 1e-6);
    return Math.max(0, Math.min(this.nFrames - 1, frame));
  }

  /** The present position in frames, for interpolation. */
  get position() {
    return Math.max(0, Math.min(this.nFrames - 1, this._time * this.fps));
  }

  get speed() {
    return this._speed;
  }

  set speed(speed) {
    this._speed = speed;
    if (this._sound) this._sound.playbackRate = speed;
    this._emit('state');
  }

  /** Takes frames that have arrived since. */
  extend(nFrames) {
    this.nFrames = nFrames;
    this._emit('state');
  }

  async play() {
    if (this.playing || !this.nFrames) return;
    if (this._time >= this.seconds - 0.5 / this.fps) this._move(0);
    this.playing = true;
    this._emit('state');
    const start = ++this._starts;
    await this._startSound();
    if (start !== this._starts || !this.playing) return; // paused in the meantime
    this._drawn = null;
    this._request = requestAnimationFrame((now) => this._tick(now));
  }

  pause() {
    this.playing = false;
    this._starts += 1;
    cancelAnimationFrame(this._request);
    this._sound?.pause();
    this._emit('state');
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Goes to a time in seconds. */
  seek(seconds) {
    this._move(Math.max(0, Math.min(seconds, this.seconds)));
    if (this.playing && this._sound?.paused) this._startSound();
  }

  /** Goes to the start of a frame. */
  seekFrame(frame) {
    this.seek(Math.max(0, Math.min(this.nFrames - 1, frame)) / this.fps);
  }

  /** Pauses, and goes some frames forward or, with a negative number, back. */
  step(frames) {
    if (this.playing) this.pause();
    this.seekFrame(this.frame + frames);
  }

  _move(seconds) {
    this._time = seconds;
    if (this._sound) this._sound.currentTime = seconds + this.delay;
    this._emit('frame');
  }

  async _startSound() {
    const sound = this._sound;
    if (!sound || this._time + this.delay >= sound.duration) return;
    sound.playbackRate = this._speed;
    sound.currentTime = this._time + this.delay;
    try {
      await sound.play();
    } catch {
      // The browser refuses sound, or the user paused before it started; the picture still moves.
    }
  }

  _tick(now) {
    if (!this.playing) return;
    const passed = this._drawn === null ? 0 : ((now - this._drawn) / 1000) * this._speed;
    this._drawn = now;
    this._time += passed;
    const sound = this._sound;
    if (sound && !sound.paused && !sound.ended) {
      const off = sound.currentTime - this.delay - this._time;
      this._time += Math.abs(off) > JUMP ? off : PULL * off;
    }
    if (this._time >= this.seconds) this._end();
    this._emit('frame');
    if (this.playing) this._request = requestAnimationFrame((next) => this._tick(next));
  }

  _end() {
    if (this.open) {
      this._time = this.seconds;
      return;
    }
    if (this.loop) {
      this._move(0);
      this._startSound();
      return;
    }
    this._time = this.seconds;
    this.pause();
  }

  _emit(name) {
    this.dispatchEvent(new Event(name));
  }
}
