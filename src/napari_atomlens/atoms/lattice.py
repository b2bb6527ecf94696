"""Measure the lattice of atoms: vectors, sublattices, sites, strain, polarisation, vacancies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens import tables
from napari_atomlens.atoms.cell import deformation, matched_to, name_of
from napari_atomlens.atoms.grains import Grain, find_grains, renamed
from napari_atomlens.atoms.latticefit import LatticeFit, describe_cell, fit_lattice
from napari_atomlens.atoms.strain import (
    LocalFit,
    bonds,
    local_fit,
    polar_displacement,
    strain_of,
)
from napari_atomlens.atoms.vacancies import find_gaps, not_taken
from napari_atomlens.errors import CalibrationError, ParameterError, TableError
from napari_atomlens.params import as_dict, param, validate
from napari_atomlens.points import inside_polygon

#: Columns that :func:`measure_lattice` adds to the atoms table, beside its own.
MEASURED: dict[str, str] = {
    "region": tables.I,
    "cell_m": tables.I,
    "cell_n": tables.I,
    **{
        name: tables.F
        for name in (
            "dy_px", "dx_px", "dy_nm", "dx_nm",
            "exx", "eyy", "exy", "rotation_rad",
            "exx_err", "eyy_err", "exy_err", "rotation_err_rad",
            "polar_dy_px", "polar_dx_px", "polar_dy_err_px", "polar_dx_err_px",
            "polar_dy_nm", "polar_dx_nm", "nn_px", "nn_nm",
        )
    },
}  # fmt: skip
#: Ids of vacant sites of a frame start here, after those of the machine and of the user.
FIRST_VACANCY = tables.IDS_PER_FRAME * 3 // 4
#: Background above that of the region, over the amplitude of an atom, that hides atoms.
VEIL = 0.5
#: ... if not more than this share of the atoms of the region has such a background.
MOST_VEILED = 0.15
SITES = ("region", "local")


@dataclass(frozen=True)
class LatticeParams:
    """How to measure a lattice."""

    min_atoms: int = param(12, "a region with fewer atoms is no lattice", ge=6, le=100_000)
    min_occupancy: float = param(
        0.5, "least share of its sites that a sublattice has occupied", ge=0.05, le=1
    )
    strain_window: float = param(
        1.5, "radius of the window for strain, in lattice vectors (the longer one)", ge=1, le=20
    )
    sites: str = param(
        "region",
        "ideal sites: of the lattice of the region, or as the atoms round each site put them",
        choices=SITES,
    )
    against: int = param(
        -1, "sublattice that polar displacements refer to; -1 is the brightest other one",
        ge=-1, le=99,
    )  # fmt: skip
    vacancies: bool = param(True, "add a row for each vacant site")
    largest_vacancy: int = param(
        8, "a gap of more sites that touch is a hole, not vacancies", unit="sites", ge=1, le=1000
    )


@dataclass(frozen=True)
class Lattice:
    """What :func:`measure_lattice` found.

    Attributes
    ----------
    atoms : pandas.DataFrame
        The atoms with ``sublattice``, ``site_y_px`` and ``site_x_px`` filled and the columns of
        :data:`MEASURED` added; vacant sites follow the atoms of each frame.
    lattices, sublattices, distances, holes : pandas.DataFrame
        See :mod:`napari_atomlens.tables` and ``docs/measure.md``.
    messages : list of str
        Sentences for the user.
    params : dict
        Parameters, reference and pixel size.
    """

    atoms: pd.DataFrame
    lattices: pd.DataFrame
    sublattices: pd.DataFrame
    distances: pd.DataFrame
    holes: pd.DataFrame
    messages: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)


def measure_lattice(
    atoms: pd.DataFrame,
    params: LatticeParams = LatticeParams(),
    *,
    reference: str | Sequence[Any] | np.ndarray = "region",
    pixel_size_nm: float | tuple[float, float] | None = None,
    excluded: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Lattice:
    """Measure the lattice of the atoms of an image or movie.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table (see :mod:`napari_atomlens.tables`); ``y_px`` and ``x_px`` are needed,
        ``frame``, ``atom_id``, ``amplitude``, ``species``, ``probability``, ``y_err_px`` and
        ``x_err_px`` are used where they are there. Rows of vacant sites are made anew.
    params : LatticeParams
    reference : "region" or array-like
        What strain is measured against: the mean lattice of each region, or the lattice in a
        rectangle (y0, x0, y1, x1) or polygon (k, 2) of vertices (y, x) in pixels. Then the
        ideal sites of the region it lies in are those of this lattice, too.
    pixel_size_nm : float or tuple of float, optional
        (y, x), fills the columns in nm. Angles and strains take pixels that are not square
        into account.
    excluded : ndarray of bool, shape (H, W) or (T, H, W), optional
        Where no vacancy may be reported, for example contamination.
    progress : callable, optional
        Called with (frames done, frames in all).
    cancelled : callable, optional
        Asked between regions; what is finished is returned.

    Returns
    -------
    Lattice
        Without a lattice the tables are empty, ``sublattice`` and ``region`` are -1, and a
        message says so.

    Raises
    ------
    TableError, ParameterError, CalibrationError
        If the table, a parameter, the reference or the pixel size makes no sense.

    Notes
    -----
    A vacancy is reported where at most ``largest_vacancy`` sites that touch hold no atom and
    are surrounded by sites of the region that do. A gap that is open to the border of the
    region (and so of the image) is none, a larger one is a row of ``holes``, and a site with
    any atom within half of the nearest distance is taken. Where the background of the atoms
    round it is above that of the region by more than half of the amplitude of such an atom
    (contamination; not where that holds for more than 15 % of the atoms), an empty site is
    only counted in a message. ``probability`` of a vacancy is the mean probability of the
    atoms on the sites round it, where a further empty site counts 0.
    """
    validate(params)
    size = _pixel_size(pixel_size_nm)
    table = _checked(atoms)
    polygon = _polygon(reference)
    frames = [int(f) for f in np.unique(table["frame"])]
    stop = cancelled or (lambda: False)
    parts: list[_Frame] = []
    like: np.ndarray | None = None
    starts = np.searchsorted(table["frame"].to_numpy(), [*frames, np.iinfo(np.int64).max])
    for k, f in enumerate(frames):
        if stop():
            break
        mask = None if excluded is None else np.asarray(excluded)
        if mask is not None and mask.ndim == 3:
            mask = mask[f] if f < len(mask) else None
        rows = table.iloc[starts[k] : starts[k + 1]].reset_index(drop=True)
        part = _measure_frame(f, rows, params, polygon, size, mask, like, stop)
        if like is None and part.fits:
            like = part.fits[0].cell
        parts.append(part)
        if progress:
            progress(k + 1, len(frames))
    if polygon is not None and parts and not any(p.referred for p in parts):
        raise ParameterError(
            "The reference region holds too few atoms of a lattice; draw it larger, over a "
            "perfect part of the crystal."
        )
    return _joined(parts, params, reference, size, many=len(frames) > 1)


# ------------------------------------------------------------------------------- input


def _pixel_size(size: Any) -> tuple[float, float] | None:
    if size is None:
        return None
    try:
        y, x = (float(v) for v in np.broadcast_to(np.asarray(size, float), (2,)))
    except (TypeError, ValueError):
        raise CalibrationError("The pixel size must be one number or (y, x), in nm.") from None
    if not (np.isfinite(y) and np.isfinite(x) and y > 0 and x > 0):
        raise CalibrationError(f"The pixel size must be positive, but it is {size!r} nm.")
    return y, x


def _checked(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms without vacant sites, complete and sorted by frame."""
    if not isinstance(atoms, pd.DataFrame):
        raise TableError("The atoms must be a pandas table with the columns y_px and x_px.")
    missing = [c for c in ("y_px", "x_px") if c not in atoms]
    if missing:
        raise TableError(f"The atoms table has no column {' and '.join(missing)}.")
    if "source" in atoms:
        atoms = atoms[atoms["source"].astype(str) != "lattice"]
    n = len(atoms)
    columns: dict[str, Any] = {str(c): atoms[c].to_numpy() for c in atoms if c not in MEASURED}
    columns.setdefault("frame", np.zeros(n, np.int64))
    columns.setdefault("atom_id", np.arange(n))
    columns |= {"sublattice": -1, "site_y_px": np.nan, "site_x_px": np.nan}
    try:
        table = tables.make("atoms", columns, n)
    except (TypeError, ValueError) as error:
        raise TableError(f"The atoms table holds values that are no numbers ({error}).") from None
    if not np.isfinite(table[["y_px", "x_px"]].to_numpy()).all():
        raise TableError("Some atoms have no position (y_px or x_px is not a finite number).")
    return table.sort_values("frame", kind="stable", ignore_index=True)


def _polygon(reference: Any) -> np.ndarray | None:
    """Vertices (y, x) of the reference region, None for the mean of each region."""
    if isinstance(reference, str):
        if reference != "region":
            raise ParameterError(
                f'The reference is {reference!r}, but must be "region", a rectangle or a polygon.'
            )
        return None
    try:
        vertices = np.asarray(reference, float)
    except (TypeError, ValueError):
        vertices = np.zeros(0)
    if vertices.shape == (4,):
        y0, x0, y1, x1 = vertices
        vertices = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
    if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < 3:
        raise ParameterError(
            "The reference must be a rectangle (y0, x0, y1, x1) or a polygon of at least three "
            "vertices (y, x)."
        )
    if not np.isfinite(vertices).all():
        raise ParameterError("The reference region has vertices that are no finite numbers.")
    return vertices


# --------------------------------------------------------------------------- one frame


@dataclass
class _Frame:
    """Tables of one frame."""

    frame: int
    atoms: pd.DataFrame
    lattices: list[dict[str, Any]] = field(default_factory=list)
    sublattices: list[dict[str, Any]] = field(default_factory=list)
    distances: list[pd.DataFrame] = field(default_factory=list)
    holes: list[dict[str, Any]] = field(default_factory=list)
    fits: list[LatticeFit] = field(default_factory=list)
    message: str = ""
    hidden: int = 0
    referred: bool = False


def log_level(table: pd.DataFrame) -> np.ndarray:
    """Logarithm of the intensity of each atom, NaN where it is unknown.

    Where no amplitude is known the species serve, each as a level of its own.
    """
    amplitude = table["amplitude"].to_numpy(float)
    good = np.isfinite(amplitude) & (amplitude > 0)
    if good.mean() > 0.5:
        return np.log(np.where(good, amplitude, np.nan))
    species = pd.factorize(table["species"])[0].astype(float)
    return species if species.max(initial=0) > 0 else np.full(len(table), np.nan)


def _measure_frame(
    frame: int,
    table: pd.DataFrame,
    params: LatticeParams,
    polygon: np.ndarray | None,
    size: tuple[float, float] | None,
    excluded: np.ndarray | None,
    like: np.ndarray | None,
    stop: Callable[[], bool],
) -> _Frame:
    """Measure one frame. Geometry is done in square pixels: y is stretched where it must be."""
    stretch = np.array([1.0 if size is None else size[0] / size[1], 1.0])
    points = table[["y_px", "x_px"]].to_numpy(float) * stretch
    n = len(table)
    values = {c: np.full(n, -1 if d == tables.I else np.nan) for c, d in MEASURED.items()}
    values |= {"sublattice": np.full(n, -1), "site_y_px": np.full(n, np.nan),
               "site_x_px": np.full(n, np.nan)}  # fmt: skip
    nm = np.full(2, np.nan) if size is None else np.asarray(size)
    if n > 1:
        gap = cKDTree(points).query(points, k=2)[0][:, 1]
        values["nn_px"], values["nn_nm"] = gap, gap * nm[1]
    result = _Frame(frame, table)
    amplitude = table["amplitude"].to_numpy(float)
    error = table[["y_err_px", "x_err_px"]].to_numpy(float) * stretch
    found = find_grains(
        points, log_level(table), min_atoms=params.min_atoms,
        min_occupancy=params.min_occupancy, stop=stop,
    )  # fmt: skip
    measured: list[tuple[Grain, LatticeFit]] = []
    for grain in found:
        grain = renamed(grain, amplitude[grain.rows], like)
        fit = fit_lattice(grain, points[grain.rows])
        if fit is not None:
            measured.append((grain, fit))
    result.fits = [fit for _, fit in measured]
    reference = _reference(measured, points, polygon, stretch)
    result.referred = reference is not None
    extra: list[pd.DataFrame] = []
    for region, (grain, fit) in enumerate(measured):
        rows = grain.rows
        variance = error[rows] ** 2
        used = reference[1] if reference is not None and reference[0] == region else fit
        here = _local(grain, fit, points[rows], grain.cells, grain.sublattice, params, True)
        ideal = used.sites(grain.cells, grain.sublattice)
        if params.sites == "local":
            local = fit.sites(grain.cells, grain.sublattice) + here.predicted
            ideal = np.where(np.isfinite(local), local, ideal)
        shift = points[rows] - ideal
        values["region"][rows] = region
        values["sublattice"][rows] = grain.sublattice
        values["cell_m"][rows], values["cell_n"][rows] = grain.cells.T
        values["site_y_px"][rows], values["site_x_px"][rows] = (ideal / stretch).T
        values["dy_px"][rows], values["dx_px"][rows] = (shift / stretch).T
        values["dy_nm"][rows], values["dx_nm"][rows] = (shift / stretch * nm).T
        whole = _local(grain, fit, points[rows], grain.cells, grain.sublattice, params, False)
        strain = _strain_columns(whole, fit, reference, variance, region, polygon is not None)
        for name, column in strain.items():
            values[name][rows] = column
        bright = _by_sublattice(grain, amplitude[rows])
        polar = polar_displacement(grain, points[rows], variance, bright, params.against)
        for axis, k in (("y", 0), ("x", 1)):
            moved, uncertain = getattr(polar, f"d{axis}"), getattr(polar, f"d{axis}_err")
            values[f"polar_d{axis}_px"][rows] = moved / stretch[k]
            values[f"polar_d{axis}_err_px"][rows] = uncertain / stretch[k]
            values[f"polar_d{axis}_nm"][rows] = moved / stretch[k] * nm[k]
        vacant = _vacancies(
            frame, region, grain, fit, used, table, points, params, stretch, nm, excluded, result
        )
        if len(vacant):
            around = _local(
                grain,
                fit,
                points[rows],
                vacant[["cell_m", "cell_n"]].to_numpy(),
                vacant["sublattice"].to_numpy(),
                params,
                False,
            )
            unknown = np.full((len(vacant), 2), np.nan)
            strained = _strain_columns(around, fit, reference, unknown, region, polygon is not None)
            extra.append(vacant.assign(**strained))
        _describe(frame, region, grain, fit, measured, table, points, vacant, polar, stretch, nm,
                  bright, result)  # fmt: skip
    atoms = table.assign(
        **{c: v.astype(MEASURED.get(c, tables.ATOMS.get(c, tables.F))) for c, v in values.items()}
    )
    result.atoms = pd.concat([atoms, *extra], ignore_index=True) if extra else atoms
    result.message = _message(result, n)
    return result


def _local(
    grain: Grain,
    fit: LatticeFit,
    position: np.ndarray,
    cells: np.ndarray,
    sublattice: np.ndarray,
    params: LatticeParams,
    leave_out_self: bool,
) -> LocalFit:
    """Fit the surroundings of sites of a region."""
    ideal = fit.sites(grain.cells, grain.sublattice)
    radius = params.strain_window * float(np.linalg.norm(fit.cell, axis=1).max()) * 1.02
    return local_fit(
        ideal, position - ideal, grain.sublattice, fit.sites(cells, sublattice), sublattice,
        len(grain.basis), radius, leave_out_self=leave_out_self,
    )  # fmt: skip


def _reference(
    measured: list[tuple[Grain, LatticeFit]],
    points: np.ndarray,
    polygon: np.ndarray | None,
    stretch: np.ndarray,
) -> tuple[int, LatticeFit] | None:
    """Region that the reference polygon lies in, and the lattice of the atoms in it."""
    if polygon is None or not measured:
        return None
    inside = inside_polygon(points, polygon * stretch)
    counts = [int(inside[grain.rows].sum()) for grain, _ in measured]
    region = int(np.argmax(counts))
    grain, whole = measured[region]
    fit = (
        fit_lattice(grain, points[grain.rows], inside[grain.rows]) if counts[region] >= 6 else None
    )
    if fit is None:
        return None
    # a sublattice without an atom in the reference lies where it does in the region
    known = np.isfinite(fit.origin).all(1)
    basis = whole.basis()
    first = int(np.argmax(known))
    base = fit.origin[first] - basis[first] @ fit.cell
    origin = np.where(known[:, None], fit.origin, base + basis @ fit.cell)
    return region, LatticeFit(fit.cell, origin, fit.covariance, fit.origin_err, fit.rms)


def _strain_columns(
    local: LocalFit,
    fit: LatticeFit,
    reference: tuple[int, LatticeFit] | None,
    variance: np.ndarray,
    region: int,
    wanted: bool,
) -> dict[str, np.ndarray]:
    """Strain of sites against the reference; NaN where one is wanted and this frame has none."""
    change = np.eye(2)
    if reference is not None:
        near = reference[1].cell
        if reference[0] != region:
            near, _, _ = matched_to(fit.cell, near)
        change = deformation(near, fit.cell)
    gradient = local.gradient @ change
    covariance = change.T @ local.covariance @ change
    # the statistical error of the positions; where it is unknown, how they scatter
    scatter = np.broadcast_to(local.spread[:, None] ** 2, variance.shape)
    strain = strain_of(gradient, covariance, np.where(np.isfinite(variance), variance, scatter))
    columns = {
        "exx": strain.exx, "eyy": strain.eyy, "exy": strain.exy, "rotation_rad": strain.rotation,
        "exx_err": strain.exx_err, "eyy_err": strain.eyy_err, "exy_err": strain.exy_err,
        "rotation_err_rad": strain.rotation_err,
    }  # fmt: skip
    if wanted and reference is None:
        return {name: np.full(len(column), np.nan) for name, column in columns.items()}
    return columns


def _by_sublattice(grain: Grain, values: np.ndarray) -> np.ndarray:
    """Median of the values of each sublattice, NaN where there is none, shape (s,)."""
    found = np.full(len(grain.basis), np.nan)
    for s in range(len(grain.basis)):
        mine = values[grain.sublattice == s]
        if np.isfinite(mine).any():
            found[s] = np.nanmedian(mine)
    return found


def _vacancies(
    frame: int,
    region: int,
    grain: Grain,
    fit: LatticeFit,
    used: LatticeFit,
    table: pd.DataFrame,
    points: np.ndarray,
    params: LatticeParams,
    stretch: np.ndarray,
    nm: np.ndarray,
    excluded: np.ndarray | None,
    result: _Frame,
) -> pd.DataFrame:
    """Rows of the vacant sites of a region; its holes go to `result`."""
    probability = table["probability"].to_numpy(float)[grain.rows]
    gaps = find_gaps(grain, probability, params.largest_vacancy)

    def expected(cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        here = _local(grain, fit, points[grain.rows], cells, sublattice, params, False)
        ideal = fit.sites(cells, sublattice)
        return ideal + np.where(np.isfinite(here.predicted), here.predicted, 0.0)

    for hole in gaps.holes:
        places = expected(hole[:, :2], hole[:, 2])
        free = not_taken(places, points, grain.spacing)
        if free.sum() <= params.largest_vacancy:
            continue  # another region, or what does not fit the lattice, fills it
        centre = places[free].mean(0) / stretch
        area = abs(float(np.linalg.det(fit.cell))) / len(grain.basis) * free.sum() / stretch[0]
        result.holes.append(
            {"frame": frame, "region": region, "n_sites": int(free.sum()), "y_px": centre[0],
             "x_px": centre[1], "area_px2": area}
        )  # fmt: skip
    if not params.vacancies or not len(gaps.cells):
        return tables.empty("atoms")
    places = expected(gaps.cells, gaps.sublattice)
    keep = not_taken(places, points, grain.spacing)
    if excluded is not None:
        at = np.rint(places / stretch).astype(int)
        at = np.clip(at, 0, np.array(excluded.shape) - 1)
        keep &= ~np.asarray(excluded[at[:, 0], at[:, 1]], bool)
    hidden = keep & _veiled(places, table, points, grain, gaps.sublattice)
    result.hidden += int(hidden.sum())
    keep &= ~hidden
    cells, sub, places = gaps.cells[keep], gaps.sublattice[keep], places[keep]
    n = len(cells)
    ideal = places if params.sites == "local" else used.sites(cells, sub)
    pixels = places / stretch
    columns: dict[str, Any] = {
        "frame": frame, "y_px": pixels[:, 0], "x_px": pixels[:, 1],
        "y_nm": pixels[:, 0] * nm[0], "x_nm": pixels[:, 1] * nm[1], "species": "vacancy",
        "probability": gaps.support[keep], "sublattice": sub, "source": "lattice",
        "site_y_px": ideal[:, 0] / stretch[0], "site_x_px": ideal[:, 1] / stretch[1],
        "region": region, "cell_m": cells[:, 0], "cell_n": cells[:, 1],
    }  # fmt: skip
    columns |= {c: np.nan for c, d in MEASURED.items() if d == tables.F}
    return tables.make("atoms", columns, n)


def _veiled(
    places: np.ndarray,
    table: pd.DataFrame,
    points: np.ndarray,
    grain: Grain,
    sublattice: np.ndarray,
) -> np.ndarray:
    """Which empty sites lie under contamination: there the network may have missed the atom.

    There the background of the atoms round the site is above that of the region by more than
    half of the amplitude of an atom of its sublattice, as it is for few atoms of the region
    only: what lifts many is a terrace or a thicker part, in which atoms can be seen.
    """
    background = table["background"].to_numpy(float)[grain.rows]
    amplitude = _by_sublattice(grain, table["amplitude"].to_numpy(float)[grain.rows])[sublattice]
    usual = np.nanmedian(background) if np.isfinite(background).any() else np.nan
    lifted = background - usual > VEIL * float(np.nanmin(amplitude, initial=np.inf))
    if not len(places) or not np.isfinite(usual) or lifted.mean() > MOST_VEILED:
        return np.zeros(len(places), bool)
    near = cKDTree(points[grain.rows]).query(places, k=min(6, len(grain.rows)))[1]
    around = background[near.reshape(len(places), -1)]
    known = np.isfinite(around).any(1)
    level = np.full(len(places), np.nan)
    level[known] = np.nanmedian(around[known], axis=1)
    return np.asarray(level - usual > VEIL * amplitude)


def _describe(
    frame: int,
    region: int,
    grain: Grain,
    fit: LatticeFit,
    measured: list[tuple[Grain, LatticeFit]],
    table: pd.DataFrame,
    points: np.ndarray,
    vacant: pd.DataFrame,
    polar: Any,
    stretch: np.ndarray,
    nm: np.ndarray,
    bright: np.ndarray,
    result: _Frame,
) -> None:
    """Add the rows of a region to the tables of lattices, sublattices and distances."""
    position = points[grain.rows]
    centre = position.mean(0) / stretch
    basis = fit.basis()
    row: dict[str, Any] = {
        "frame": frame, "region": region, "n_atoms": len(grain.rows), "n_vacant": len(vacant),
        "n_sublattices": len(basis), "kind": name_of(fit.cell), "y_px": centre[0],
        "x_px": centre[1], "rms_px": fit.rms,
        "basis": tuple((round(float(a), 6), round(float(b), 6)) for a, b in basis),
        "turn_rad": matched_to(fit.cell, measured[0][1].cell)[1] if region else 0.0,
    }  # fmt: skip
    for vector, name in zip(fit.cell / stretch, "ab", strict=True):
        row[f"{name}_y_px"], row[f"{name}_x_px"] = vector
    # lengths in square pixels (those along x), and in nm
    for unit, length in (("px", np.ones(2)), ("nm", np.full(2, nm[1]))):
        if not np.isfinite(length).all():
            continue
        for name, (value, error) in describe_cell(fit.cell, fit.covariance, length).items():
            suffix = "rad" if name in ("angle", "direction") else unit
            row[f"{name}_{suffix}"], row[f"{name}_err_{suffix}"] = value, error
    pairs = bonds(grain)
    difference = position[pairs[:, 1]] - position[pairs[:, 0]]
    length = np.linalg.norm(difference, axis=1)
    variance = (table[["y_err_px", "x_err_px"]].to_numpy(float) * stretch)[grain.rows] ** 2
    unit_vector = difference / np.maximum(length, 1e-12)[:, None]
    spread = np.sqrt((unit_vector**2 * (variance[pairs].sum(1))).sum(1))
    ids = table["atom_id"].to_numpy()[grain.rows]
    result.distances.append(
        tables.make(
            "distances",
            {
                "frame": frame, "region": region, "atom_a": ids[pairs[:, 0]],
                "atom_b": ids[pairs[:, 1]], "sublattice_a": grain.sublattice[pairs[:, 0]],
                "sublattice_b": grain.sublattice[pairs[:, 1]], "length_px": length,
                "length_err_px": spread, "length_nm": length * nm[1],
                "length_err_nm": spread * nm[1],
            },
            len(pairs),
        )
    )  # fmt: skip
    row["nearest_px"] = float(np.median(length)) if len(length) else np.nan
    row["nearest_nm"] = row["nearest_px"] * nm[1]
    result.lattices.append(row)
    inverse = np.linalg.inv(fit.cell)
    shift = position - fit.sites(grain.cells, grain.sublattice)
    species = table["species"].to_numpy()[grain.rows].astype(str)
    vacant_of = vacant["sublattice"].to_numpy() if len(vacant) else np.zeros(0, int)
    for s in range(len(basis)):
        mine = grain.sublattice == s
        error = np.sqrt(
            (fit.origin_err[s] ** 2 + (fit.origin_err[0] ** 2 if s else 0)) @ inverse**2
        )
        names, counts = np.unique(species[mine], return_counts=True)
        moved = np.c_[polar.dy, polar.dx][mine]
        known = np.isfinite(moved).all(1)
        sub: dict[str, Any] = {
            "frame": frame, "region": region, "sublattice": s, "n_atoms": int(mine.sum()),
            "n_vacant": int((vacant_of == s).sum()), "along_a": basis[s, 0],
            "along_b": basis[s, 1], "along_a_err": error[0] if s else 0.0,
            "along_b_err": error[1] if s else 0.0, "amplitude": bright[s],
            "species": str(names[counts.argmax()]) if len(names) else "",
            "rms_px": float(np.sqrt((shift[mine] ** 2).mean())) if mine.any() else np.nan,
        }  # fmt: skip
        if known.sum() >= 2:
            mean = moved[known].mean(0) / stretch
            standard = moved[known].std(0, ddof=1) / np.sqrt(known.sum()) / stretch
            sub |= {"polar_dy_px": mean[0], "polar_dx_px": mean[1],
                    "polar_dy_err_px": standard[0], "polar_dx_err_px": standard[1],
                    "against": int(polar.against[mine][known][0])}  # fmt: skip
        result.sublattices.append(sub)


def _message(result: _Frame, n: int) -> str:
    """One or two sentences about a frame, empty where nothing is to be said."""
    if not result.lattices:
        if n < 12:
            return "No lattice was found: there are too few atoms for one."
        return "No lattice was found: the atoms have no common translation."
    said = []
    if result.holes:
        sites = sum(h["n_sites"] for h in result.holes)
        k = len(result.holes)
        said.append(
            f"{k} gap{'s' if k > 1 else ''} of {sites} empty sites in all "
            f"{'are holes' if k > 1 else 'is a hole'}, not vacancies."
        )
    if result.hidden:
        k = result.hidden
        said.append(
            f"{k} empty site{'s lie' if k > 1 else ' lies'} where the background is high "
            f"(contamination) and {'are' if k > 1 else 'is'} not counted as vacant."
        )
    return " ".join(said)


def _joined(
    parts: list[_Frame],
    params: LatticeParams,
    reference: Any,
    size: tuple[float, float] | None,
    *,
    many: bool,
) -> Lattice:
    """Put the frames together and give the vacant sites their ids."""
    if parts:
        atoms = pd.concat([p.atoms for p in parts], ignore_index=True)
    else:
        atoms = tables.empty("atoms").assign(**{c: pd.Series(dtype=d) for c, d in MEASURED.items()})
    vacant = (atoms["source"] == "lattice").to_numpy()
    ids = atoms["atom_id"].to_numpy(np.int64).copy()
    frame = atoms["frame"].to_numpy(np.int64)
    if vacant.any():
        order = pd.Series(np.ones(vacant.sum(), int)).groupby(frame[vacant]).cumsum() - 1
        fresh = frame[vacant] * tables.IDS_PER_FRAME + FIRST_VACANCY + order.to_numpy()
        if np.isin(fresh, ids[~vacant]).any():  # a table with ids of its own kind
            fresh = ids[~vacant].max() + 1 + np.arange(vacant.sum())
        ids[vacant] = fresh
        atoms["atom_id"] = ids

    def rows(name: str, found: list[dict[str, Any]]) -> pd.DataFrame:
        columns = {c: [r[c] for r in found] for c in tables.TABLES[name] if found and c in found[0]}
        return tables.make(name, columns, len(found))

    distances = [d for p in parts for d in p.distances if len(d)]
    messages = [f"Frame {p.frame}: {p.message}" if many else p.message for p in parts if p.message]
    if not parts:
        messages.append("No lattice was found: there is no atom.")
    return Lattice(
        atoms=atoms,
        lattices=rows("lattices", [r for p in parts for r in p.lattices]),
        sublattices=rows("sublattices", [_complete(r) for p in parts for r in p.sublattices]),
        distances=pd.concat(distances, ignore_index=True)
        if distances
        else tables.empty("distances"),
        holes=rows("holes", [r for p in parts for r in p.holes]),
        messages=messages,
        params={
            **as_dict(params),
            "reference": reference
            if isinstance(reference, str)
            else np.asarray(reference).tolist(),
            "pixel_size_nm": size,
        },
    )


def _complete(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of sublattices with the columns that it may lack."""
    unknown = {c: -1 if d == tables.I else np.nan for c, d in tables.SUBLATTICES.items()}
    return {**unknown, **row}
