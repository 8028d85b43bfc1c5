"""Families of folders: checkpoints, prepared data, archives, characters with maps, and tables next
to recordings.

The valid folders are those of the tests, so this module needs the folder tests/ on the path.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from fuzz_parts.damage import damage_file, pick
from fuzz_parts.files import Case, MakeCase


def damaged_folders(source: Path, read: Callable[[Path, Path], object]) -> MakeCase:
    """Return a maker of cases that damage one or two files of a folder.

    Args:
        source: A folder of valid folders.
        read: Reads a damaged folder; the second argument is the (first) damaged file.
    """
    folders = sorted(source.iterdir())

    def make(rng: np.random.Generator, scratch: Path) -> Case:
        folder = pick(folders, rng)
        copy = scratch / folder.name
        shutil.copytree(folder, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        chosen = [files[i] for i in rng.permutation(len(files))[: 1 + (rng.random() < 0.2)]]
        for path in chosen:
            damage_file(path, rng)
        return str(chosen[0].relative_to(scratch)), lambda: read(copy, chosen[0])

    return make


def checkpoints(folder: Path) -> MakeCase:
    import voices

    from codetalker_cli.animate.voice import load_voice
    from codetalker_cli.models import checkpoint

    voices.save(folder / "vq", "A", "B", "C", with_speech=False)
    voices.save(folder / "whisper", "A", "B", "C", family="whisper")
    speech = voices.speech(0.3)

    def read(copy: Path, _: Path) -> None:
        checkpoint.load(copy)
        voice = load_voice(copy, device="cpu")
        voice.animate(speech, voice.subjects[0] if voice.subjects else None)

    return damaged_folders(folder, read)


def prepared(folder: Path) -> MakeCase:
    import tiny_data

    from codetalker_cli.datasets.inspect import check
    from codetalker_cli.datasets.prepared import PreparedDataSet, mean_offset
    from codetalker_cli.errors import CodeTalkerError
    from codetalker_cli.evaluate.truth import of_data_set

    tiny_data.prepared(folder / "data", lengths=(8, 6, 10), n_val=1)

    def read(copy: Path, path: Path) -> None:
        sheet = copy / "check.png" if path.stat().st_size % 10 == 0 else None
        try:
            check(copy, sheet)
        except CodeTalkerError as error:
            _check_line(error)
        data = PreparedDataSet(copy)
        for split in ("train", "val"):
            for clip in data.clips(split):
                np.asarray(clip.vertices)
                clip.samples()
        truth = of_data_set(data)
        for name in truth.clips:
            np.asarray(truth.vertices(name))
            truth.template(name)
        mean_offset(data.clips("train"), data.mesh.templates)

    return damaged_folders(folder, lambda copy, path: read(copy, path if path.exists() else copy))


def _check_line(error: Exception) -> None:
    """Pass a message on if it is not one printable line, as the caller checks it."""
    if not str(error).isprintable():
        raise error


def archives(folder: Path) -> MakeCase:
    import zipfile

    import biwi_raw

    from codetalker_cli.datasets.readers.biwi import read_biwi
    from codetalker_cli.formats import archives as reader

    frames = {f"F1/e01/frame_{k:03d}.vl": biwi_raw.vl_bytes(np.eye(3)) for k in (1, 2, 3)}
    plain, compressed = biwi_raw.tar_bytes(frames), biwi_raw.tar_bytes(frames, gz=True)
    nested = {"F1/e01.tar": plain, "F1/e02.tgz": compressed}
    for name, content in {
        "plain": ("a.tar", plain),
        "compressed": ("a.tgz", compressed),
        "nested": ("a.tar", biwi_raw.tar_bytes(nested)),
        "nested-compressed": ("a.tar.gz", biwi_raw.tar_bytes(nested, gz=True)),
    }.items():
        (folder / name / "faces").mkdir(parents=True)
        (folder / name / "faces" / content[0]).write_bytes(content[1])
    (folder / "zip/faces").mkdir(parents=True)
    with zipfile.ZipFile(folder / "zip/faces/a.tar", "w") as file:
        file.writestr("F1/e01/frame_001.vl", b"x")

    def read(copy: Path, _: Path) -> None:
        failed: list = []
        for file in reader.walk(copy):
            members = reader.contents(file, lambda _: True, failed) if file.is_archive else [file]
            for member in members:
                with closing(member.stream()) as stream:
                    at = 0
                    while part := stream.read_at(at, 1 << 16):
                        at += len(part)
                        if at >= member.size:
                            break
            with reader.on_disk(members, copy / "scratch", 1 << 20) as spans:
                for span in spans:
                    with span.path.open("rb") as opened:
                        opened.seek(span.offset)
                        opened.read(span.size)
        for _, error in failed:
            _check_line(error)
        read_biwi(copy, biwi_raw.data_settings("F1"), scratch=copy / "scratch")

    return damaged_folders(folder, read)


def manifests(folder: Path) -> MakeCase:
    import pickle

    import soundfile

    from codetalker_cli.animate.jobs import Request, plan
    from codetalker_cli.datasets.regions import find_regions
    from codetalker_cli.export import FORMATS
    from codetalker_cli.formats.templates import read_mesh
    from codetalker_cli.settings import DataSettings

    (folder / "list").mkdir()
    soundfile.write(folder / "list/a.wav", np.zeros(800), 16_000)
    (folder / "list/list.csv").write_text(
        "audio,out,subject,style,seed,fps\na.wav,b.npz,A,A:0.5,3,25\na.wav,c/d.npy,,,,\n"
    )
    (folder / "regions").mkdir()
    (folder / "regions/lve.txt").write_text("0, 1, 2\n")
    (folder / "regions/fdd.txt").write_text("3\n4 5\n")
    (folder / "files").mkdir()
    (folder / "files/regions.json").write_text('{"lips": [0, 1], "upper_face": [3]}')
    (folder / "files/FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": np.arange(3)}))
    (folder / "mesh").mkdir()
    (folder / "mesh/templates.pkl").write_bytes(pickle.dumps({"A": np.eye(3), "B": np.eye(3)}))
    (folder / "mesh/face.obj").write_text("v 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\n")
    data = DataSettings(name="x", fps=25, unit="m", n_vertices=3, train_subjects=("A",))

    def read(copy: Path, path: Path) -> None:
        if copy.name == "list":
            for out in (None, str(copy / "made")):
                planned = plan([], Request(Path()), formats=FORMATS, out=out,
                               manifest=copy / "list.csv")  # fmt: skip
                for job in planned.jobs:
                    above = (copy.resolve(), job.speech.resolve().parent)
                    if not any(job.out.resolve().is_relative_to(folder) for folder in above):
                        raise AssertionError(f"the output {job.out} is outside of the folder")
        elif copy.name == "mesh":
            read_mesh(copy / "templates.pkl", copy / "face.obj", data)
        else:
            where = str(copy) if copy.name == "regions" else "auto"
            find_regions(str(path) if copy.name == "files" else where, copy, 9)

    return damaged_folders(folder, read)


def avatars(folder: Path) -> MakeCase:
    import characters
    import takes

    from codetalker_cli.export.avatar_formats import Avatar, parse_strength, read_map
    from codetalker_cli.export.character import Character
    from codetalker_cli.export.table import Target
    from codetalker_cli.settings import ExportSettings

    made = {
        "arkit.glb": characters.arkit, "oculus.glb": characters.oculus, "mmd.glb": characters.mmd,
        "vrm0.vrm": characters.vrm0, "vrm1.vrm": characters.vrm1, "jaw.glb": characters.jaw_bone,
        "draco.glb": characters.draco, "meshopt.glb": characters.meshopt,
        "two.glb": characters.two_skeletons,
    }  # fmt: skip
    maps = {
        "oculus.glb": "viseme_O: jawOpen\nviseme_U: {U: 0.5, mouthPucker: 1}\nviseme_E:\n",
        "jaw.glb": "bones: {jaw: Jaw, head: Head, left_eye: LeftEye, right_eye: }\n",
        "two.glb": "jawOpen: {viseme_aa: 1.5}\nbones: {left_eye: LeftEye}\n",
    }
    for name, make in made.items():
        (folder / name).mkdir()
        make().save(folder / name / name)
        if name in maps:
            (folder / name / "map.yaml").write_text(maps[name])
    characters.arkit().save_gltf(folder / "character.gltf")
    take, export = takes.head_take(3), ExportSettings.model_validate({})

    def read(copy: Path, _: Path) -> None:
        path = copy / copy.name
        given = read_map(copy / "map.yaml") if copy.name in maps else None
        strength = parse_strength("jaw=0.8,mouth=1.1") if given is not None else None
        node = "Ben" if path.stem == "two" else None
        overrides, bones = (given.overrides, given.bones) if given else (None, None)
        for exporter in Avatar(path, node, overrides, strength, bones).exporters().values():
            if exporter.suffix == ".glb" or given is None:
                out = copy / f"out{exporter.suffix}"
                exporter.write(take, Target(out, out), export)
        Character.read(copy / "out.glb", node)

    return damaged_folders(folder, read)
