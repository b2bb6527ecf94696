"""Measure the lattice of atoms: vectors, sublattices, sites, strain, polarisation, vacancies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.arrays import as_mask
from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.image import check_pixel_size
from napari_atomlens.lattice.cell import deformation, matched_to
from napari_atomlens.lattice.dislocations import Core
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.grains import find_grains
from napari_atomlens.lattice.lattice import (
    MEASURED,
    FrameLattice,
    Lattice,
    LatticeParams,
    by_sublattice,
    local_sites,
)
from napari_atomlens.lattice.latticefit import LatticeFit, fit_lattice
from napari_atomlens.lattice.reference import strained_there
from napari_atomlens.lattice.regions import cores_between, fitted_regions
from napari_atomlens.lattice.strain import (
    LocalFit,
    polar_displacement,
    strain_of,
)
from napari_atomlens.lattice.summary import (
    describe_cores,
    describe_order,
    describe_regions,
    join_frames,
    message_of,
)
from napari_atomlens.lattice.vacancies import add_vacancies
from napari_atomlens.params import of_kind
from napari_atomlens.points import inside_polygon
from napari_atomlens.progress import Progress, ProgressLike, as_progress

#: Nearer to the core of a dislocation than so many vectors there is no strain to speak of.
AT_CORE = 1.2


def measure_lattice(
    atoms: pd.DataFrame,
    params: LatticeParams = LatticeParams(),
    *,
    reference: str | Sequence[object] | np.ndarray = "region",
    pixel_size_nm: float | tuple[float, float] | None = None,
    excluded: np.ndarray | None = None,
    progress: ProgressLike = None,
) -> Lattice:
    """Measure the lattice of the atoms of an image or movie.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table (see :mod:`napari_atomlens.tables`); ``y_px`` and ``x_px`` are needed,
        ``frame``, ``atom_id``, ``amplitude``, ``species``, ``probability``, ``y_err_px`` and
        ``x_err_px`` are used where they are there. Rows of vacant sites are made anew.
    params : LatticeParams
        Atoms in unfamiliar neighbourhoods (:func:`napari_atomlens.familiar.is_unfamiliar`) are
        on no site, unless ``unfamiliar`` takes them in.
    reference : "region" or array-like
        What strain is measured against: the mean lattice of each region, or the lattice in a
        rectangle (y0, x0, y1, x1) or polygon (k, 2) of vertices (y, x) in pixels. Then the
        ideal sites of the region it lies in are those of this lattice, too.
    pixel_size_nm : float or tuple of float, optional
        (y, x), fills the columns in nm. Angles and strains take pixels that are not square
        into account.
    excluded : ndarray of bool, shape (H, W) or (T, H, W), optional
        Where no vacancy may be reported, for example contamination.
    progress : Progress or callable, optional
        Told (frames done, frames in all), and asked between regions whether to stop; what is
        finished is returned.

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

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> lattice = al.measure_lattice(atoms, pixel_size_nm=0.0142)
    >>> round(float(lattice.lattices["a_nm"][0]), 2)
    0.25
    """
    params = of_kind(LatticeParams, params)
    size = check_pixel_size(pixel_size_nm)
    table = _checked(atoms)
    polygon = _polygon(reference)
    frames = [int(f) for f in np.unique(table["frame"])]
    watch = as_progress(progress)
    parts: list[FrameLattice] = []
    like: np.ndarray | None = None
    starts = np.searchsorted(table["frame"].to_numpy(), [*frames, np.iinfo(np.int64).max])
    given = None if excluded is None else as_mask(excluded, "of what is excluded")
    for k, f in enumerate(frames):
        if watch.stopped:
            break
        mask = given
        if mask is not None and mask.ndim == 3:
            mask = mask[f] if f < len(mask) else None
        rows = table.iloc[starts[k] : starts[k + 1]].reset_index(drop=True)
        part = _measure_frame(f, rows, params, polygon, size, mask, like, watch)
        if like is None and part.fits:
            like = part.fits[0].cell
        parts.append(part)
        watch(k + 1, len(frames))
    if polygon is not None and parts and not any(p.referred for p in parts):
        raise ParameterError(
            "The reference region holds too few atoms of a lattice; draw it larger, over a "
            "perfect part of the crystal."
        )
    return join_frames(parts, params, reference, size, many=len(frames) > 1)


# ------------------------------------------------------------------------------- input


def _checked(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms without vacant sites, complete and sorted by frame."""
    tables.need_columns(atoms, ("y_px", "x_px"), "atoms")
    if "source" in atoms:
        atoms = atoms[atoms["source"].astype(str) != "lattice"]
    atoms = tables.check_table(atoms)
    n = len(atoms)
    columns: dict[str, object] = {str(c): atoms[c].to_numpy() for c in atoms if c not in MEASURED}
    columns.setdefault("frame", np.zeros(n, np.int64))
    columns.setdefault("atom_id", np.arange(n))
    columns |= {"sublattice": -1, "site_y_px": np.nan, "site_x_px": np.nan}
    try:
        table = tables.make("atoms", columns, n)
    except (TypeError, ValueError) as error:
        raise TableError(f"The atoms table holds values that are no numbers ({error}).") from None
    return table.sort_values("frame", kind="stable", ignore_index=True)


def _polygon(reference: str | Sequence[object] | np.ndarray) -> np.ndarray | None:
    """Vertices (y, x) of the reference region, None for the mean of each region."""
    if isinstance(reference, str):
        if reference != "region":
            raise ParameterError(
                f'The reference is {reference!r}, but must be "region", a rectangle or a polygon.'
            )
        return None
    try:
        vertices = np.asarray(reference, float)
    except (TypeError, ValueError, OverflowError):
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
    watch: Progress,
) -> FrameLattice:
    """Measure one frame. Geometry is done in square pixels: y is stretched where it must be."""
    stretch = np.array([1.0 if size is None else size[0] / size[1], 1.0])
    points = table[["y_px", "x_px"]].to_numpy(float) * stretch
    n = len(table)
    values = {c: np.full(n, -1 if d == tables.I else np.nan) for c, d in MEASURED.items()}
    values |= {"sublattice": np.full(n, -1), "site_y_px": np.full(n, np.nan),
               "site_x_px": np.full(n, np.nan)}  # fmt: skip
    nm = np.full(2, np.nan) if size is None else np.asarray(size)
    if n > 1:
        gap = scipy.spatial.cKDTree(points).query(points, k=2)[0][:, 1]
        values["nn_px"], values["nn_nm"] = gap, gap * nm[1]
    result = FrameLattice(frame, table)
    amplitude = table["amplitude"].to_numpy(float)
    error = table[["y_err_px", "x_err_px"]].to_numpy(float) * stretch
    # what is left out still takes its place: no site under it is vacant
    known = np.flatnonzero(~is_unfamiliar(table) | params.unfamiliar)
    levels = log_level(table.iloc[known])
    found = find_grains(
        points[known], levels, min_atoms=params.min_atoms,
        min_occupancy=params.min_occupancy, progress=watch,
    )  # fmt: skip
    level = np.full(n, np.nan)
    level[known] = levels
    measured, cores, result.orders = fitted_regions(
        found, points, known, amplitude, level, params, like
    )
    between = cores_between([grain for grain, _ in measured], cores, points, known)
    result.fits = [fit for _, fit in measured]
    reference = _reference(measured, points, polygon, stretch)
    result.referred = reference is not None
    extra: list[pd.DataFrame] = []
    for region, (grain, fit) in enumerate(measured):
        rows = grain.rows
        variance = error[rows] ** 2
        used = reference[1] if reference is not None and reference[0] == region else fit
        here = local_sites(grain, fit, points[rows], grain.cells, grain.sublattice, params, True)
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
        whole = local_sites(grain, fit, points[rows], grain.cells, grain.sublattice, params, False)
        for core in cores[region]:
            longest = float(np.linalg.norm(fit.cell, axis=1).max())
            at_core = np.linalg.norm(points[rows] - core.place, axis=1) < AT_CORE * longest
            whole.gradient[at_core] = np.nan
        strain = _strain_columns(whole, fit, reference, variance, region, polygon is not None)
        for name, column in strain.items():
            values[name][rows] = column
        bright = by_sublattice(grain, amplitude[rows])
        polar = polar_displacement(grain, points[rows], variance, bright, params.against)
        for axis, k in (("y", 0), ("x", 1)):
            moved, uncertain = getattr(polar, f"d{axis}"), getattr(polar, f"d{axis}_err")
            values[f"polar_d{axis}_px"][rows] = moved / stretch[k]
            values[f"polar_d{axis}_err_px"][rows] = uncertain / stretch[k]
            values[f"polar_d{axis}_nm"][rows] = moved / stretch[k] * nm[k]
        vacant = add_vacancies(
            frame, region, grain, fit, used, table, points, params, stretch, nm, excluded, result,
            _beside(region, measured, [*cores[region], *(c for c, _, _ in between)], points),
        )  # fmt: skip
        if len(vacant):
            around = local_sites(
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
        describe_regions(
            frame, region, grain, fit, measured, table, points, vacant, polar, stretch, nm,
            bright, result,
        )  # fmt: skip
        every = cores[region] + [core for core, r, _ in between if r == region]
        beside = [-1] * len(cores[region]) + [o for _, r, o in between if r == region]
        describe_cores(frame, region, fit, every, beside, stretch, nm, result)
        describe_order(result, region, nm)
    atoms = table.assign(
        **{c: v.astype(MEASURED.get(c, tables.ATOMS.get(c, tables.F))) for c, v in values.items()}
    )
    result.atoms = pd.concat([atoms, *extra], ignore_index=True) if extra else atoms
    result.message = message_of(result, n)
    return result


def _beside(
    region: int, measured: list[tuple[Grain, LatticeFit]], cores: list[Core], points: np.ndarray
) -> np.ndarray:
    """Atoms of other regions, and cores: next to them an empty site says nothing, (k, 2)."""
    others = [points[grain.rows] for r, (grain, _) in enumerate(measured) if r != region]
    return np.concatenate([*others, np.array([c.place for c in cores]).reshape(-1, 2)])


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
    if counts[region] < 6:
        return None
    fit = fit_lattice(grain, points[grain.rows], inside[grain.rows])
    if grain.frames is not None:
        fit = strained_there(grain, points[grain.rows], whole, inside[grain.rows])
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
