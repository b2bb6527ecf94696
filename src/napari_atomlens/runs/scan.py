"""One scan beside the instrument: assessed, analysed, written."""

from __future__ import annotations

import contextlib
import json
import stat
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_atomlens import __version__, segmentation, stm, tables
from napari_atomlens.errors import AtomLensError, FormatError
from napari_atomlens.files import Json
from napari_atomlens.folders import WRITTEN
from napari_atomlens.graphs.library import DefectLibrary, Entry, cut_patch
from napari_atomlens.image import as_stack, image_hash, is_height
from napari_atomlens.io.export.tables import write_csv
from napari_atomlens.io.formats.choice import take_image
from napari_atomlens.io.formats.readers import read
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.note import read_note
from napari_atomlens.runs.analysis import analyze
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.result import Result
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.stm.assessment import WEIGHTS, Verdict, assess, assessment_network
from napari_atomlens.stm.levelling import level
from napari_atomlens.stm.rows import shows_dimer_rows

#: What an earlier version wrote beside the results, without a list of it.
OURS = ("atoms.csv", "defects.csv", "steps.csv")


@dataclass(eq=False)
class ScanResult:
    """What was computed of one scan.

    Attributes
    ----------
    image : ndarray, shape (H, W)
    verdict : Verdict
    tables : dict of str to DataFrame
        "atoms" and, for H-Si(100), "defects" and "steps".
    messages : list of str
    pixel_size_nm : tuple of float or None
    kind : str
        Which analysis it was.
    seconds : dict of str to float
    result : Result or None
        Of the analysis of atoms.
    image_name : str
        Of the image in its file; "" where there is no file.
    left_out : tuple of str
        Other images of the file.
    """

    image: np.ndarray
    verdict: Verdict
    tables: dict[str, pd.DataFrame]
    messages: list[str]
    pixel_size_nm: tuple[float, float] | None
    kind: str
    seconds: dict[str, float]
    result: Result | None = None
    image_name: str = ""
    left_out: tuple[str, ...] = ()


def stamp_of(path: Path) -> tuple[int, int]:
    """Size of a file and when it changed, in ns; of a store, of all of its files.

    Raises
    ------
    OSError
        If it is gone, or cannot be looked at.
    """
    inside = path.rglob("*") if path.is_dir() else ()
    stats = [path.stat(), *(p.stat() for p in inside)]
    files = [s for s in stats if stat.S_ISREG(s.st_mode)]
    return sum(s.st_size for s in files), max(s.st_mtime_ns for s in stats)


def scan_file(path: Path, stamp: tuple[int, int], params: WatchParams, threads: int) -> ScanResult:
    """Read, assess and analyse a file; in a process of its own, since readers may hang.

    Parameters
    ----------
    path : pathlib.Path
    stamp : tuple of int
        See :func:`stamp_of`: what was looked at.
    params : WatchParams
    threads : int
        That PyTorch may use.

    Raises
    ------
    AtomLensError
        If it cannot be used, or has changed since.
    """
    clock = time.perf_counter()
    if params.analysis != "none":
        runtime.pin(threads)
    taken = take_image(read(path), params.image)
    image = taken.image
    data = np.asarray(image.data if image.data.ndim == 2 else image.data[0])
    if stamp_of(path) != stamp:
        raise FormatError(f"{path.name} changed while it was read.")
    seconds = time.perf_counter() - clock
    scan = analyse_scan(data, image.pixel_size_nm, params, in_nm=image.metadata.get("unit") == "nm")
    scan.seconds = {"read": seconds, **scan.seconds}
    scan.image_name, scan.left_out = image.name, taken.left_out
    if image.data.ndim == 3 and image.data.shape[0] > 1:
        scan.messages.append(f"The first of {image.data.shape[0]} frames is analysed.")
    if taken.sentence:
        scan.messages.append(taken.sentence)
    return scan


def warm_up(params: WatchParams) -> None:
    """Load the networks before the first scan comes."""
    if params.analysis != "none":
        for name in ("universal", "h-si-100"):
            with contextlib.suppress(AtomLensError):
                segmentation.load_network(find_model(name))
    assessment_network(WEIGHTS)


def analyse_scan(
    image: ArrayLike, pixel_size_nm: tuple[float, float] | None, params: WatchParams,
    *, in_nm: bool = False,
) -> ScanResult:  # fmt: skip
    """Assess and analyse one scan; one of heights, which `in_nm` or its values say, is levelled.

    Raises
    ------
    AtomLensError
        If it cannot be used at all.
    """
    said = params.pixel_size_nm
    size = pixel_size_nm if said is None else (said, said)
    z = as_stack(image)[0]
    seconds: dict[str, float] = {}

    def judge() -> Verdict:
        start = time.perf_counter()
        verdict = assess(z)
        seconds["assess"] = time.perf_counter() - start
        return verdict

    with ThreadPoolExecutor(1) as pool:  # side by side: an instrument waits for both
        judged = pool.submit(judge)
        if params.min_score > 0 or params.analysis == "none":
            judged.result()
        start = time.perf_counter()
        low = params.min_score > 0 and judged.result().score < params.min_score
        kind = "none" if low else _kind_of(z, size, params)
        found, messages, result = _tables_of(z, size, kind, judged, in_nm)
        seconds["analyse"] = time.perf_counter() - start
        verdict = judged.result()
    if verdict.label != "good":
        messages = [*verdict.reasons, *messages]
    return ScanResult(z, verdict, found, messages, size, kind, seconds, result)


def _kind_of(z: np.ndarray, size: tuple[float, float] | None, params: WatchParams) -> str:
    """Which analysis a scan gets."""
    if params.analysis != "auto":
        return params.analysis
    return "silicon" if size is not None and shows_dimer_rows(z, size) else "atoms"


def _tables_of(
    z: np.ndarray, size: tuple[float, float] | None, kind: str, judged: Future[Verdict],
    in_nm: bool,
) -> tuple[dict[str, pd.DataFrame], list[str], Result | None]:  # fmt: skip
    """Tables of a scan, sentences, and the result where it is one of atoms."""
    if kind == "silicon":
        scan = stm.analyze_silicon(z, size, verdict=judged.result)
        edges = scan.terraces.edges
        if in_nm:
            edges = edges.assign(height_nm=edges["height"])
        found = {"atoms": scan.atoms, "defects": scan.defects, "steps": edges}
        return found, [m for m in scan.messages if not m.startswith("This scan may")], None
    if kind == "atoms":
        flat = level(z) if in_nm or is_height(z) else z
        result = analyze(flat, pixel_size_nm=size, keep_maps=False)
        return {"atoms": result.atoms}, list(result.messages), result
    return {}, [], None


def write_scan(target: Path, scan: ScanResult, source: Json) -> None:
    """Write what was found so that the folder is there completely or not at all.

    Parameters
    ----------
    target : pathlib.Path
        The folder; :func:`napari_atomlens.load` opens it, and the tables stand in it as CSV for
        other programs.
    scan : ScanResult
    source : mapping
        What is known of the file.

    Raises
    ------
    FormatError
        If another program holds the folder.
    OSError
        If it cannot be written; what was there is left as it was.
    """
    with layout.writing_folder(target, more=OURS) as fresh:
        layout.write(fresh, _saved(scan, source))
        for name, table in scan.tables.items():
            write_csv(fresh / f"{name}.csv", table)


def source_of_scan(folder: Path) -> Json:
    """What :func:`write_scan` was told of the source; empty where the folder is none of it."""
    try:
        note = read_note(folder / layout.NOTE)
        record = dict(note["provenance"])
        return record if isinstance(record["source"], str) else {}
    except (FormatError, KeyError, TypeError, ValueError, OSError):
        return {}


def is_complete(folder: Path) -> bool:
    """Whether all is there that was written for a scan: a power cut may leave files empty."""
    try:
        listed = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
        # the user may have changed a table since: only its size of then is not asked for
        return all((folder / name).stat().st_size >= min(1, n) for name, n in listed.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _saved(scan: ScanResult, source: Json) -> layout.Saved:
    """What a scan gave, as a folder holds it."""
    verdict, result = scan.verdict, scan.result
    record = {} if result is None else result.record()
    record = {
        "atomlens": __version__, "image_sha256": image_hash(scan.image),
        "image_shape": [1, *scan.image.shape], "pixel_size_nm": scan.pixel_size_nm, **record,
        **source, "image": scan.image_name, "images_left_out": list(scan.left_out),
        "analysis": scan.kind,
        "verdict": {"score": verdict.score, "label": verdict.label, "reasons": verdict.reasons,
                    "faults": verdict.faults},
        "counts": {k: len(v) for k, v in scan.tables.items()},
    }  # fmt: skip
    later = {k: v for k, v in scan.tables.items() if k != "atoms"}
    if result is None:
        atoms = scan.tables.get("atoms", tables.empty("atoms"))
        return layout.Saved(
            atoms, tables.empty("contours"), {}, *layout.no_maps(0), (), [0], record,
            scan.messages, scan.seconds, later,
        )  # fmt: skip
    return layout.Saved(
        result.atoms, result.contours, result.outlines, *layout.no_maps(len(result.classes)),
        result.classes, result.frames, record, scan.messages, scan.seconds, later,
    )  # fmt: skip


def add_to_library(path: str | Path, scan: ScanResult, source: str) -> int:
    """Add the defects of an analysed scan to a defect library, with a picture of each.

    Parameters
    ----------
    path : path
        Of the library; made where there is none.
    scan : ScanResult
    source : str
        Name of the scan; of a source that the library has already nothing is added, so that a
        scan that is analysed again after a crash is not there twice.

    Returns
    -------
    int
        Number of defects that were added.
    """
    defects = scan.tables.get("defects")
    if defects is None or not len(defects):
        return 0
    defects = defects[defects["kind"] != "step edge"]
    size = scan.pixel_size_nm
    pixel = float(size[0]) if size else float("nan")
    side = 3.0 / pixel if size else 32.0
    provenance = {"analysis": scan.kind, "score": scan.verdict.score}
    entries = [
        Entry(
            formula="H-Si(100)", kind=str(kind), graph_hash="", species=["Si"],
            places_nm=np.zeros((1, 2)), pairs=np.zeros((0, 2), int), score=float(score),
            patch=cut_patch(scan.image, (float(y), float(x)), side), pixel_size_nm=pixel,
            source=source, provenance=provenance, tags=("STM",),
        )
        for kind, score, y, x in zip(
            defects["kind"], defects["score"], defects["y_px"], defects["x_px"], strict=True
        )
    ]  # fmt: skip
    with DefectLibrary(path) as library:
        if source in set(library.table()["source"]):
            return 0
        return len(library.add(entries))
