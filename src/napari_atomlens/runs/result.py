"""An analysed image or movie."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens import __version__, tables
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.choose import choose_rules
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.image import image_hash
from napari_atomlens.io.projects.folder import save_tables
from napari_atomlens.params import as_dict
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.store import MapStore
from napari_atomlens.segmentation.runtime import half_precision
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.tracking.dumbbells import measure_dumbbells
from napari_atomlens.tracking.linking import link, tracks_table

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph


@dataclass
class Result:
    """An analysed image or movie.

    Attributes
    ----------
    atoms, contours : pandas.DataFrame
        Tables over all frames.
    outlines : dict of int to list of ndarray
        Outlines by frame, in the order of the contours table.
    probabilities : array of float16, shape (t, n_classes, H, W)
        A numpy array, or a zarr array where it would not fit in memory.
    unfamiliar : array of float16, shape (t, H, W)
    classes : tuple of str
    frames : list of int
        Indices of the analysed frames; the first axis of the maps follows it.
    provenance : dict
        Parameters, version, model and image hashes that made this result.
    messages : list of str
        Sentences for the user.
    seconds : dict of str to float
        Time by stage, summed over frames.
    """

    atoms: pd.DataFrame
    contours: pd.DataFrame
    outlines: dict[int, list[np.ndarray]]
    probabilities: Any
    unfamiliar: Any
    classes: tuple[str, ...]
    frames: list[int]
    provenance: dict[str, Any]
    messages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def spacing_px(self) -> float:
        """Median distance between nearest columns over the frames, in pixels."""
        values = [v for v in self.provenance.get("spacing_px", {}).values() if np.isfinite(v)]
        return float(np.median(values)) if values else float("nan")

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """Tracks table: which atom is which from frame to frame, found when first asked for."""
        return tracks_table(link(self.atoms))

    @cached_property
    def dumbbells(self) -> pd.DataFrame:
        """Dumbbells table, measured when first asked for; empty where there are none."""
        return measure_dumbbells(
            self.atoms, self.contours, pixel_size_nm=self.provenance.get("pixel_size_nm")
        )

    def bond(self, rules: Any = "auto") -> BondGraph:
        """Connect the atoms by chemical rules and keep the graph.

        See :func:`napari_atomlens.graphs.bond`.

        Parameters
        ----------
        rules : Rules or str
            Rules, the name of a preset or "auto". The tables `bonds` and `defects` are then
            those of these rules.
        """
        why = ""
        if rules == "auto":
            rules, why = choose_rules(self.atoms)
        shape: list[int] = list(self.provenance.get("image_shape") or [])
        size = (shape[1], shape[2]) if len(shape) >= 3 else None
        graph = bond(self.atoms, rules, shape_px=size)
        self.provenance["rules"] = graph.rules.as_dict()
        self.provenance["rules_chosen"] = why or "given"
        self.__dict__["_graph"] = graph
        self.__dict__.pop("_defects", None)
        return graph

    @property
    def bond_graph(self) -> BondGraph:
        """Graph of atoms and bonds, made by rules that fit the image unless `bond` was called."""
        return self.__dict__["_graph"] if "_graph" in self.__dict__ else self.bond()

    @property
    def bonds(self) -> pd.DataFrame:
        """Bonds table, computed when it is first asked for."""
        return self.bond_graph.bonds

    @property
    def defects(self) -> pd.DataFrame:
        """Defects table, computed when it is first asked for."""
        if "_defects" not in self.__dict__:
            self.__dict__["_defects"] = find_defects(self.bond_graph)
        return self.__dict__["_defects"]

    def save(self, path: str | Path) -> Path:
        """Write everything to a ``.atomlens`` project folder."""
        payload = {f: getattr(self, f) for f in self.__dataclass_fields__}
        return Path(save_tables(path, payload))


def collect(
    results: list[FrameResult],
    params: AnalysisParams,
    pixel_size_nm: tuple[float, float] | None,
    movie: Any,
    name: str = "array",
    maps: MapStore | None = None,
) -> Result:
    """Join the results of frames, in the order of the frames, with their provenance."""
    order = sorted(range(len(results)), key=lambda i: results[i].frame)
    results = [results[i] for i in order]
    info = find_model(results[0].model or params.model if results else params.model)
    reason = next((r.model_reason for r in results if r.model_reason), "")

    def join(which: str) -> pd.DataFrame:
        parts = [t for r in results if len(t := getattr(r, which))]
        return pd.concat(parts, ignore_index=True) if parts else tables.empty(which)

    seconds: dict[str, float] = {}
    for r in results:
        for stage, s in r.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + s
    shape = tuple(int(s) for s in movie.shape[1:3])
    probabilities: Any = np.zeros((0, len(info.classes), *shape), np.float16)
    unfamiliar: Any = np.zeros((0, *shape), np.float16)
    if maps is not None and results:
        probabilities, unfamiliar = maps.ordered(order)
    messages = [
        f"Frame {r.frame}: {r.message}" if movie.shape[0] > 1 else r.message
        for r in results
        if r.message
    ]
    if reason and info.name != "universal":
        messages.insert(0, reason)
    return Result(
        atoms=join("atoms"),
        contours=join("contours"),
        outlines={r.frame: r.outlines for r in results},
        probabilities=probabilities,
        unfamiliar=unfamiliar,
        classes=info.classes,
        frames=[r.frame for r in results],
        provenance={
            "atomlens": __version__,
            "parameters": as_dict(params),
            "model": info.name,
            "model_chosen": reason or "given",
            "precision": "bfloat16" if half_precision() else "float32",
            "model_sha256": info.file_hash(),
            "image": name,
            "image_sha256": image_hash(movie[results[0].frame]) if results else "",
            "image_shape": [int(s) for s in movie.shape],
            "pixel_size_nm": pixel_size_nm,
            "window": max((r.window for r in results), default=1),
            "spacing_px": {str(r.frame): r.spacing_px for r in results},
        },
        messages=messages,
        seconds=seconds,
    )
