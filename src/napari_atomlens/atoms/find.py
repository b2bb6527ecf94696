"""From probabilities to the atoms table of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.atoms.centre_of_mass import centre_of_mass
from napari_atomlens.atoms.disorder import disorder
from napari_atomlens.atoms.evidence import gather
from napari_atomlens.atoms.fitted import Fit
from napari_atomlens.atoms.ghosts import ghosts
from napari_atomlens.atoms.pairs import pair_sentences, resolve_pairs
from napari_atomlens.atoms.peaks import (
    calibrated,
    chance_alone,
    company,
    find_peaks,
    share_recorded,
)
from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.atoms.species import bright_probability, silicon_or_heavier, single_or_pair
from napari_atomlens.atoms.surroundings import beside_a_lattice, unfamiliarity
from napari_atomlens.atoms.trust import DOUBTFUL, decided
from napari_atomlens.atoms.ways import Refine
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import check_choice, number_between, of_kind
from napari_atomlens.progress import ProgressLike
from napari_atomlens.segmentation.isolated import outstanding_at
from napari_atomlens.segmentation.probabilities import Probabilities


def within_frame(fit: Fit, shape: tuple[int, int]) -> np.ndarray:
    """Columns at least half of their width away from the border: their height is measured."""
    margin = 0.5 * fit.sigma
    return (
        (fit.y > margin)
        & (fit.x > margin)
        & (fit.y < shape[0] - 1 - margin)
        & (fit.x < shape[1] - 1 - margin)
    )


#: Distance between the nodes of the background under single atoms, in spacings (3.5 widths).
UNDER_ATOMS = 1.5
#: An atom less likely than this is drawn only in the company of others.
SURE_ALONE = 0.98


def alone(positions: np.ndarray, chance: np.ndarray, spacing: float) -> np.ndarray:
    """Doubtful columns with fewer than four likely ones (0.8) within 2.5 spacings.

    Noise makes a doubtful peak here and there; a lattice makes neighbours, and a single
    adatom that can be told from noise at all is sure by itself.
    """
    near = company(positions, (chance > 0.8).astype(float), 2.5 / 2.2 * spacing)
    return (chance < SURE_ALONE) & (near < 4)


def on_image(fit: Fit, probabilities: Probabilities) -> np.ndarray:
    """Columns whose centre lies on the image.

    Of a column cut by the border the network may only see the flank; what it places right
    on the border, and the fit cannot place better, has its centre outside.
    """
    height, width = probabilities.frame.shape
    inner = np.minimum.reduce([fit.y, fit.x, height - 1 - fit.y, width - 1 - fit.x])
    return inner > np.where(fit.places(), 0.0, 0.08 * probabilities.spacing_px)


def unknown_or(values: np.ndarray | None, n: int) -> np.ndarray:
    """Values, or NaN where the fit did not give them."""
    return np.full(n, np.nan) if values is None else values


def shapes(fit: Fit) -> dict[str, np.ndarray]:
    """Columns of the atoms table that only elliptic columns have."""
    if fit.aspect is None or fit.aspect_err is None or fit.axis_rad is None:
        return {}
    return {"aspect": fit.aspect, "aspect_err": fit.aspect_err, "axis_rad": fit.axis_rad}


def width_groups(labels: np.ndarray, fewest: int = 12) -> np.ndarray:
    """Groups of columns that may share a width: classes with enough members, and the rest."""
    members = np.bincount(labels)
    return np.where(members[labels] >= fewest, labels, members.argmax())


def _refined(
    probabilities: Probabilities,
    positions: np.ndarray,
    shares: np.ndarray,
    refine: Refine,
    params: FitParams,
    progress: ProgressLike,
) -> Fit:
    """Positions refined as asked for; NaN for what was not measured."""
    n = len(positions)
    frame, spacing = probabilities.frame, probabilities.spacing_px
    if n and refine in ("fit", "elliptic"):
        params = replace(params, elliptic=params.elliptic or refine == "elliptic")
        if probabilities.without_lattice:  # else atoms grow wide to take the hills of the film
            nodes = min(params.background_spacings, UNDER_ATOMS)
            params = replace(params, background_spacings=nodes)
        groups = width_groups(shares.argmax(1))
        fit = fit_columns(
            frame, positions, spacing, params, groups, recorded=probabilities.recorded,
            dark=probabilities.dark, copies=probabilities.copies, progress=progress,
        )  # fmt: skip
        return _signed(fit, dark=probabilities.dark)
    unknown = np.full((6, n), np.nan)
    bare = Fit(positions[:, 0], positions[:, 1], *unknown, ok=np.zeros(n, bool))  # type: ignore[misc]
    if n and refine == "centroid":
        found, bare.amplitude, bare.background = centre_of_mass(frame, positions, spacing)
        bare.y, bare.x = found.T
    return _signed(bare, dark=probabilities.dark)


def _signed(fit: Fit, *, dark: bool) -> Fit:
    """Return a fit with the grey values of the image; of dark columns amplitudes are depths."""
    if dark:
        fit.background = -fit.background
    return fit


@dataclass(frozen=True)
class Fitted:
    """Candidates of one frame once they were fitted.

    Attributes
    ----------
    positions : ndarray, shape (n, 2)
        Where the network saw them.
    chance : ndarray, shape (n,)
        Probability by the network.
    shares : ndarray, shape (n, n_kinds)
        Share of each class of columns.
    strange : ndarray, shape (n,)
        The unfamiliar-region map there.
    fit : Fit
    evidence : ndarray, shape (n, len(NAMES)) or None
        See :func:`napari_atomlens.atoms.evidence.gather`; None where nothing was fitted.
    two, left : ndarray of bool, shape (n,)
        Those that are one of two columns that the network saw as one, and those that are drawn
        out as if they were two (see :func:`napari_atomlens.atoms.pairs.resolve_pairs`).
    """

    positions: np.ndarray
    chance: np.ndarray
    shares: np.ndarray
    strange: np.ndarray
    fit: Fit
    evidence: np.ndarray | None
    two: np.ndarray
    left: np.ndarray


def fitted_candidates(
    probabilities: Probabilities,
    *,
    min_probability: float = 0.5,
    refine: Refine = "fit",
    fit: FitParams = FitParams(),
    calibration: Mapping[str, float] | None = None,
    progress: ProgressLike = None,
) -> Fitted:
    """Candidates of one frame with what is known of each (see :func:`find_atoms`)."""
    positions, evidence, shares = find_peaks(probabilities)
    if probabilities.without_lattice:
        out, quiet = outstanding_at(probabilities.frame, positions, probabilities.spacing_px)
        chance = chance_alone(evidence, out, calibration or {}, quiet=quiet)
    else:
        chance = calibrated(evidence, dict(calibration or {}))
    # what may be a column still takes its light away from its neighbours
    known = chance >= min(0.5, min_probability)
    if min_probability > 0 and not probabilities.without_lattice:
        known &= ~alone(positions, chance, probabilities.spacing_px)
    positions, chance, shares = positions[known], chance[known], shares[known]
    strange = np.clip(1 - evidence[known, 3], 0, 1)
    result = _refined(probabilities, positions, shares, refine, fit, progress)
    if refine not in ("fit", "elliptic"):
        no = np.zeros(len(positions), bool)
        return Fitted(positions, chance, shares, strange, result, None, no, no)
    spacing, shape = probabilities.spacing_px, probabilities.frame.shape
    single = gather(positions, chance, strange, result, spacing, shape)
    seen = resolve_pairs(
        result, positions,
        lambda p, source: _refined(probabilities, p, shares[source], refine, fit, progress),
    )  # fmt: skip
    gathered, source = single, seen.source
    if seen.two.any():
        chance, shares, strange = chance[source], shares[source], strange[source]
        gathered = gather(seen.positions, chance, strange, seen.fit, spacing, shape)
        # the network saw one column: what speaks for it speaks for both
        gathered[seen.two] = single[source][seen.two]
    return Fitted(
        seen.positions, chance, shares, strange, seen.fit, gathered, seen.two, seen.left
    )  # fmt: skip


def _species(
    probabilities: Probabilities, shares: np.ndarray, result: Fit
) -> tuple[np.ndarray, np.ndarray]:
    """Species of each candidate, and how sure that is: of the network where nothing else tells."""
    n, kinds = len(shares), probabilities.column_classes
    if not n:
        return np.zeros(0, object), np.zeros(0)
    first = shares.argmax(1)
    species, sure = np.asarray(kinds, dtype=object)[first], shares[np.arange(n), first]
    spacing, places = probabilities.spacing_px, np.c_[result.y, result.x]
    fitted = result.places() & within_frame(result, probabilities.frame.shape)
    if kinds == ANY_LATTICE:
        bright = bright_probability(
            places, result.amplitude, result.amplitude_err, shares[:, 1], fitted, spacing
        )
        species = np.where(bright > 0.5, "bright column", "column").astype(object)
        return species, np.maximum(bright, 1 - bright)
    seen = species
    if {"Si", "heavy"} <= set(kinds):
        species = silicon_or_heavier(
            np.asarray(species), places, result.amplitude, fitted, spacing
        ).astype(object)
    if {"chalcogen pair", "single chalcogen"} <= set(kinds):
        species = single_or_pair(
            np.asarray(species), places, result.amplitude, result.amplitude_err, fitted, spacing
        )
    # where the fitted height overrules the network, neither is sure of it
    return species, np.where(species == seen, sure, np.clip(1 - sure, 0.5, None))


#: Classes of models that know any lattice.
ANY_LATTICE = ("column", "bright column")
#: Nothing is certain: the second stage was never asked of more than some ten thousand atoms.
SUREST = 0.9999


def find_atoms(
    probabilities: Probabilities,
    *,
    min_probability: float = 0.5,
    faint: bool = False,
    refine: Refine = "fit",
    fit: FitParams = FitParams(),
    calibration: dict[str, float] | None = None,
    frame: int = 0,
    first_id: int = 0,
    progress: ProgressLike = None,
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Atoms of one frame.

    Parameters
    ----------
    probabilities : Probabilities
        What :func:`napari_atomlens.segment` returned.
    min_probability : float
        Atoms below are left out, and doubtful ones that stand alone (see :func:`alone`);
        0 keeps everything.
    faint : bool
        Weak maxima between columns that are much stronger are columns too (see
        :func:`napari_atomlens.atoms.ghosts.ghosts`).
    refine : {"fit", "elliptic", "centroid", "off"}
        How positions are refined on the original pixels: "fit" or "elliptic" (all columns
        together, with standard errors), "centroid" (quick, without errors), or "off".
    fit : FitParams
        How columns are fitted.
    calibration : dict, optional
        Constants of the model that turn peak heights into probabilities.
    frame, first_id : int
        Values for the columns ``frame`` and ``atom_id``.
    progress : Progress or callable, optional
        Asked while it works whether to stop.
    notes : list of str, optional
        Takes what the user must know.

    Returns
    -------
    pandas.DataFrame
        Atoms table, sorted by row then column; lengths in nm are NaN here.

    Raises
    ------
    ParameterError
        If `refine` is none of its choices.
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> bool(atoms["fit_ok"].mean() > 0.9)
    True
    >>> quick = al.find_atoms(al.segment(image, spacing_px=10.0), refine="centroid")
    """
    fit = of_kind(FitParams, fit)
    check_choice("refine", refine, Refine)
    if not isinstance(probabilities, Probabilities) or not isinstance(calibration, Mapping | None):
        raise ParameterError("Atoms are found in Probabilities, with a dictionary to calibrate.")
    min_probability = number_between("min_probability", min_probability, 0, 1)
    frame = int(number_between("frame", frame, 0, 2**40, whole=True))
    first_id = int(number_between("first_id", first_id, 0, 2**60, whole=True))
    found = fitted_candidates(
        probabilities, min_probability=min_probability, refine=refine, fit=fit,
        calibration=calibration, progress=progress,
    )  # fmt: skip
    positions, chance, shares, result = found.positions, found.chance, found.shares, found.fit
    n = len(positions)
    spacing = probabilities.spacing_px
    places = np.where(np.isfinite([result.y, result.x]), [result.y, result.x], positions.T).T
    strange = unfamiliarity(positions, found.strange, spacing)
    if not probabilities.without_lattice:  # single atoms are what has no order
        strange = np.maximum(strange, disorder(probabilities.frame, places))
    species, sure = _species(probabilities, shares, result)
    # the stage and the ghosts are of models that know columns and nothing else: one that was
    # trained on a material knows its light columns
    any_lattice = probabilities.column_classes == ANY_LATTICE
    if found.evidence is not None and n and any_lattice:
        beside = beside_a_lattice(places, spacing)
        chance = np.minimum(decided(found.evidence, chance, beside), SUREST)
    none = np.zeros(n, bool)
    if not faint and n and any_lattice:
        shape = probabilities.frame.shape
        weak = ghosts(places, result.amplitude, result.places(), spacing, shape)
        none = weak.none
        chance = np.where(weak.doubtful, np.minimum(chance, DOUBTFUL), chance)
        if notes is not None:
            notes += weak.sentences(chance >= min_probability)
    table = tables.make(
        "atoms",
        {
            "frame": frame, "y_px": result.y, "x_px": result.x, "species": species,
            "seen_y_px": positions[:, 0], "seen_x_px": positions[:, 1],
            "probability": chance, "species_probability": sure, "unfamiliar": strange,
            "amplitude": result.amplitude, "sigma_px": result.sigma,
            "volume": result.volume, "volume_err": result.volume_err,
            "background": result.background, "chi2": unknown_or(result.chi2, n),
            "y_err_px": result.y_err, "x_err_px": result.x_err,
            "fit_ok": result.ok, "edited": False,
            "source": np.where(result.places(), "fit", "model"),
            **shapes(result),
        },
        n,
    )  # fmt: skip
    there = share_recorded(np.c_[result.y, result.x], probabilities) > 0.5
    keep = (chance >= min_probability) & there & on_image(result, probabilities)
    if notes is not None:
        notes += pair_sentences(found.two[keep & ~none], found.left[keep & ~none])
    table = table[keep & ~none]
    table = table.sort_values(["y_px", "x_px"], kind="stable", ignore_index=True)
    table["atom_id"] = np.arange(first_id, first_id + len(table), dtype=np.int64)
    return table
