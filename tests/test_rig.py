"""The bundled head: its arrays, linear poses, visemes, and contacts of lips and lids."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from codetalker_cli import resources
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.head import Rig

ARKIT_PAIRED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn",
    "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
ARKIT_SINGLE = (
    "browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "tongueOut",
)  # fmt: skip
CORRECTIVES = ("tongueTipUp", "tongueTipOut", "tongueBackUp", "lipRound", "lipSeal", "lipTuckFV")
VISEMES = ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U"]
SUBJECTS = tuple(f"S{k:02d}" for k in range(1, 13))
MM = 1000.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


def pair_vectors(rig: Rig, vertices: np.ndarray) -> np.ndarray:
    """Return the vectors from the lower to the upper vertex of the inner-lip pairs, in mm."""
    upper, lower = (rig.topology.region(f"inner_lip_{side}") for side in ("upper", "lower"))
    return (vertices[..., upper, :] - vertices[..., lower, :]) * MM


def posed(rig: Rig, subject: str, viseme: str) -> np.ndarray:
    return rig.pose(subject, rig.visemes[viseme][None])[0]


def test_units_are_the_arkit_units_and_correctives(rig: Rig) -> None:
    paired = [name + side for name in ARKIT_PAIRED for side in ("Left", "Right")]
    assert len(paired) + len(ARKIT_SINGLE) == 52
    assert sorted(rig.unit_names) == sorted([*paired, *ARKIT_SINGLE, *CORRECTIVES])
    assert (np.abs(rig.unit_deltas).max((1, 2)) * MM > 0.5).all()


def test_arrays_have_the_expected_shapes(rig: Rig) -> None:
    n = len(rig.neutral)
    assert 4500 < n < 6000
    assert rig.subject_names == SUBJECTS
    assert rig.subject_colors.shape == (12, n, 3)
    assert rig.unit_deltas.shape == (rig.n_units, n, 3)
    assert resources.asset("head.npz").stat().st_size < 2_000_000
    topology = rig.topology
    assert sorted(np.unique(topology.triangles)) == list(range(n))
    assert topology.uv is not None and topology.uv_triangles is not None
    assert topology.uv_triangles.shape == topology.triangles.shape
    assert topology.uv.min() >= 0 and topology.uv.max() <= 1
    assert topology.uv_triangles.max() < len(topology.uv)
    stops = [stop for _, stop in topology.parts.values()]
    starts = [start for start, _ in topology.parts.values()]
    assert starts == [0, *stops[:-1]] and stops[-1] == n


def test_head_has_the_documented_axes_and_scale(rig: Rig) -> None:
    parts = {name: rig.neutral[a:b].mean(0) * MM for name, (a, b) in rig.topology.parts.items()}
    assert parts["eye_left"][0] > 25 and parts["eye_right"][0] < -25  # +x is the subject's left
    assert np.abs((parts["eye_left"] + parts["eye_right"])[:2]).max() < 2
    assert parts["teeth_upper"][1] < -50  # +y is up
    nose = rig.neutral[: rig.topology.parts["skin"][1]].max(0)[2] * MM
    assert 25 < nose < 60  # +z is forward
    assert 200 < np.ptp(rig.neutral[:, 1]) * MM < 300


def test_regions_are_on_the_skin_and_inner_lips_are_paired(rig: Rig) -> None:
    regions, (start, stop) = rig.topology.regions, rig.topology.parts["skin"]
    for name in ("lips", "mouth", "upper_face", "inner_lip_upper", "inner_lip_lower"):
        index = regions[name]
        assert len(np.unique(index)) == len(index) > 0
        assert start <= index.min() and index.max() < stop
    assert set(regions["lips"]) <= set(regions["mouth"])
    assert not set(regions["upper_face"]) & set(regions["mouth"])
    upper, lower = regions["inner_lip_upper"], regions["inner_lip_lower"]
    assert len(upper) == len(lower) >= 9
    assert set(upper) | set(lower) <= set(regions["lips"])
    x = rig.neutral[upper, 0]
    assert (np.diff(x) > 0).all()
    width = np.ptp(rig.neutral[regions["lips"], 0])
    assert 0.5 < np.ptp(x) / width < 0.75


def test_pose_is_linear_and_starts_at_the_template(rig: Rig) -> None:
    random = np.random.default_rng(0)
    weights = random.uniform(0, 1, (2, rig.n_units)).astype(np.float32)
    template = rig.template("S04")
    np.testing.assert_array_equal(rig.pose("S04", np.zeros((1, rig.n_units)))[0], template)
    a, b = rig.pose("S04", weights) - template
    mixed = rig.pose("S04", weights[:1] * 0.3 + weights[1:] * 0.6)[0] - template
    np.testing.assert_allclose(mixed, 0.3 * a + 0.6 * b, atol=1e-6)


def test_blink_weight_is_scaled_per_subject(rig: Rig) -> None:
    left = rig.unit_names.index("eyeBlinkLeft")
    weights = rig.unit_weights({"eyeBlinkLeft": 1.0})[None]
    for subject, blink in zip(rig.subject_names, rig.subject_blink, strict=True):
        moved = rig.pose(subject, weights)[0] - rig.template(subject)
        np.testing.assert_allclose(moved, blink * rig.unit_deltas[left], atol=1e-6)


def test_unit_name_without_a_side_sets_both_sides(rig: Rig) -> None:
    both = rig.unit_weights({"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4})
    np.testing.assert_array_equal(rig.unit_weights({"mouthSmile": 0.4}), both)
    # mouthLeft and mouthRight are directions, not sides of a unit called "mouth".
    assert rig.unit_weights({"mouthLeft": 1.0}).sum() == 1.0


def test_unknown_names_list_the_choices(rig: Rig) -> None:
    with pytest.raises(InputError, match=r"'S13'.*S01, S02.*S12"):
        rig.template("S13")
    with pytest.raises(InputError, match=r"'jawOpn'.*did you mean jawOpen.*mouthSmile\[Left\|R"):
        rig.unit_weights({"jawOpn": 1.0})
    with pytest.raises(DataError, match=r"expected \(frames, "):
        rig.pose("S01", np.zeros((3, 5)))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "head.npz"
    bad.write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"head\.npz: not a complete"):
        Rig.load(bad)
    np.savez(bad, neutral=np.zeros((1, 3)))
    with pytest.raises(DataError, match="these arrays are missing: faces"):
        Rig.load(bad)
    shutil.copy(resources.asset("head.npz"), bad)
    with pytest.raises(DataError, match=r"visemes\.json: cannot read the viseme table"):
        Rig.load(bad)
    (tmp_path / "visemes.json").write_text(json.dumps({"PP": {"lipSel": 1.0}}))
    with pytest.raises(DataError, match=r"visemes\.json: expression unit 'lipSel' is unknown"):
        Rig.load(bad)


def test_viseme_weights_are_complete_and_in_range(rig: Rig) -> None:
    assert sorted(rig.visemes) == sorted(VISEMES)
    assert all((w >= 0).all() and (w <= 1).all() for w in rig.visemes.values())
    assert not rig.visemes["sil"].any()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_lips_are_shut_at_rest_and_in_pp(rig: Rig, subject: str) -> None:
    for shape, least in ((rig.template(subject), 0.7), (posed(rig, subject, "PP"), 0.5)):
        apart = pair_vectors(rig, shape)
        assert np.linalg.norm(apart, axis=-1).max() < least
        assert (apart[:, 1] > -0.05).all()  # the upper lip stays above the lower
        assert rig.topology.inner_lip_gap(shape) * MM < least


def test_shut_lips_stay_shut_under_other_mouth_units(rig: Rig) -> None:
    """Rounding, spreading and jawOpen with mouthClose do not open the lips in PP."""
    extra = {"mouthPucker": 0.4, "mouthSmile": 0.3, "mouthStretch": 0.3, "mouthFrown": 0.2}
    extra |= {"jawOpen": 0.3, "mouthClose": 0.3}
    weights = rig.visemes["PP"] + rig.unit_weights(extra)
    assert rig.topology.inner_lip_gap(rig.pose("S07", weights[None]))[0] * MM < 0.5


@pytest.mark.parametrize("subject", SUBJECTS)
def test_vowel_visemes_open_the_mouth(rig: Rig, subject: str) -> None:
    apart = pair_vectors(rig, posed(rig, subject, "aa"))
    assert apart[:, 1].min() > 10.0
    gap = {v: float(rig.topology.inner_lip_gap(posed(rig, subject, v))) * MM for v in VISEMES}
    assert gap["aa"] > 15.0 and gap["O"] > 10.0 and gap["E"] > 8.0
    assert gap["U"] > 3.0 and gap["I"] > 5.0
    half = rig.pose(subject, 0.5 * rig.visemes["aa"][None])
    assert pair_vectors(rig, half)[0, :, 1].min() > 5.0  # at half weight, as in soft speech


def test_vowels_round_and_spread_the_lips(rig: Rig) -> None:
    def width(viseme: str) -> float:
        return float(np.ptp(posed(rig, "S01", viseme)[rig.topology.region("lips"), 0])) * MM

    assert width("U") < width("sil") - 6 and width("O") < width("sil") - 5
    assert width("I") > width("sil") + 4


def _upper_incisor_edge(rig: Rig, vertices: np.ndarray) -> np.ndarray:
    """Return the lowest point of the upper teeth in 2 mm bins across the incisors, in mm."""
    start, stop = rig.topology.parts["teeth_upper"]
    front = vertices[start:stop] * MM
    front = front[front[:, 2] > front[:, 2].max() - 9.0]
    bins = [front[np.abs(front[:, 0] - x) < 1.2] for x in np.arange(-10.0, 10.1, 2.0)]
    return np.array([b[b[:, 1].argmin()] for b in bins if len(b)])


def _lip_surface(rig: Rig, vertices: np.ndarray) -> np.ndarray:
    """Sample points on the triangles of the lips, in mm."""
    on_lips = np.zeros(len(vertices), bool)
    on_lips[rig.topology.region("lips")] = True
    corners = vertices[rig.topology.triangles[on_lips[rig.topology.triangles].all(1)]] * MM
    grid = [(i, j, 8 - i - j) for i in range(9) for j in range(9 - i)]
    return (np.array(grid) / 8.0 @ corners).reshape(-1, 3)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_lower_lip_meets_the_upper_teeth_in_ff(rig: Rig, subject: str) -> None:
    def contact(viseme: str) -> np.ndarray:
        shape = posed(rig, subject, viseme)
        edge, lip = _upper_incisor_edge(rig, shape), _lip_surface(rig, shape)
        lip = lip[lip[:, 1] < edge[:, 1].mean() + 1.5]  # the lower lip
        return np.linalg.norm(edge[:, None] - lip[None], axis=-1).min(1)

    touching = contact("FF")
    assert len(touching) >= 9
    assert np.median(touching) < 0.5 and touching.max() < 1.0
    assert np.median(contact("E")) > 2.0  # no contact in a vowel


def _hidden(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return which points are behind one of the (F, 3, 3) triangles, seen from +z."""
    a, b, c = (corners[:, k] for k in range(3))
    area = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    keep = np.abs(area) > 1e-9
    a, b, c, area = a[keep], b[keep], c[keep], area[keep]
    dx, dy = points[:, None, 0] - c[:, 0], points[:, None, 1] - c[:, 1]
    u = ((b[:, 1] - c[:, 1]) * dx + (c[:, 0] - b[:, 0]) * dy) / area
    v = ((c[:, 1] - a[:, 1]) * dx + (a[:, 0] - c[:, 0]) * dy) / area
    depth = u * a[:, 2] + v * b[:, 2] + (1 - u - v) * c[:, 2]
    return ((u >= 0) & (v >= 0) & (u + v <= 1) & (depth > points[:, None, 2])).any(1)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_blink_covers_the_eye(rig: Rig, subject: str) -> None:
    _, stop = rig.topology.parts["skin"]
    faces = rig.topology.triangles[(rig.topology.triangles < stop).all(1)]
    shown = {}
    for weight in (0.0, 1.0):
        shape = rig.pose(subject, rig.unit_weights({"eyeBlink": weight})[None])[0] * MM
        shown[weight] = 0
        for side in ("left", "right"):
            eye = shape[slice(*rig.topology.parts[f"eye_{side}"])]
            front = eye[eye[:, 2] > eye[:, 2].max() - 3.5]
            triangles = shape[faces]
            near = np.abs(triangles.mean(1)[:, :2] - front.mean(0)[:2]).max(1) < 25
            shown[weight] += int((~_hidden(front, triangles[near])).sum())
    assert shown[0.0] > 60
    assert shown[1.0] == 0


def test_units_move_only_their_parts(rig: Rig) -> None:
    def moved(unit: str, part: str) -> float:
        start, stop = rig.topology.parts[part]
        delta = rig.unit_deltas[rig.unit_names.index(unit), start:stop]
        return float(np.linalg.norm(delta, axis=1).max()) * MM

    assert moved("jawOpen", "teeth_lower") > 20 and moved("jawOpen", "tongue") > 15
    assert moved("jawOpen", "teeth_upper") < 0.5
    for unit in ("tongueTipUp", "tongueTipOut", "tongueBackUp"):
        assert moved(unit, "tongue") > 8 and moved(unit, "skin") == 0
    assert moved("eyeLookUpLeft", "eye_left") > 2 and moved("eyeLookUpLeft", "eye_right") < 0.5


@pytest.mark.parametrize("subject", SUBJECTS)
def test_tongue_is_behind_the_teeth_and_between_them_in_th(rig: Rig, subject: str) -> None:
    upper, tongue = (slice(*rig.topology.parts[part]) for part in ("teeth_upper", "tongue"))
    teeth = rig.template(subject)[upper] * MM
    middle = np.flatnonzero(np.abs(teeth[:, 0]) < 5)
    edge = teeth[middle[teeth[middle, 1].argmin()]]
    tip = rig.template(subject)[tongue, 2].argmax()
    poses = np.stack([rig.visemes[name] for name in ("sil", "DD", "TH")])
    rest, up, out = rig.pose(subject, poses)[:, tongue][:, tip] * MM - edge
    assert -9 < rest[2] < -6 and rest[1] < -6  # at the lower teeth
    assert -6 < up[2] < 0 and up[1] > 0  # behind the upper teeth
    assert 3 < out[2] < 8 and -5 < out[1] < 0  # between the teeth, in front of the edge


def test_subjects_differ_in_shape_and_color(rig: Rig) -> None:
    skin = slice(*rig.topology.parts["skin"])
    faces = np.stack([rig.template(s)[skin] for s in rig.subject_names]) * MM
    distance = np.linalg.norm(faces[:, None] - faces[None], axis=-1).mean(-1)
    assert distance[np.triu_indices(12, 1)].min() > 2.0
    tones = np.array([rig.colors(s)[skin].mean(0) for s in rig.subject_names])
    assert np.ptp(tones, axis=0).min() > 50


def test_arkit_units_come_first(rig: Rig) -> None:
    assert len(ARKIT_UNITS) == 52 and list(ARKIT_UNITS) == sorted(ARKIT_UNITS)
    assert rig.unit_names[:52] == ARKIT_UNITS
