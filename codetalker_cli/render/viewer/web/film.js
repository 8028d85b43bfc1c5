// A filmed video that follows the clock; its own sound is off.

const [JUMP, NUDGE] = [0.25, 0.02]; // seconds: seek above the first, leave it below the second
const MOST = 0.2; // the largest change of speed that corrects a smaller difference

/** Empties an audio or video element, and frees the content of its object URL. */
export function release(element) {
  const url = element.src;
  element.pause();
  element.removeAttribute('src');
  element.load();
  URL.revokeObjectURL(url);
}

export class Film {
  constructor(container, blob, fps, label) {
    this._fps = fps;
    const video = document.createElement('video');
    Object.assign(video, {
      src: URL.createObjectURL(blob), muted: true, playsInline: true, preload: 'auto',
    });
    video.setAttribute('aria-label', label ? `Filmed video: ${label}` : 'Filmed video');
    container.append(video);
    this.video = video;
    this._goal = null;
  }

  /** Shows the picture of the present time. */
  follow({ playing, time, speed, frame }) {
    const video = this.video;
    const end = Number.isFinite(video.duration) ? video.duration : Infinity;
    // The middle of a frame, where rounding cannot lead to the frame before it.
    const goal = Math.min((frame + 0.5) / this._fps, Math.max(0, end - 0.5 / this._fps));
    if (!playing || time >= end) {
      if (!video.paused) video.pause();
      if (goal !== this._goal) video.currentTime = goal;
      this._goal = goal;
      return;
    }
    this._goal = null;
    const off = time - video.currentTime;
    if (Math.abs(off) > JUMP && !video.seeking) video.currentTime = time;
    const correction = Math.abs(off) > NUDGE ? Math.max(-MOST, Math.min(MOST, off)) : 0;
    video.playbackRate = speed * (1 + correction);
    if (video.paused) video.play().catch(() => {});
  }

  dispose() {
    release(this.video);
    this.video.remove();
  }
}
