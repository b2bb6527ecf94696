"""An analysed image or movie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens.cards import Card, by_size, counted
from napari_atomlens.errors import ParameterError
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.files import Json
from napari_atomlens.graphs.bonds import BondGraph
from napari_atomlens.graphs.rules import Rules
from napari_atomlens.io.projects import folder as layout
from napari_atomlens.io.projects.parts import with_objects
from napari_atomlens.lattice.lattice import Lattice
from napari_atomlens.runs import derived, provenance
from napari_atomlens.segmentation.probabilities import column_probability
from napari_atomlens.segmentation.zoo import roles_of
from napari_atomlens.tracking.following import MovieResult

#: Later tables that a result can have.
LATER = ("bonds", "defects", *derived.FOLLOWED, *derived.MEASURED)


class Result(Card):
    """An analysed image or movie.

    Later tables (bonds, defects, tracks, dumbbells, lattices, ...) are made when they are first
    asked for, and kept. Other atoms or contours (``result.atoms = corrected``) let go of what was
    made of the former ones.

    Parameters
    ----------
    atoms, contours : pandas.DataFrame
        Tables over all frames.
    outlines : dict of int to list of ndarray
        Outlines by frame, in the order of the contours table.
    probabilities : array of float16, shape (t, n_classes, H, W)
        A numpy array, or one that is read when it is needed where it would not fit in memory;
        without frames where the maps were not kept.
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

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> result = al.analyze(image, spacing_px=10.0)
    >>> result.classes
    ('background', 'column', 'bright column', 'contamination')
    >>> result.save("image.atomlens").name
    'image.atomlens'
    >>> len(al.load("image.atomlens").atoms) == len(result.atoms)
    True
    """

    def __init__(
        self,
        atoms: pd.DataFrame,
        contours: pd.DataFrame,
        outlines: dict[int, list[np.ndarray]],
        probabilities: np.ndarray,
        unfamiliar: np.ndarray,
        classes: tuple[str, ...],
        frames: list[int],
        provenance: Json,
        messages: list[str] | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self._atoms, self._contours = atoms, contours
        self.outlines = outlines
        self.probabilities, self.unfamiliar = probabilities, unfamiliar
        self.classes, self.frames = classes, frames
        self.provenance = provenance
        self.messages = messages or []
        self.seconds = seconds or {}
        self._later: dict[str, pd.DataFrame] = {}
        self._graph: BondGraph | None = None
        self._why = ""
        self._lattice: Lattice | None = None
        self._followed: MovieResult | None = None

    # ------------------------------------------------------------------ atoms

    @property
    def atoms(self) -> pd.DataFrame:
        """Atoms table over all frames."""
        return self._atoms

    @atoms.setter
    def atoms(self, table: pd.DataFrame) -> None:
        """Take other atoms; later tables are made anew when they are asked for."""
        self._atoms = table
        self._forget("atoms")

    @property
    def contours(self) -> pd.DataFrame:
        """Contours table over all frames."""
        return self._contours

    @contours.setter
    def contours(self, table: pd.DataFrame) -> None:
        """Take other contours; what was made of the former ones is let go of."""
        self._contours = table
        self._forget("contours")

    def _forget(self, changed: str) -> None:
        stale = derived.stale_after(changed)
        self._later = {n: t for n, t in self._later.items() if n not in stale}
        if "bonds" in stale:
            self._graph = None
        if "lattices" in stale:
            self._lattice = None
        if stale & {"tracks", "dumbbells"}:
            self._followed = None

    @property
    def spacing_px(self) -> float:
        """Median distance between nearest columns over the frames, in pixels."""
        values = [v for v in self.provenance.get("spacing_px", {}).values() if np.isfinite(v)]
        return float(np.median(values)) if values else float("nan")

    @property
    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm, None where it is unknown."""
        size = self.provenance.get("pixel_size_nm")
        return None if size is None else (float(size[0]), float(size[1]))

    # ------------------------------------------------------------ later tables

    def table(self, name: str) -> pd.DataFrame:
        """Return a table by its name, made now where it is not there yet.

        Parameters
        ----------
        name : str
            "atoms", "contours" or one of `LATER`.

        Raises
        ------
        ParameterError
            If there is none of that name.
        """
        if not isinstance(name, str):
            raise ParameterError(f"A table is named by a text, not {type(name).__name__}.")
        if name in ("atoms", "contours"):
            return self.atoms if name == "atoms" else self.contours
        if name not in self._later:
            self._later |= {n: with_objects(t.copy(deep=False)) for n, t in self._make(name)}
        return self._later[name]

    def made(self) -> list[str]:
        """Names of the later tables that are there."""
        return [n for n in LATER if n in self._later]

    def _make(self, name: str) -> list[tuple[str, pd.DataFrame]]:
        """Make a later table, and those that come with it."""
        if name == "bonds":
            return [(name, self.bond_graph.bonds)]
        if name == "defects":
            return [(name, derived.defects(self.bond_graph))]
        if name in derived.FOLLOWED:
            return [(n, getattr(self.followed, n)) for n in derived.FOLLOWED]
        if name == "vacancies":
            return [(name, derived.vacancies(self.lattice))]
        if name not in LATER:
            raise ParameterError(f"There is no table {name}; there are {', '.join(LATER)}.")
        return [(name, getattr(self.lattice, name))]

    @property
    def followed(self) -> MovieResult:
        """What happened in the movie; see :func:`napari_atomlens.tracking.follow`."""
        if self._followed is None:
            contours = self.contours if len(self.contours) else None
            self._followed = derived.followed(self.atoms, contours, self.pixel_size_nm)
            said = self._followed.message
            self.messages += [said] if said and said not in self.messages else []
        return self._followed

    @property
    def lattice(self) -> Lattice:
        """The lattice that the atoms form; see :func:`napari_atomlens.measure_lattice`."""
        if self._lattice is None:
            self._lattice = derived.lattice(self.atoms, self.pixel_size_nm)
        return self._lattice

    def bond(self, rules: Rules | str = "auto") -> BondGraph:
        """Connect the atoms by chemical rules and keep the graph.

        See :func:`napari_atomlens.graphs.bond`.

        Parameters
        ----------
        rules : Rules or str
            Rules, the name of a preset or "auto". The tables `bonds` and `defects` are then
            those of these rules.
        """
        shape = derived.shape_of(self.provenance)
        self._graph, self._why = derived.bond_graph(self.atoms, rules, shape)
        self._later.pop("bonds", None)
        self._later.pop("defects", None)
        return self._graph

    @property
    def bond_graph(self) -> BondGraph:
        """Graph of atoms and bonds, made by rules that fit the image unless `bond` was called."""
        return self.bond() if self._graph is None else self._graph

    @property
    def bonds(self) -> pd.DataFrame:
        """Bonds table, computed when it is first asked for."""
        return self.table("bonds")

    @property
    def defects(self) -> pd.DataFrame:
        """Defects table, computed when it is first asked for."""
        return self.table("defects")

    @property
    def vacancies(self) -> pd.DataFrame:
        """Vacant sites of the lattice, as rows of the atoms table of source "lattice"."""
        return self.table("vacancies")

    @property
    def tracks(self) -> pd.DataFrame:
        """Tracks table: which atom is which from frame to frame, found when first asked for."""
        return self.table("tracks")

    @property
    def dumbbells(self) -> pd.DataFrame:
        """Dumbbells table, measured when first asked for; empty where there are none."""
        return self.table("dumbbells")

    # ------------------------------------------------------------------ record

    def record(self) -> Json:
        """Return the provenance with that of the later tables as far as they were made."""
        more: Json = {}
        if self._graph is not None:
            more |= {"rules": self._graph.rules.as_dict(), "rules_chosen": self._why}
        if self._lattice is not None:
            more["lattice"] = self._lattice.params
        return {**self.provenance, **more}

    def save(self, path: str | Path) -> Path:
        """Write everything to a ``.atomlens`` project folder, with the later tables made so far."""
        saved = layout.Saved(
            self.atoms, self.contours, self.outlines, self.probabilities, self.unfamiliar,
            self.classes, self.frames, self.record(), self.messages, self.seconds, self._later,
        )  # fmt: skip
        return layout.save_saved(path, saved)

    # ------------------------------------------------------------------ shown

    def _title(self) -> str:
        shape = self.provenance.get("image_shape") or []
        size, frames = self.pixel_size_nm, ""
        if shape and shape[0] != 1:
            frames = f", {len(self.frames):,} of {shape[0]:,} frames"
        pixel = f", {size[1]:.4g} nm per pixel" if size else ", pixel size unknown"
        place = f" ({by_size(shape[-2:])}{frames}{pixel})" if shape else ""
        return f"Result of {self.provenance.get('image', 'array')}{place}"

    def _facts(self) -> dict[str, object]:
        out = is_unfamiliar(self.atoms)
        species: pd.Series = self.atoms.get("species", pd.Series(dtype=object)).astype(str)
        kinds = counted(s or "unnamed" for s in species[~out])
        unfamiliar = f"; {out.sum():,} more left out as unfamiliar" if out.any() else ""
        chosen = self.provenance.get("model_chosen", "given")
        good = provenance.quality_of(self.provenance)
        return {
            "model": f"{self.provenance.get('model', 'unknown')} ({chosen})",
            "atoms": f"{(~out).sum():,}: {kinds}{unfamiliar}" if len(self.atoms) else "none",
            "quality": good.sentence().removeprefix("Quality: ") if good else "",
            "contours": f"{len(self.contours):,}",
            "later tables": ", ".join(self.made()) or "made when they are asked for",
            "messages": f"{len(self.messages)}: {self.messages[0]}" if self.messages else "",
        }

    def _picture(self) -> np.ndarray | None:
        """Probability of a column in the first frame."""
        if not self.probabilities.shape[0]:
            return None
        first = np.asarray(self.probabilities[0])
        return column_probability(first, roles_of(self.classes))


def load(path: str | Path, file: str = "") -> Result:
    """Open what a run wrote: a project, a movie, a scan of a watched folder, a file of a batch.

    Parameters
    ----------
    path : path
        A ``.atomlens`` project that :meth:`Result.save` or a window wrote, or the folder of
        :func:`analyze_movie`, :func:`run_batch` or :func:`watch_folder`. Of a window there are
        the corrected atoms; its maps and contours are layers.
    file : str
        Which file of a batch, by the name in its column ``file``; not needed where there is one.

    Returns
    -------
    Result

    Raises
    ------
    FormatError
        If there is no such thing, or it is damaged or of a later version.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> al.analyze(image, spacing_px=10.0).save("image.atomlens").name
    'image.atomlens'
    >>> result = al.load("image.atomlens")
    >>> round(result.spacing_px)
    10
    """
    saved = layout.read_saved(path, file)
    record, messages, seconds = saved.provenance, saved.messages, saved.seconds
    rows = saved.rows
    if rows is not None and "spacing_px" in rows:  # a folder that grew
        good = rows[rows["error"] == ""]
        record = provenance.finished(record, good)
        messages = provenance.messages_of(record, good)
        seconds = {"all": float(good["seconds"].sum())}
    result = Result(
        saved.atoms, saved.contours, saved.outlines, saved.probabilities, saved.unfamiliar,
        saved.classes, saved.frames, record, messages, seconds,
    )  # fmt: skip
    result._later = dict(saved.later)
    return result
