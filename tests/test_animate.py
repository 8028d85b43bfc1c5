"""Animation through the Python API: styles, idle motion, frame rates, choice of the model."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
import voices

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.animate import Voice, choose_model, parse_styles
from codetalker_cli.devices import pick_device
from codetalker_cli.errors import CheckpointError, InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder

EYES = sorted(voices.EYES.values())
OTHERS = [v for v in range(tiny.N_VERTICES) if v not in EYES]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    """A voice with the subjects A and Zoë and the styles A, B and C."""
    return ct.load(voices.save(tmp_path_factory.mktemp("animate") / "voice", "A", "Zoë"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "speech.wav"
    soundfile.write(path, voices.speech(), 16000, subtype="FLOAT")
    return path


def test_motion_contains_everything_needed_to_render_it(voice: Voice, recording: Path) -> None:
    motion = voice.animate(recording, "Zoë")
    assert motion.vertices.shape == (motion.n_frames, tiny.N_VERTICES, 3)
    assert motion.vertices.dtype == np.float32 and np.isfinite(motion.vertices).all()
    assert motion.fps == 25 and motion.seconds == pytest.approx(1.0, abs=1.5 / 25)
    assert motion.subject == "Zoë" and motion.audio_path == recording
    assert motion.codes is not None and motion.codes.shape == (motion.n_frames, 2)
    assert motion.topology.parts == tiny.topology().parts
    np.testing.assert_array_equal(motion.audio, voices.speech())
    assert np.array_equal(motion.template, voice.checkpoint.mesh.templates["Zoë"])  # type: ignore


def test_default_subject_is_the_first(voice: Voice) -> None:
    assert voice.subjects == ["A", "Zoë"] and voice.styles == ["A", "B", "C"]
    assert voice.animate(voices.speech()).subject == "A"


def test_samples_and_file_give_the_same_motion(voice: Voice, recording: Path) -> None:
    samples, _ = soundfile.read(recording, dtype="float32")
    from_file, from_array = voice.animate(str(recording)), voice.animate(samples)
    np.testing.assert_array_equal(from_file.vertices, from_array.vertices)
    assert from_array.audio_path is None
    np.testing.assert_array_equal(voice.animate(samples.astype(np.float64)).audio, samples)


def test_animation_is_reproducible_byte_for_byte(
    voice: Voice, recording: Path, tmp_path: Path
) -> None:
    again = ct.load(voice.checkpoint.path)
    for name, speaker in (("1", voice), ("2", voice), ("3", again)):
        speaker.animate(recording, "Zoë", "A:1,C:2", seed=3).save(tmp_path / f"{name}.npz")
    first, *others = [(tmp_path / f"{name}.npz").read_bytes() for name in "123"]
    assert others == [first, first]


def test_progress_counts_frames(voice: Voice) -> None:
    seen: list[tuple[int, int]] = []
    motion = voice.animate(voices.speech(), progress=lambda *x: seen.append(x))
    assert seen == [(k + 1, motion.n_frames) for k in range(motion.n_frames)]


# Styles -----------------------------------------------------------------------------------------


def decoded(voice: Voice, style: torch.Tensor, subject: str) -> np.ndarray:
    """Return vertices that are decoded with the model directly, for a (D,) style vector."""
    model, speech = voice.checkpoint.model, voice.checkpoint.model.speech
    assert speech is not None and voice.checkpoint.mesh is not None
    with torch.no_grad():
        hidden = speech.encoder(speech.encoder.prepare(torch.from_numpy(voices.speech())[None]))
        codes = Decoder(speech, model.vq).decode(hidden, style[None])
        template = torch.from_numpy(voice.checkpoint.mesh.templates[subject])[None]
        return model.vq.decode(codes, template)[0].numpy()


@pytest.mark.parametrize(
    ("style", "weights"),
    [
        ("B", (0, 1, 0)),
        ("A:0.3,B:0.7", (0.3, 0.7, 0)),
        ("A:3, B:7", (0.3, 0.7, 0)),
        ({"A": 6, "B": 14.0}, (0.3, 0.7, 0)),
        ("A:0,C:5", (0, 0, 1)),
        ("A,B:3", (0.25, 0.75, 0)),
        (None, (1, 0, 0)),
    ],
)
def test_blend_is_a_weighted_mean_of_style_vectors(
    voice: Voice, style: object, weights: tuple
) -> None:
    assert voice.checkpoint.model.speech is not None
    vectors = voice.checkpoint.model.speech.style_embedding.weight.detach()
    mixed = sum(w * vector for w, vector in zip(weights, vectors, strict=True))
    expected = decoded(voice, torch.as_tensor(mixed), "A")
    made = voice.animate(voices.speech(), "A", style, idle=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(made.vertices, expected, atol=1e-5)


def test_new_subject_uses_the_first_style(voice: Voice) -> None:
    made = {s: voice.animate(voices.speech(), "Zoë", s, idle=False) for s in ("A", "B", None)}
    assert np.abs(made["A"].vertices - made["B"].vertices).max() > 1e-3
    assert np.array_equal(made["A"].vertices, made[None].vertices)


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("D", "`style` 'D' is unknown; this model has: A, B, C"),
        ("A:0.5,D:0.5", "`style` 'D' is unknown; this model has: A, B, C"),
        ("", "`style` '' is unknown"),
        ("A:x", "`style` A:x: expected a name, or weights such as S01:0.3,S02:0.7"),
        ("A:", "expected a name, or"),
        ("A:1,A:1", "A is listed twice"),
        ("A,A", "A is listed twice"),
        ("A:0", "the weights must be finite, not negative, and not all 0"),
        ("A:2,B:-1", "the weights must be finite, not negative, and not all 0"),
        ("A:nan", "the weights must be finite, not negative, and not all 0"),
        ("A:inf", "the weights must be finite, not negative, and not all 0"),
    ],
)
def test_invalid_style_is_an_error(voice: Voice, style: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        voice.animate(voices.speech(), style=style)
    assert message in str(caught.value)


def test_parse_styles() -> None:
    assert parse_styles("S01") == {"S01": 1.0}
    assert parse_styles(" S01:0.3 , S02:0.7 ") == {"S01": 0.3, "S02": 0.7}
    assert parse_styles("with:colon:0.5") == {"with:colon": 0.5}


# Idle motion ------------------------------------------------------------------------------------


def test_seed_affects_only_the_eyes(voice: Voice) -> None:
    speech = voices.speech(4.0)
    still = voice.animate(speech, "A", idle=False).vertices
    moving = [voice.animate(speech, "A", seed=seed).vertices for seed in (0, 1)]
    for vertices in moving:
        np.testing.assert_array_equal(vertices[:, OTHERS], still[:, OTHERS])
        assert np.abs(vertices[:, EYES] - still[:, EYES]).max() > 0.1
    assert not np.array_equal(moving[0], moving[1])


def test_blink_uses_the_lid_closure_of_the_subject(tmp_path: Path) -> None:
    lids = [voices.EYES["eyeBlinkLeft"], voices.EYES["eyeBlinkRight"]]
    for closure in (0.5, 0.8):
        mesh = voices.mesh("A", closure=closure)
        folder = checkpoint.save(tmp_path / f"{closure}", tiny.codetalker(), mesh=mesh)
        voice = ct.load(folder)
        speech = voices.speech(12.0)
        with_idle, without = (voice.animate(speech, idle=idle).vertices for idle in (True, False))
        down = (without - with_idle)[:, lids, 1]
        np.testing.assert_allclose(down.max(0), closure, atol=1e-3)
        np.testing.assert_allclose(down[:, 0], down[:, 1], atol=1e-6)


def test_mesh_without_idle_units_has_no_idle_motion(tmp_path: Path) -> None:
    mesh = voices.mesh("A")
    bare = type(mesh)(mesh.topology, mesh.templates)
    voice = ct.load(checkpoint.save(tmp_path / "bare", tiny.codetalker(), mesh=bare))
    speech = voices.speech(2.0)
    with_idle, without = (voice.animate(speech, idle=idle).vertices for idle in (True, False))
    assert np.array_equal(with_idle, without)


# Frame rate, input ------------------------------------------------------------------------------


def test_other_frame_rate_resamples_the_same_motion(voice: Voice) -> None:
    own, double = (voice.animate(voices.speech(), fps=fps) for fps in (None, 50))
    assert double.fps == 50 and double.seconds == pytest.approx(own.seconds)
    np.testing.assert_allclose(double.vertices[::2], own.vertices, atol=1e-6)
    np.testing.assert_array_equal(double.audio, own.audio)


@pytest.mark.parametrize("fps", [0, -1, 0.5, 1000, float("nan"), float("inf")])
def test_invalid_frame_rate_is_an_error(voice: Voice, fps: float) -> None:
    with pytest.raises(InputError, match="expected 1 to 240"):
        voice.animate(voices.speech(), fps=fps)


def test_unknown_subject_lists_the_choices(voice: Voice) -> None:
    with pytest.raises(InputError, match="`subject` 'Q' is unknown; this model has: A, Zoë"):
        voice.animate(voices.speech(), "Q")


# Choice of the model ----------------------------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with a fake bundled voice that has the subject S01."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CODETALKER_MODEL", raising=False)
    folder = voices.save(tmp_path / "bundle" / "voice", "S01")
    monkeypatch.setattr(checkpoint, "bundled", lambda: {"demo": folder})
    return tmp_path


def test_model_is_chosen_in_the_documented_order(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = voices.save(Path("runs/mine/speech"), "A", "S01")
    other = voices.save(Path("elsewhere"), "A")
    bundled = workplace / "bundle" / "voice"
    assert choose_model(None, None).folder == bundled
    assert choose_model(None, "A").folder == mine
    assert choose_model(None, "S01").folder == mine
    assert choose_model(None, "Q").folder == bundled  # animating then lists its subjects
    assert choose_model("demo", "A").folder == bundled
    assert choose_model("elsewhere", "A").folder == other
    assert choose_model("mine/speech", None).folder == mine
    monkeypatch.setenv("CODETALKER_MODEL", "elsewhere")
    assert choose_model(None, "A").folder == other
    assert choose_model("demo", "A").folder == bundled
    assert {choose_model(*x).reason for x in ((None, "A"), ("demo", "A"))} == {
        "from CODETALKER_MODEL",
        "given",
    }
    monkeypatch.setenv("CODETALKER_MODEL", "gone")
    with pytest.raises(CheckpointError, match="'gone' is not known; available names: mine/speech"):
        choose_model(None, None)


def test_choice_skips_stage_1_and_prefers_the_best_checkpoint(workplace: Path) -> None:
    voices.save(Path("runs/mine/vq"), "A", with_speech=False)
    assert choose_model(None, "A").folder == workplace / "bundle" / "voice"
    best = voices.save(Path("runs/mine/speech"), "A")
    voices.save(Path("runs/mine/speech-last"), "A")
    assert choose_model(None, "A").folder == best


def test_error_for_unusable_checkpoint_says_what_to_do(workplace: Path) -> None:
    voices.save(Path("vq"), "A", with_speech=False)
    with pytest.raises(CheckpointError, match="contains only stage 1; train stage 2 with"):
        ct.load("vq")
    checkpoint.save(Path("faceless"), tiny.codetalker())
    with pytest.raises(CheckpointError, match="contains no templates to animate; import it again"):
        ct.load("faceless").animate(voices.speech())


def test_missing_bundled_voice_is_an_error(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "bundled", dict)
    with pytest.raises(CheckpointError, match=r"no bundled voice.*give `model`"):
        ct.load()


def test_pick_device() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu9", "cuda:99"):
        with pytest.raises(InputError, match=f"`device` {name}: not usable here .*use auto or cpu"):
            pick_device(name)


# The bundled voice ------------------------------------------------------------------------------


def test_bundled_voice_animates() -> None:
    voice = ct.load("demo")
    assert voice.subjects == voice.styles == [*(f"S{k:02d}" for k in range(1, 13)), "grid1"]
    sample = Path(__file__).parents[1] / "assets" / "sample.wav"
    motion = voice.animate(audio.load(sample)[8000:24_000], "S07", idle=False)
    assert motion.n_frames == 30 and motion.topology.meters_per_unit == 1.0
    moved = np.abs(motion.vertices - motion.template).max((0, 2))
    lips = motion.topology.region("lips")
    assert 0.001 < moved[lips].max() < 0.04  # meters
    assert sum(f.stat().st_size for f in checkpoint.bundled()["demo"].iterdir()) <= 32 << 20
