"""What is attacked: each case does work that must hold from the moment it is told.

A case is prepared in an empty folder; its work tells a number for each step that is done; its check,
in a fresh process, says what was lost or doubled of what was told, and whether the work goes on.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fault.machine import Tell

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "widgets")]

Prepare = Callable[[Path], object]
Work = Callable[[Path, Tell], object]
#: Given the folder and the steps that were told; returns problems.
Check = Callable[[Path, int], list[str]]
SIDE, STEPS, MOVIE, MODELS = 6, 60, 25, 12
NOTES = "what the user wrote"


@dataclass(frozen=True)
class Case:
    """Something that writes.

    Attributes
    ----------
    name : str
    prepare, work, check : callable
    """

    name: str
    prepare: Prepare
    work: Work
    check: Check


def nothing(folder: Path) -> None:
    """Prepare nothing."""


# ------------------------------------------------------------------------ project and journal


def corrections():
    """Atoms of a small lattice, to be edited."""
    from napari_atomlens import tables
    from napari_atomlens.session.edits import Corrections

    at = 10.0 * np.mgrid[:SIDE, :SIDE].reshape(2, -1).T + 5
    n = len(at)
    return Corrections(
        tables.make("atoms", {"frame": 0, "atom_id": np.arange(n), "y_px": at[:, 0],
                              "x_px": at[:, 1], "species": "column", "source": "fit"}, n),
        "me", 10.0,
    )  # fmt: skip


def edit(c, k: int) -> None:
    """One more edit; those of others are not taken back."""
    from napari_atomlens.session.edits import actions

    actions.set_species(c, [k % SIDE**2], f"species {k}")


def layers_of(c) -> list:
    """Layers of a window."""
    from napari_atomlens.session.project import CORRECTIONS

    atoms = c.atoms()
    at = atoms[["y_px", "x_px"]].to_numpy(float)
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    bonds = np.stack([at, np.roll(at, 1, 0) - at], 1)
    return [
        (image, {"name": "gold"}, "image"), (bonds, {"name": "bonds"}, "vectors"),
        (at, {"name": "atoms", "features": atoms, "metadata": {CORRECTIONS: c}}, "points"),
    ]  # fmt: skip


def prepare_project(folder: Path) -> None:
    """A project with one edit, and a file of the user in it."""
    from napari_atomlens.session.project import save_workspace

    c = corrections()
    edit(c, 0)
    path = save_workspace(folder / "work", layers_of(c))
    (path / "notes.txt").write_text(NOTES)


def save_projects(folder: Path, tell: Tell) -> None:
    """Edit and save, again and again."""
    from napari_atomlens.session.project import save_workspace

    c = corrections()
    edit(c, 0)
    for k in range(1, STEPS):
        edit(c, k)
        save_workspace(folder / "work", layers_of(c))
        tell(k)


def check_project(folder: Path, told: int) -> list[str]:
    """Open it: all edits that were saved, the user's file, and nothing hidden beside it."""
    from napari_atomlens.session.project import CORRECTIONS, load_workspace

    path = folder / "work.atomlens"
    space = load_workspace(path)
    (c,) = [a["metadata"][CORRECTIONS] for _, a, kind in space.layers if kind == "points"]
    said = [f"{len(c.journal)} edits of {told + 1}"] if len(c.journal) < told + 1 else []
    notes = path / "notes.txt"
    if not notes.is_file() or notes.read_text() != NOTES:
        said.append("the file of the user is lost")
    left = [p.name for p in folder.iterdir() if p.name.startswith(".") and p.is_dir()]
    return said + [f"left behind: {name}" for name in left]


def keep_journal(folder: Path, tell: Tell) -> None:
    """Edit in a window that writes every edit down."""
    from napari_atomlens.session.autosave import Autosave

    c = corrections()
    kept = Autosave(c, {"layer": "atoms"}, folder / "autosave")
    for k in range(STEPS * 10):
        edit(c, k)
        if k % 40 == 39:  # a new run of the model
            c.rerun(c.machine(), [0], 10.0)
        if not kept.problem:
            tell(k)


def check_journal(folder: Path, told: int) -> list[str]:
    """Restore the session: no edit that was written is lost."""
    from napari_atomlens.session.autosave import find_unsaved, restore

    found = find_unsaved(folder / "autosave")
    n = max((len(restore(one).journal) for one in found), default=0)
    said = [f"{n} edits of {told + 1}"] if n < told + 1 else []
    return said + ([f"{len(found)} sessions"] if len(found) > 1 else [])


# ----------------------------------------------------------------------- library and models


def entry(k: int):
    """A defect of a scan."""
    from napari_atomlens.graphs.library import Entry

    return Entry(
        "V1", "vacancy", "", ["C"], np.zeros((1, 2)), np.zeros((0, 2), int),
        patch=np.ones((16, 16), np.float32), source=f"scan {k}",
    )  # fmt: skip


def fill_library(folder: Path, tell: Tell) -> None:
    """Add defects one by one."""
    from napari_atomlens.graphs.library import DefectLibrary

    with DefectLibrary(folder / "defects.db") as library:
        for k in range(STEPS * 5):
            library.add([entry(k)])
            tell(k)


def check_library(folder: Path, told: int) -> list[str]:
    """Each defect is there once, with its picture; one more can be added."""
    from napari_atomlens.graphs.library import DefectLibrary

    with DefectLibrary(folder / "defects.db") as library:
        found = Counter(library.table(limit=10**6)["source"]) if told >= 0 else Counter()
        library.add([entry(-1)])
    lost = [k for k in range(told + 1) if not found[f"scan {k}"]]
    doubled = [s for s, n in found.items() if n > 1]
    return [f"lost: {k}" for k in lost] + [f"doubled: {s}" for s in doubled]


def prepare_models(folder: Path) -> None:
    """Models that were adapted."""
    from napari_atomlens.segmentation.zoo import BUNDLED

    for k in range(MODELS):
        place = folder / f"temporary-{k}"
        place.mkdir()
        shutil.copyfile(BUNDLED / "graphene.safetensors", place / f"mine-{k}.safetensors")
        (place / f"mine-{k}.md").write_text(f"# mine-{k}\n")


def keep_models(folder: Path, tell: Tell) -> None:
    """Keep adapted models, as the button does."""
    from napari_atomlens.training.adaptation import Adapted
    from napari_atomlens.training.keeping import keep

    os.environ["ATOMLENS_MODELS"] = str(folder / "models")
    for k in range(MODELS):
        path = folder / f"temporary-{k}" / f"mine-{k}.safetensors"
        keep(Adapted(path, f"mine-{k}", 0.1, 0.2, 0.3, 0.3, 1.0, [1.0], 1.0, facts={}))
        tell(k)


def check_models(folder: Path, told: int) -> list[str]:
    """Each model that was kept is whole and has its card; no model is in parts."""
    from napari_atomlens.segmentation.zoo import BUNDLED, find_model

    os.environ["ATOMLENS_MODELS"] = str(folder / "models")
    whole, said = (BUNDLED / "graphene.safetensors").read_bytes(), []
    for k in range(told + 1):
        info = find_model(f"mine-{k}")
        if info.path.read_bytes() != whole or not info.card:
            said.append(f"mine-{k} is damaged")
    for path in (folder / "models").glob("*.safetensors"):
        if path.read_bytes() != whole:
            said.append(f"{path.name} is in parts")
    return said


# ----------------------------------------------------------------------------- long runs


@contextmanager
def without_network() -> Iterator[None]:
    """A small honest analysis in the place of the real one."""
    from fake_analysis import FakeAnalysis

    from napari_atomlens.runs import frame, movie, tasks
    from napari_atomlens.runs.params import AnalysisParams
    from napari_atomlens.runs.plan import Plan
    from napari_atomlens.segmentation.zoo import find_model

    def one(stack, f: int, plan):
        result = FakeAnalysis.one(np.asarray(stack[f], float), f, AnalysisParams(), None)
        result.plan, result.model = plan, plan.model_name
        return result

    def plan_of(stack, params, **_: object):
        return Plan(params, find_model("universal"), spacing_px=12.0)

    frame.analyze_frames = FakeAnalysis()
    movie.PART = 5
    tasks._analyse_frame, tasks.make_plan, tasks.runtime.pin = one, plan_of, lambda: None
    yield


def movie_of(frames: int) -> np.ndarray:
    """A small movie."""
    from fake_analysis import lattice

    return lattice(3, frames=frames)


def analyse_movie(folder: Path, tell: Tell) -> None:
    """Analyse a movie frame by frame, with maps."""
    import napari_atomlens as al

    with without_network():
        for result in al.analyze_movie(movie_of(MOVIE), folder / "out", maps=True):
            tell(result.frame)


def check_movie(folder: Path, told: int) -> list[str]:
    """What was told is there; the run goes on, and at its end each frame is there once."""
    import napari_atomlens as al

    out, said = folder / "out", []
    if told >= 0:
        there = set(al.read_table(out, "frames")["frame"])
        said += [f"frame {k} is lost" for k in range(told + 1) if k not in there]
    with without_network():
        list(al.analyze_movie(movie_of(MOVIE), out, maps=True))
    return said + once(al.read_table(out, "frames"), al.read_table(out), MOVIE) + maps(out, MOVIE)


def once(frames: pd.DataFrame, atoms: pd.DataFrame, n: int) -> list[str]:
    """Frames and atoms that are lost or doubled in a folder that is complete."""
    said = [f"{len(frames)} rows of {n} frames"] if sorted(frames["frame"]) != [*range(n)] else []
    per = atoms.groupby("frame").size()
    return said + ([] if (per == 9).all() and len(per) == n else ["atoms are lost or doubled"])


def maps(out: Path, n: int) -> list[str]:
    """Frames without maps."""
    import zarr

    stored = zarr.open_group(out / "maps.zarr", mode="r")["probabilities"]
    empty = [k for k in range(n) if not np.asarray(stored[k]).any()]
    return [f"the maps of frame {k} are lost" for k in empty]


FILES, FRAMES = 3, 9


def inputs() -> Path:
    """Movies to be analysed, in a folder that is not attacked; made once."""
    folder = Path(os.environ["FAULT_INPUTS"]) / "movies"
    if not folder.exists():
        folder.mkdir(parents=True)
        for k in range(FILES):
            np.save(folder / f"{k}.npy", movie_of(FRAMES))
    return folder


def prepare_batch(folder: Path) -> None:
    """Some movies."""
    inputs()


def run_batch(folder: Path, tell: Tell) -> None:
    """Analyse the movies, in two threads."""
    import napari_atomlens as al

    with without_network():
        al.run_batch(
            [inputs()], folder / "out", workers=2, chunk_frames=3,
            progress=lambda done, total: tell(done - 1) if done else None,
        )  # fmt: skip


def check_batch(folder: Path, told: int) -> list[str]:
    """What was told is there; the run goes on, and at its end each frame is there once."""
    import napari_atomlens as al

    out, said = folder / "out", []
    if told >= 0:
        n = len(al.read_table(out, "frames"))
        said += [f"{n} frames of {told + 1}"] if n < told + 1 else []
    with without_network(), warnings.catch_warnings():
        warnings.simplefilter("error")  # no part is damaged
        done = al.run_batch([inputs()], out, workers=2, chunk_frames=3)
    frames, atoms = al.read_table(out, "frames"), al.read_table(out)
    for name, rows in frames.groupby("file"):
        said += [f"{name}: {s}" for s in once(rows, atoms[atoms["file"] == name], FRAMES)]
    return said + ([] if done.complete and frames["file"].nunique() == FILES else ["files lost"])


SCANS = 16


def prepare_scans(folder: Path) -> None:
    """Some scans, and a folder of the user that has the name of one."""
    (folder / "in").mkdir()
    for k in range(SCANS):
        image = np.random.default_rng(k).normal(size=(40, 40)).cumsum(1)
        np.save(folder / "in" / f"{k:02d}.npy", image.astype(np.float32))
    (folder / "out" / "05.npy").mkdir(parents=True)
    (folder / "out" / "05.npy" / "notes.txt").write_text(NOTES)


@contextmanager
def without_processes() -> Iterator[None]:
    """Files are read and judged here: their processes write nothing that could be lost."""
    from napari_atomlens.runs import team

    class Here:
        def call(self, limit_s: float, function: Callable, *args: object) -> object:
            return function(*args)

        def close(self) -> None:
            pass

    before = team.borrow, team.give_back
    team.borrow, team.give_back = Here, lambda process: None
    try:
        yield
    finally:
        team.borrow, team.give_back = before


def watch(folder: Path) -> Iterator:
    """Watch the folder until all of it is done."""
    from napari_atomlens.runs.params import WatchParams
    from napari_atomlens.runs.watch import watch_folder

    params = WatchParams(
        analysis="none", out=str(folder / "out"), settle_s=0.01, poll_s=0.01, workers=2
    )
    with without_processes():
        yield from watch_folder(folder / "in", params, once=True)


def watch_scans(folder: Path, tell: Tell) -> None:
    """Watch a folder."""
    done = 0
    for event in watch(folder):
        if event.event == "analysed":
            tell(done)
            done += 1


def check_scans(folder: Path, told: int) -> list[str]:
    """What was told has its results; at the end each scan has them once, and an event by its id."""
    import json

    import napari_atomlens as al
    from napari_atomlens.files import digest

    out = folder / "out"

    def results() -> Counter:
        found: Counter = Counter()
        for place in out.iterdir():
            if (place / "run.json").is_file() and not place.name.startswith("."):
                facts = al.load(place).provenance
                image = folder / "in" / facts["file"]
                found[facts["file"]] += 1 if facts["sha256"] == digest(image) else 100
        return found

    n = len(results()) if out.exists() else 0
    said = [f"{n} results of {told + 1}"] if n < told + 1 else []
    said += [f"{e.name}: {e.message}" for e in watch(folder) if e.event in ("skipped", "failed")]
    names = {f"{k:02d}.npy" for k in range(SCANS)}
    said += [f"{k} has {v} results" for k, v in results().items() if v != 1]
    said += [f"{name} is lost" for name in names - set(results())]
    lines = [
        json.loads(v) for v in (out / "events.jsonl").read_text().splitlines() if v[-1:] == "}"
    ]
    good = {v["id"]: v["name"] for v in lines if v["event"] == "analysed"}
    if Counter(good.values()) != Counter(names):
        said.append(f"events are lost or doubled: {Counter(good.values()) - Counter(names)}")
    notes = out / "05.npy" / "notes.txt"
    if not notes.is_file() or notes.read_text() != NOTES:
        said.append("the file of the user is lost")
    left = [p.name for p in out.iterdir() if p.name.startswith(".") and p.is_dir()]
    return said + [f"left behind: {name}" for name in left]


CASES = [
    Case("project", prepare_project, save_projects, check_project),
    Case("journal", nothing, keep_journal, check_journal),
    Case("library", nothing, fill_library, check_library),
    Case("adapt", prepare_models, keep_models, check_models),
    Case("stream", nothing, analyse_movie, check_movie),
    Case("batch", prepare_batch, run_batch, check_batch),
    Case("watch", prepare_scans, watch_scans, check_scans),
]
