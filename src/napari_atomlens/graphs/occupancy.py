"""What sits on the sites of a binary honeycomb, told from the intensity of its columns.

The universal model knows columns and bright columns only. In a TMD the lattice says more:
the bonds of the two sublattices point in opposite directions, and on each of them the
fitted amplitudes fall into levels, one for each occupation (a chalcogen pair, one
chalcogen, a heavier pair ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from napari_atomlens import arrays
from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.lattice.sites import honeycomb_sublattices, vacant_sites
from napari_atomlens.tables import check_atoms

#: Levels nearer than this, over the typical amplitude, are one.
RESOLUTION = 0.035
#: Below this share of the typical amplitude there is nothing.
NOTHING = 0.12
#: A larger share of failed fits on a sublattice is the fault of the fit.
MANY_FAIL = 0.1
#: A column so many spreads below or above the outer levels is on a level of its own, however few
#: there are, if it also differs by these factors: one chalcogen of two, or an atom more.
ALONE, DIMMER, BRIGHTER = 5.0, 0.78, 1.25
#: More dim chalcogen columns than this share are another element, not vacancies.
ALLOY = 0.12
#: A metal on the site of chalcogens is as bright as other metals within these bounds, where
#: metals are at least so much brighter than chalcogens.
LIKE_METAL, CLEARLY = (0.82, 1.5), 1.6


def levels(amplitude: np.ndarray, typical: float) -> tuple[np.ndarray, np.ndarray]:
    """Levels of amplitudes: the maxima of their smoothed density, and the valleys between.

    Returns
    -------
    centre : ndarray, shape (k,)
        Rising.
    edge : ndarray, shape (k - 1,)
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    good = amplitude[np.isfinite(amplitude)]
    if len(good) < 8:
        return np.array([typical]), np.zeros(0)
    step = RESOLUTION * typical / 5
    low, high = min(0.0, good.min()) - 30 * step, good.max() + 30 * step
    counts, bins = np.histogram(good, np.arange(low, high + step, step))
    density = gaussian_filter1d(counts.astype(float), 5)
    # a level holds several columns, and a valley parts it from the next
    lone = 1 / (5 * np.sqrt(2 * np.pi))
    peaks, _ = find_peaks(density, height=2.5 * lone, prominence=1.5 * lone)
    if not len(peaks):
        peaks = np.array([int(density.argmax())])
    centre = 0.5 * (bins[:-1] + bins[1:])
    keep: list[int] = []
    for p in peaks.tolist():
        if keep:
            valley = density[keep[-1] : p].min()
            if valley > 0.6 * min(density[keep[-1]], density[p]):
                keep[-1] = max(keep[-1], p, key=lambda i: density[i])
                continue
        keep.append(p)
    edge = []
    for a, b in pairwise(keep):
        lowest = np.flatnonzero(density[a:b] <= density[a:b].min() + 1e-9)
        edge.append(float(centre[a + int(lowest[len(lowest) // 2])]))
    return _with_loners(good, centre[keep], np.array(edge))


def _with_loners(
    amplitude: np.ndarray, centre: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add levels for the few columns far below the lowest level, and far above the highest."""
    which = np.searchsorted(edge, amplitude)
    low, high = amplitude[which == 0], amplitude[which == len(centre) - 1]
    if len(low) >= 8:
        below = low[(low < centre[0] - ALONE * arrays.spread(low)) & (low < DIMMER * centre[0])]
        if len(below):
            mean = float(np.median(below))
            edge = np.r_[0.5 * (centre[0] + mean), edge]
            centre = np.r_[mean, centre]
    if len(high) >= 8:
        above = high[
            (high > centre[-1] + ALONE * arrays.spread(high)) & (high > BRIGHTER * centre[-1])
        ]
        if len(above):
            mean = float(np.median(above))
            edge = np.r_[edge, 0.5 * (centre[-1] + mean)]
            centre = np.r_[centre, mean]
    return centre, edge


def trusted_amplitude(atoms: pd.DataFrame, sublattice: np.ndarray) -> np.ndarray:
    """Fitted amplitudes, NaN where they say nothing.

    A fit that fails where others succeed has met an (almost) empty site, and its amplitude of
    nothing is news. Where many fail on a sublattice, the fit and not the site is to blame;
    where most do, none of them tells levels.
    """
    amplitude = atoms["amplitude"].to_numpy(dtype=float).copy()
    if "fit_ok" not in atoms:
        return amplitude
    failed = ~atoms["fit_ok"].to_numpy(bool)
    if failed.all():
        return np.full(len(amplitude), np.nan)
    for k in (0, 1):
        mine = sublattice == k
        share = float(failed[mine].mean()) if mine.any() else 0.0
        if share > MANY_FAIL:
            amplitude[mine & failed] = np.nan
        if share > 0.5:
            amplitude[mine] = np.nanmedian(amplitude[mine]) if share < 1 else 1.0
    return amplitude


def occupy_sites(atoms: pd.DataFrame, names: Sequence[str] = ()) -> pd.DataFrame:
    """Tell the occupation of every site of a binary honeycomb from the amplitudes.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table of one or more frames of one crystal, with fitted amplitudes.
    names : sequence of str
        Names of the levels of the sublattice that varies (the chalcogens), from dim to
        bright without the empty site, such as ("Se", "2Se", "TeSe", "2Te"). The levels found
        are named from the most frequent one outwards.

    Returns
    -------
    pandas.DataFrame
        One row for each site, empty ones included: ``frame``, ``atom_id`` (-1 where empty),
        ``y_px``, ``x_px``, ``amplitude``, ``sublattice`` (0 metal, 1 chalcogen), ``level`` (0
        empty, 1 the dimmest ...), ``usual`` (whether it is the most frequent level of its
        sublattice), ``occupation`` (its name, "vacancy" where empty).

    Raises
    ------
    ParameterError
        If amplitudes are missing.
    CalibrationError
        If there is no honeycomb.
    """
    sites = _occupied(check_atoms(atoms), names)
    side = sites.set_index("atom_id")["sublattice"].reindex(atoms["atom_id"]).to_numpy(float)
    vacant = vacant_sites(atoms, side)
    empty = vacant[vacant["label"].notna()]
    more = empty[["frame", "y_px", "x_px"]].assign(
        atom_id=-1, amplitude=0.0, sublattice=empty["label"].astype(np.int64), level=0,
        usual=False, occupation="vacancy",
    )  # fmt: skip
    return pd.concat([sites, more[list(sites)]], ignore_index=True) if len(more) else sites


def _occupied(clean: pd.DataFrame, names: Sequence[str] = ()) -> pd.DataFrame:
    """Occupation of the sites that hold a column (see :func:`occupy_sites`)."""
    if "amplitude" not in clean or not np.isfinite(clean["amplitude"]).any():
        raise ParameterError("The sites cannot be told apart: the atoms have no fitted amplitude.")
    places = clean[["y_px", "x_px"]].to_numpy(float)
    frame = clean["frame"].to_numpy()
    if len(clean) < 12:
        raise CalibrationError("There are too few atoms to tell the sublattices.")
    side = honeycomb_sublattices(places, frame)
    usable = side >= 0
    amplitude = trusted_amplitude(clean, side)
    if not np.isfinite(amplitude).any():
        raise ParameterError("The sites cannot be told apart: no fit of a column succeeded.")
    medians = [float(np.nanmedian(amplitude[usable & (side == k)])) for k in (0, 1)
               if (usable & (side == k)).any()]  # fmt: skip
    if len(medians) < 2:
        raise CalibrationError("The atoms do not form two sublattices.")
    # the chalcogens are the dimmer ones, or, where the heights are alike, those that vary more
    spread = [
        float(np.nanmean(np.abs(amplitude[usable & (side == k)] / medians[k] - 1) > 0.2))
        for k in (0, 1)
    ]
    alike = max(medians) < 1.2 * min(medians)
    if alike and abs(spread[0] - spread[1]) > 0.02:
        chalcogen = int(np.argmax(spread))
    else:
        chalcogen = int(np.argmin(medians))
    sites = pd.DataFrame(
        {
            "frame": frame, "atom_id": clean["atom_id"], "y_px": places[:, 0],
            "x_px": places[:, 1], "amplitude": amplitude, "sublattice": side,
        }
    )[usable]  # fmt: skip
    sites = sites.reset_index(drop=True)
    sites["sublattice"] = (sites["sublattice"] == chalcogen).astype(int)
    sites["level"], sites["usual"], sites["occupation"] = 0, False, ""
    for k in (0, 1):
        mine = (sites["sublattice"] == k).to_numpy()
        value = sites["amplitude"].to_numpy(float)[mine]
        # a column whose fit failed is there, and nothing speaks against the usual
        value = np.where(np.isnan(value), medians[chalcogen if k else 1 - chalcogen], value)
        typical = medians[chalcogen] if k else medians[1 - chalcogen]
        there = value > NOTHING * typical
        centre, edge = levels(value[there], typical)
        level = np.where(there, 1 + np.searchsorted(edge, value), 0)
        usual = int(np.bincount(level[there], minlength=2)[1:].argmax()) + 1 if there.any() else 1
        sites.loc[mine, "level"] = level
        sites.loc[mine, "usual"] = level == usual
        label = _names(centre, usual, names if k else (), "chalcogen" if k else "metal")
        sites.loc[mine, "occupation"] = np.array(["vacancy", *label], dtype=object)[level]
    return sites


def _names(centre: np.ndarray, usual: int, names: Sequence[str], word: str) -> list[str]:
    """Name the levels; where there are more levels than names, the outer ones share."""
    n = len(centre)
    if not names:
        return [f"{word} {k + 1}" if k + 1 != usual else word for k in range(n)]
    # the most frequent level is the name before which as many dimmer ones stand
    shift = max(min(usual - 1, len(names) - 1), usual - 1 + len(names) - n)
    at = [min(max(k - (usual - 1) + min(shift, len(names) - 1), 0), len(names) - 1)
          for k in range(n)]  # fmt: skip
    return [names[i] for i in at]


@dataclass(frozen=True)
class NamedSites:
    """Species of the columns of a TMD.

    Attributes
    ----------
    species : ndarray of object, shape (n,)
        "" for columns of no intensity, "bright X" for a chalcogen column above the usual
        level, "M on X" for one as bright as the metals.
    note : str
        A sentence where the chalcogens are mixed.
    """

    species: np.ndarray
    note: str = ""


def site_species(atoms: pd.DataFrame, metal: str, pair: str, single: str) -> NamedSites | None:
    """Species of the columns of a TMD that a model could only call columns.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Clean atoms table with unique ids.
    metal, pair, single : str
        Names for the metal, the usual chalcogen column and a dimmer one.

    Returns
    -------
    NamedSites or None
        None where the atoms are no binary honeycomb.
    """
    try:
        sites = _occupied(atoms)
    except (CalibrationError, ParameterError):
        return None
    sites = sites.set_index("atom_id")
    usual = sites[sites["usual"] & (sites["sublattice"] == 1)]["level"]
    middle = int(usual.iloc[0]) if len(usual) else 1
    level, side = sites["level"].to_numpy(), sites["sublattice"].to_numpy()
    height = sites["amplitude"].to_numpy(float)
    dim, chalcogen = (side == 1) & (level < middle) & (level > 0), side == 1
    named = np.where(side == 0, metal, np.where(dim, single, pair)).astype(object)
    named[chalcogen & (level > middle)] = f"bright {pair}"
    metals = float(np.nanmedian(height[side == 0])) if (side == 0).any() else np.nan
    pairs = float(np.nanmedian(height[chalcogen & (level == middle)])) if len(usual) else np.nan
    if metals > CLEARLY * pairs:
        like = (height > LIKE_METAL[0] * metals) & (height < LIKE_METAL[1] * metals)
        named[chalcogen & (level > middle) & like] = f"{metal} on {pair}"
    note = ""
    if dim.sum() > ALLOY * chalcogen.sum():
        # so many vacancies no film survives: the names of elements are left to the user
        named[dim] = pair
        note = (
            f"{dim.sum():,} of {chalcogen.sum():,} chalcogen columns are dimmer than the others: "
            "mixed chalcogens, of which no single ones are named."
        )
    named[level == 0] = ""
    species = pd.Series(named, index=sites.index).reindex(atoms["atom_id"]).fillna(pair)
    return NamedSites(np.asarray(species, dtype=object), note)
