"""Match a crystal with the columns of an image: zone axis, rotation, sites and defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.errors import MatchError, ParameterError, TableError
from napari_atomlens.familiar import familiar
from napari_atomlens.files import Json
from napari_atomlens.graphs.crystal_match import CrystalMatch, MatchParams
from napari_atomlens.graphs.crystals import find_crystal
from napari_atomlens.graphs.match_words import (
    distortion_of,
    is_another,
    match_sentence,
    name_of_axis,
    name_of_match,
)
from napari_atomlens.graphs.polarity import Polarity, measure_polarity
from napari_atomlens.graphs.poses import (
    DISTORTED,
    INDEPENDENT,
    MOST_STRAIN,
    LatticeRegion,
    Pose,
    PoseSearch,
    tell_apart,
)
from napari_atomlens.graphs.site_columns import OnSites, put_on_sites
from napari_atomlens.graphs.site_defects import FEWEST, defect_rows, judge_columns
from napari_atomlens.graphs.views import View, axis_name, check_axis, views_of
from napari_atomlens.image import check_pixel_size
from napari_atomlens.lattice.grains import find_grains
from napari_atomlens.lattice.latticefit import fit_lattice
from napari_atomlens.lattice.measure import log_level
from napari_atomlens.params import as_dict, of_kind
from napari_atomlens.progress import Progress, ProgressLike, as_progress

#: Matches whose geometry differs by less, per column, project alike.
ALIKE = 0.12
#: A match of which less than this is probable is a tie that brightness does not decide.
SURE = 0.95
#: A crystal does not fit where fewer columns are on its sites, or more sites of one of its
#: columns are empty.
LEAST_ON_SITES, MOST_EMPTY = 0.75, 0.55
#: ... where its likelihood is so much less, per column, than if each were in its place ...
MOST_OFF = 1.0
#: ... or where the brightness of a column is off by so many of its errors ...
WORST_BRIGHT = 5.0
#: ... or the image repeats sooner than the crystal, with such log odds.
FINER = 3.0


def match_crystal(
    atoms: pd.DataFrame,
    crystal: object,
    zone_axis: Sequence[int] | None = None,
    params: MatchParams = MatchParams(),
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    progress: ProgressLike = None,
) -> CrystalMatch:
    """Match a crystal with the columns of an image or movie.

    The crystal is projected along its low-index zone axes and laid on the lattice of the columns
    in every way that the scale and a small distortion allow. What fits by position is chosen;
    what projects alike is told apart by brightness, and then only with a probability.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table. ``volume`` (or ``amplitude``) is used where it is there.
    crystal : str, path, ase.Atoms, UnitCell, or a list of these
        A name (:func:`napari_atomlens.graphs.list_crystals`), a CIF, or what else ASE reads.
    zone_axis : sequence of three int, optional
        Direction of the beam [u v w]; by default every low-index one is tried.
    params : MatchParams
    pixel_size_nm : float or tuple of float, optional
        (y, x); by default what the columns in nm of the table say. Where it is unknown the scale
        is free, and the crystal gives it.
    progress : Progress or callable, optional

    Raises
    ------
    MatchError
        If the columns form no lattice, or the crystal fits none of its regions.
    StoppedError
        If `progress` asked to stop before a frame was matched.
    TableError, ParameterError, FormatError, CalibrationError
        If what is given makes no sense.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (160, 160), 10.0, seed=2)[1].atoms()
    >>> found = al.match_crystal(atoms, "graphene", pixel_size_nm=0.0142)
    >>> found.zone_axis, set(found.columns["elements"]), round(found.scale, 2)
    ('[001]', {'C'}, 1.0)
    """
    params = of_kind(MatchParams, params)
    crystals = [find_crystal(c) for c in (crystal if isinstance(crystal, list) else [crystal])]
    if not crystals:
        raise ParameterError("There is no crystal to match.")
    table = _checked(atoms)
    size = check_pixel_size(pixel_size_nm) or _size_in(table)
    views = [v for c in crystals for v in views_of(c, zone_axis, params.max_index)]
    matcher = _Matcher(table, views, size, params)
    matcher.match_frames(as_progress(progress))
    return matcher.result(" or ".join(c.name for c in crystals), zone_axis)


def _checked(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms that are to be matched, with all columns that are needed."""
    tables.need_columns(atoms, ("y_px", "x_px"), "atoms")
    given = atoms if "species" in atoms else atoms.assign(species="")
    clean = familiar(tables.check_atoms(given))
    if not len(clean):
        raise TableError("The table of atoms is empty.")
    for name in ("amplitude", "volume", "probability"):
        if name not in clean:
            clean[name] = np.nan
    return clean


def _size_in(table: pd.DataFrame) -> tuple[float, float] | None:
    """Pixel size that the positions in pixels and in nm say."""
    if not {"y_nm", "x_nm"} <= set(table):
        return None
    sizes = []
    for axis in ("y", "x"):
        nm, px = (table[f"{axis}_{unit}"].to_numpy(float) for unit in ("nm", "px"))
        good = np.isfinite(nm) & (np.abs(px) > 1)
        if not good.any():
            return None
        sizes.append(float(np.median(nm[good] / px[good])))
    return check_pixel_size(tuple(sizes))


def brightness_of(table: pd.DataFrame) -> np.ndarray:
    """Logarithm of the brightness of each column, NaN where it is unknown.

    That of the fitted volume where most columns have one, of the amplitude otherwise; of dark
    columns how dark they are.
    """
    for name in ("volume", "amplitude"):
        values = table[name].to_numpy(float)
        known = np.isfinite(values)
        if known.mean() > 0.5:
            values = values * (np.sign(np.median(values[known])) or 1.0)
            return np.log(np.where(known & (values > 0), values, np.nan))
    return np.full(len(table), np.nan)


def evened(points: np.ndarray, level: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
    """Logarithm of the brightness without a slow change over the region (thickness, bending)."""
    known = np.isfinite(level)
    if known.sum() < FEWEST:
        return level
    at = (points - points.mean(0)) / max(float(np.ptp(points)), 1e-12)
    slow = np.c_[at, at**2, at[:, :1] * at[:, 1:]]
    design = np.c_[slow, np.eye(int(sublattice.max()) + 1)[sublattice]]
    weight = np.ones(int(known.sum()))
    solved = np.zeros(design.shape[1])
    for _ in range(4):  # columns that hold something else lose weight
        root = np.sqrt(weight)
        solved = np.linalg.lstsq(design[known] * root[:, None], level[known] * root, rcond=None)[0]
        off = np.abs(level[known] - design[known] @ solved)
        weight = 1 / np.maximum(1.0, off / max(2.0 * float(np.median(off)), 1e-9))
    return np.asarray(level - slow @ solved[: slow.shape[1]])


class _Matcher:
    """Matches frame after frame and collects the tables."""

    def __init__(
        self,
        table: pd.DataFrame,
        views: list[View],
        size: tuple[float, float] | None,
        params: MatchParams,
    ) -> None:
        self.table, self.views, self.size, self.params = table, views, size, params
        self.columns: list[pd.DataFrame] = []
        self.defects: list[pd.DataFrame] = []
        self.model: list[pd.DataFrame] = []
        self.matches: list[dict[str, object]] = []
        self.messages: list[str] = []
        self.reasons: list[str] = []
        self.found_size: float | None = None

    def match_frames(self, watch: Progress) -> None:
        """Match frame after frame until it is asked to stop."""
        frames = [int(f) for f in np.unique(self.table["frame"])]
        for k, frame in enumerate(frames):
            if watch.stopped:
                break
            self.match_frame(frame)
            watch(k + 1, len(frames))
        if not self.columns:
            watch.check()

    def match_frame(self, frame: int) -> None:
        """Match every region of a frame."""
        table = self.table[(self.table["frame"] == frame).to_numpy()].reset_index(drop=True)
        unit = np.ones(2) if self.size is None else np.array(self.size)
        points = table[["y_px", "x_px"]].to_numpy(float) * unit
        level = brightness_of(table)
        columns = self._columns(frame, table)
        least = self.params.min_columns
        grains = find_grains(points, log_level(table), min_atoms=least, large_cells=True)
        regions = []
        for grain in grains:
            fit = fit_lattice(grain, points[grain.rows])
            if fit is not None:
                mine = points[grain.rows]
                even = evened(mine, level[grain.rows], grain.sublattice)
                regions.append(LatticeRegion(grain, fit, mine, even))
        if not regions:
            self.reasons.append("the columns form no lattice")
        owner = _owners(points, regions)
        for region, measured in enumerate(regions):
            rows = np.flatnonzero(owner == region)
            self._match_region(frame, region, measured, points, level, rows, table, columns)
        self.columns.append(columns)

    def _columns(self, frame: int, table: pd.DataFrame) -> pd.DataFrame:
        known = {name: table[name].to_numpy() for name in ("atom_id", "y_px", "x_px")}
        return tables.make("matched", {"frame": frame, **known}, len(table))

    def _match_region(
        self,
        frame: int,
        region: int,
        measured: LatticeRegion,
        points: np.ndarray,
        level: np.ndarray,
        rows: np.ndarray,
        table: pd.DataFrame,
        columns: pd.DataFrame,
    ) -> None:
        """Match one region and put what is found into the tables."""
        # a scan may be distorted more than is usual: only where nothing else fits
        on, pose, why = None, None, ""
        for most_strain in (MOST_STRAIN, DISTORTED):
            poses = self._poses(measured, most_strain)
            on, pose, doubt = self._seat(poses, measured, points, rows)
            if on is not None:
                break
            why = why if why and not poses else doubt
        if on is None or pose is None:
            self.reasons.append(why)
            if len(rows) > 0.1 * len(points):
                self.messages.append(
                    f"Region {region} ({len(rows):,} columns) does not fit: {why}."
                )
            return
        answers = [on.pose, *(p for p in poses if p.total <= pose.total and is_another(p, pose))]
        polarity = measure_polarity(on, level[rows])
        self._note_match(frame, region, on, answers, polarity)
        self._note_columns(on, points, level, columns, region)
        seated = on.rows[on.column >= 0]
        what, chance, bright = judge_columns(
            on.pose.view, on.column[on.column >= 0], points[seated], level[seated],
            on.pose.exponent,
        )  # fmt: skip
        at = columns.index[seated]
        columns.loc[at, "relative_brightness"] = bright
        columns.loc[at, "occupant"] = [w.elements for w in what]
        columns.loc[at, "occupant_probability"] = chance
        sure = table["probability"].fillna(1.0).to_numpy(float)
        found = defect_rows(
            frame, table["atom_id"].to_numpy()[on.rows], points[on.rows], on, what, chance,
            sure[on.rows], self.params.least_probability,
        )  # fmt: skip
        self.defects.append(self._in_px(found))
        self.model.append(self._in_px(_model_sites(frame, region, on)))

    def _seat(
        self, poses: list[Pose], measured: LatticeRegion, points: np.ndarray, rows: np.ndarray
    ) -> tuple[OnSites | None, Pose | None, str]:
        """Take the first of the best answers that is not refused; otherwise say why."""
        why = "no projection of it has such a cell"
        for pose in poses[:3]:
            tried = put_on_sites(pose, measured, points, rows, self.params.largest_vacancy)
            doubt = refusal(tried)
            if not doubt:
                return tried, pose, ""
            why = doubt if pose is poses[0] else why
        return None, None, why

    def _poses(self, measured: LatticeRegion, most_strain: float) -> list[Pose]:
        """Answers for a region, the best first."""
        scales = None
        if self.size is not None:
            tolerance = self.params.scale_tolerance
            scales = 1 - tolerance, 1 + tolerance
        search = PoseSearch(measured, scales, self.params.exponent, most_strain)
        return tell_apart([p for view in self.views for p in search.poses(view)])

    def _in_px(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.size is not None:
            table["y_px"] /= self.size[0]
            table["x_px"] /= self.size[1]
        return table

    def _note_columns(
        self, on: OnSites, points: np.ndarray, level: np.ndarray, columns: pd.DataFrame, region: int
    ) -> None:
        at = columns.index[on.rows]
        columns.loc[at, "region"] = region
        columns.loc[at, "site"] = on.column
        seated = on.column >= 0
        at = at[seated]
        labels = np.array(on.pose.view.labels, dtype=object)
        columns.loc[at, "elements"] = labels[on.column[seated]]
        columns.loc[at, ["cell_m", "cell_n"]] = on.cells[seated]
        unit = np.ones(2) if self.size is None else np.array(self.size)
        site = on.site[seated] / unit
        shift = points[on.rows[seated]] / unit - site
        nm = unit if self.size is not None else np.full(2, 1 / on.pose.scale)
        for k, axis in enumerate(("y", "x")):
            columns.loc[at, f"site_{axis}_px"] = site[:, k]
            columns.loc[at, f"d{axis}_px"] = shift[:, k]
            columns.loc[at, f"d{axis}_nm"] = shift[:, k] * nm[k]

    def _note_match(
        self,
        frame: int,
        region: int,
        on: OnSites,
        answers: list[Pose],
        polarity: Polarity | None,
    ) -> None:
        pose, rivals = answers[0], answers[1:]
        total = np.array([p.total for p in answers])
        chance = np.exp(total - total.max())
        chance /= chance.sum()
        second = rivals[0] if rivals else None
        lead = (total[0] - total[1]) / INDEPENDENT if second is not None else np.nan
        axis, direction = pose.view.direction()
        y, x = direction @ pose.matrix
        values = np.linalg.svd(pose.matrix, compute_uv=False)
        unit = 1.0 if self.size is None else float(np.mean(self.size))
        row: dict[str, object] = {
            "frame": frame, "region": region, "crystal": pose.view.crystal.name,
            "zone_axis": name_of_axis(pose), "n_atoms": len(on.rows),
            "n_on_sites": int((on.column >= 0).sum()), "n_vacant": len(on.vacant_column),
            "along": axis_name(axis), "rotation_rad": float(np.arctan2(-y, x)),
            "scale": pose.scale if self.size is not None else np.nan,
            "strain": float(0.5 * np.log(values[0] / values[1])), "exponent": pose.exponent,
            "rms_px": on.rms / unit, "match_score": pose.geometry, "lead": lead,
            "match_probability": float(chance[0]),
            "runner_up": "" if second is None else name_of_match(second, pose),
        }  # fmt: skip
        if polarity is not None:
            row |= {
                "polarity_rad": polarity.direction_rad, "polarity_ratio": polarity.ratio,
                "polarity_ratio_err": polarity.ratio_err,
                "polarity_probability": polarity.probability,
                "n_dumbbells": polarity.n_dumbbells,
            }  # fmt: skip
        self.matches.append(row)
        if said := distortion_of(region, float(0.5 * np.log(values[0] / values[1]))):
            self.messages.append(said)
        alike = [p for p in rivals if abs(p.geometry - pose.geometry) < ALIKE]
        if alike and chance[0] < SURE:
            names = ", ".join(dict.fromkeys(name_of_match(p, pose) for p in alike[:3]))
            self.messages.append(
                f"Region {region}: {pose.view.name} and {names} project alike; by brightness it is "
                f"the first with a probability of {chance[0]:.0%}."
            )
        if self.found_size is None and self.size is None:
            self.found_size = 1 / pose.scale

    def result(self, asked: str, zone_axis: Sequence[int] | None) -> CrystalMatch:
        """Join the tables of all frames.

        Raises
        ------
        MatchError
            If no region fits.
        """
        if not self.matches:
            why = self.reasons[0] if self.reasons else "there is no frame"
            raise MatchError(f"{asked} does not fit these columns: {why}.")
        matches = tables.make("matches", _by_name(self.matches), len(self.matches))
        order = matches.sort_values("n_atoms", ascending=False, kind="stable").index
        matches = matches.loc[order].reset_index(drop=True)
        defects = pd.concat(self.defects, ignore_index=True)
        if len(defects):
            defects["defect_id"] = np.arange(len(defects))
        along = None if zone_axis is None else list(check_axis(zone_axis))
        asked_for: Json = {
            "crystal": asked, "zone_axis": along,
            "parameters": as_dict(self.params), "pixel_size_nm": self.size,
        }  # fmt: skip
        return CrystalMatch(
            pd.concat(self.columns, ignore_index=True), matches, defects,
            pd.concat(self.model, ignore_index=True), match_sentence(matches.iloc[0], defects),
            self.messages, self.found_size, asked_for,
        )  # fmt: skip


def _by_name(rows: list[dict[str, object]]) -> dict[str, object]:
    names = dict.fromkeys(name for row in rows for name in row)
    missing: dict[str, object] = {"n_dumbbells": 0}
    return {n: [row.get(n, missing.get(n, np.nan)) for row in rows] for n in names}


def _owners(points: np.ndarray, regions: list[LatticeRegion]) -> np.ndarray:
    """Region of each column: its own, or that of the nearest columns, -1 far from any."""
    owner = np.full(len(points), -1)
    for k, region in enumerate(regions):
        owner[region.grain.rows] = k
    rest, known = np.flatnonzero(owner < 0), np.flatnonzero(owner >= 0)
    if len(rest) and len(known):
        gap, near = scipy.spatial.cKDTree(points[known]).query(points[rest])
        reach = np.array([2.0 * r.grain.spacing for r in regions])[owner[known[near]]]
        owner[rest] = np.where(gap < reach, owner[known[near]], -1)
    return owner


def refusal(on: OnSites) -> str:
    """Say why a crystal does not fit a region, "" where it does."""
    pose = on.pose
    share = float((on.column >= 0).mean())
    if share < LEAST_ON_SITES:
        return f"only {share:.0%} of the columns are on its sites"
    emptiest = int(np.where(pose.seen, on.found, np.inf).argmin())
    if on.found[emptiest] < 1 - MOST_EMPTY:
        return (
            f"{1 - on.found[emptiest]:.0%} of its {pose.view.labels[emptiest]} columns are missing"
        )
    if pose.geometry < pose.perfect - MOST_OFF:
        return "its columns lie elsewhere in the cell"
    if pose.worst > WORST_BRIGHT:
        return "the places fit, but not the brightness of the columns"
    if pose.finer > FINER:
        return "the image repeats after less than it does: its columns are equally bright"
    return ""


def _model_sites(frame: int, region: int, on: OnSites) -> pd.DataFrame:
    """Every column of the crystal in the cells that hold columns of the image, and within these."""
    view, pose = on.pose.view, on.pose
    seated = on.column >= 0
    cells = np.unique(on.cells[seated], axis=0)
    n = len(view.labels)
    places = (cells @ view.columns.cell_nm)[:, None] + view.columns.places_nm
    places = places.reshape(-1, 2) @ pose.matrix + pose.origin
    site = np.tile(np.arange(n), len(cells))
    near = scipy.spatial.cKDTree(on.site[seated]).query(places)[0]
    step = 1.2 * view.nearest_nm() * pose.scale
    inside = near < max(step, 1e-9)
    # beyond the outermost columns the image may end
    low, high = on.site[seated].min(0), on.site[seated].max(0)
    inside &= ((places > low - 0.3 * step) & (places < high + 0.3 * step)).all(1)
    return pd.DataFrame(
        {
            "frame": frame, "region": region, "y_px": places[inside, 0], "x_px": places[inside, 1],
            "site": site[inside], "elements": np.array(view.labels, dtype=object)[site[inside]],
            "seen": pose.seen[site[inside]],
        }
    )  # fmt: skip
