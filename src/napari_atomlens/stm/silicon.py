"""H-Si(100) 2x1 from a raw scan: terraces, steps, dimers, defects and contaminants in one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays, segmentation, tables
from napari_atomlens.arrays import peak_positions
from napari_atomlens.cards import Card, by_size, counted
from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.image import check_pixel_size
from napari_atomlens.params import as_dict, of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.segmentation.probabilities import Probabilities
from napari_atomlens.stm.assessment import Verdict, assess
from napari_atomlens.stm.background import bridged, finite_image, level_lines, subtract_facet
from napari_atomlens.stm.params import SiliconAnalysisParams
from napari_atomlens.stm.rows import RowLattice, find_rows, lattice_sites, local_phase, row_lines
from napari_atomlens.stm.scars import remove_scars
from napari_atomlens.stm.site_kinds import KINDS, ROW_NM, STEP_EDGE
from napari_atomlens.stm.terraces import Terraces, find_terraces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: Defects longer than this (nm) are extended.
EXTENDED_NM = 1.9
DEFECT_COLUMNS = (
    "frame",
    "defect_id",
    "y_px",
    "x_px",
    "y_nm",
    "x_nm",
    "formula",
    "kind",
    "n_atoms",
    "atom_ids",
    "score",
    "kind_probability",
    "terrace",
    "length_px",
    "area_px2",
    "extended",
)


@dataclass(repr=False, eq=False)
class SiliconResult(Card):
    """What a scan of H-Si(100) shows.

    Attributes
    ----------
    verdict : Verdict
        Of the raw scan.
    atoms : pandas.DataFrame
        Atoms table of the dimers; ``sublattice`` is the terrace.
    defects : pandas.DataFrame
        ``DEFECT_COLUMNS`` and the probability of every kind as ``p_...``.
    terraces : Terraces
    lattices : dict of int to RowLattice
        Rows of the terraces on which they are seen.
    rows : list of ndarray, each (n, 2)
        Centres of dimer rows.
    contaminated : ndarray of bool, shape (H, W)
    defect_mask : ndarray of int, shape (H, W)
        Rank of the kind (1 is the first of ``KINDS``) where a defect covers the surface, else 0.
    probabilities : Probabilities
        What the network says, for classes and overlays.
    row_px : float
    pixel_size_nm : float or None
    messages : list of str
    seconds : dict of str to float
    provenance : dict

    Examples
    --------
    >>> import napari_atomlens as al
    >>> scan = al.simulate_silicon(al.SiliconParams(size_px=128, seed=1)).image
    >>> al.analyze_silicon(scan, pixel_size_nm=0.08)
    H-Si(100) scan, 128 x 128 px
      verdict: ...
      defects: ...
      dimers: ...
      rows: ...
    """

    verdict: Verdict
    atoms: pd.DataFrame
    defects: pd.DataFrame
    terraces: Terraces
    lattices: dict[int, RowLattice]
    rows: list[np.ndarray]
    contaminated: np.ndarray
    defect_mask: np.ndarray
    probabilities: Probabilities
    row_px: float
    pixel_size_nm: float | None
    messages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, object] = field(default_factory=dict)

    def _title(self) -> str:
        return f"H-Si(100) scan, {by_size(self.contaminated.shape)}"

    def _facts(self) -> dict[str, object]:
        return {
            "verdict": f"{self.verdict.label}, score {self.verdict.score:.2f}",
            "defects": f"{len(self.defects):,} ({counted(self.defects['kind'])})",
            "dimers": f"{len(self.atoms):,} on {len(self.terraces.table)} terraces",
            "rows": f"{len(self.rows):,}, {self.row_px:.2f} px apart",
            "messages": " ".join(self.messages),
        }

    def _picture(self) -> np.ndarray:
        return self.terraces.flat


def _one_terrace(image: np.ndarray) -> Terraces:

    z = level_lines(subtract_facet(image), "median")
    z = z - np.median(z)
    table = pd.DataFrame(
        {
            "terrace": [0],
            "height": [0.0],
            "area_px2": [z.size],
            "rms": [arrays.spread(z, centre=0.0)],
        }
    )
    edges = pd.DataFrame(columns=["edge_id", "lower", "upper", "height", "length_px"])
    return Terraces(np.zeros(z.shape, int), table, edges, [], z, z)


def find_contaminants(flat: np.ndarray, row_px: float) -> np.ndarray:
    """Find what stands high over the surface and is larger than any defect of it.

    Lumps are at least two square row distances large and far above the corrugation.
    """
    s = scipy.ndimage.gaussian_filter(flat, 0.3 * row_px)
    spread = arrays.spread(s) + 1e-300
    raw = arrays.spread(flat) + 1e-300
    seeds = s - np.median(s) > max(7 * spread, 3 * raw)
    label, n = scipy.ndimage.label(seeds)
    size = np.bincount(label.ravel(), minlength=n + 1)
    large = size > 1.6 * row_px**2
    large[0] = False
    # down to the foot of the lump
    foot = scipy.ndimage.binary_propagation(
        large[label], mask=s - np.median(s) > max(2.5 * spread, raw)
    )
    foot &= scipy.ndimage.binary_dilation(large[label], iterations=max(1, int(0.6 * row_px)))
    return np.asarray(scipy.ndimage.binary_fill_holes(foot))


#: Dimers so near to the centre of a defect, along the row and across it (nm), are part of it.
TAKEN_NM = {
    "dangling bond": (0.25, 0.3),
    "bare dimer": (0.25, 0.3),
    "3x1": (0.5, 0.85),
    "raised silicon": (0.42, 0.35),
    "1x1": (0.4, 0.4),
    "missing dimer": (0.25, 0.3),
    "contaminant": (0.8, 0.5),
}


def _taken(sites: np.ndarray, lattice: RowLattice, defects: pd.DataFrame) -> np.ndarray:
    """Sites that a defect replaces."""
    taken = np.zeros(len(sites), bool)
    across = lattice.k_row * lattice.row_px
    unit = lattice.row_px / ROW_NM
    tree = scipy.spatial.cKDTree(sites)
    for kind, (along_nm, across_nm) in TAKEN_NM.items():
        centres = defects.loc[defects["kind"] == kind, ["y_px", "x_px"]].to_numpy(float)
        if not len(centres):
            continue
        near = tree.query_ball_point(centres, np.hypot(along_nm, across_nm) * unit)
        index = np.concatenate([np.asarray(n, int) for n in near])
        d = sites[index] - np.repeat(centres, [len(n) for n in near], axis=0)
        v = np.abs(d @ across)
        u = np.abs(d[:, 0] * across[1] - d[:, 1] * across[0])
        taken[index[(u < along_nm * unit) & (v < across_nm * unit)]] = True
    return taken


def _dimers(
    flat: np.ndarray,
    terraces: Terraces,
    lattices: dict[int, RowLattice],
    blocked: np.ndarray,
    defects: pd.DataFrame,
) -> pd.DataFrame:
    """Dimers of all terraces whose rows and dimers are resolved."""
    parts = []
    for k, lattice in lattices.items():
        if not lattice.resolved:
            continue
        mine = terraces.labels == k
        box = scipy.ndimage.find_objects(mine.astype(int))[0]
        z, use = flat[box], mine[box] & ~blocked[box]
        sigma = 3.0 * lattice.row_px
        origin = np.array([box[0].start, box[1].start])
        phases = tuple(local_phase(z, q, sigma, use)[0] for q in (lattice.k_row, lattice.k_along))
        sites = lattice_sites(z.shape, lattice, phases)  # type: ignore[arg-type]
        near = np.clip(np.rint(sites).astype(int), 0, np.asarray(z.shape) - 1)
        on = use[near[:, 0], near[:, 1]]
        sites = sites[on]
        if not len(sites):
            continue
        # how high a site is over the troughs beside it, against its neighbours
        smooth = scipy.ndimage.spline_filter(
            scipy.ndimage.gaussian_filter(z, 0.12 * lattice.row_px), 3
        )

        def value(p: np.ndarray, source: np.ndarray = smooth) -> np.ndarray:
            return np.asarray(
                scipy.ndimage.map_coordinates(source, p.T, order=3, prefilter=False, mode="nearest")
            )

        across = lattice.k_row / (lattice.k_row**2).sum() / 2
        top = value(sites)
        rise = top - 0.5 * (value(sites + across) + value(sites - across))
        typical = np.median(rise)
        spread = arrays.spread(rise, centre=typical) + 1e-300
        # the foot of a lump is steep, not corrugated
        good = (rise > max(0.25 * typical, typical - 6 * spread)) & (rise < 5 * typical)
        chance = 1 / (1 + np.exp(-4 * (rise / max(typical, 1e-300) - 0.4)))
        good &= ~_taken(sites + origin, lattice, defects)
        parts.append(
            pd.DataFrame(
                {
                    "y_px": sites[good, 0] + origin[0],
                    "x_px": sites[good, 1] + origin[1],
                    "sublattice": k,
                    "amplitude": rise[good],
                    "probability": chance[good],
                }
            )
        )
    if not parts:
        return tables.empty("atoms")
    found = pd.concat(parts, ignore_index=True)
    found = found.sort_values(["y_px", "x_px"], kind="stable", ignore_index=True)
    columns: dict[str, object] = {str(c): found[c].to_numpy() for c in found}
    columns |= {
        "frame": 0,
        "atom_id": np.arange(len(found)),
        "species": "dimer",
        "source": "lattice",
    }
    columns |= {"site_y_px": columns["y_px"], "site_x_px": columns["x_px"]}
    return tables.make("atoms", columns, len(found))


def find_surface_defects(
    probabilities: Probabilities, min_probability: float = 0.5, blocked: np.ndarray | None = None
) -> pd.DataFrame:
    """Defects in what the network says.

    Parameters
    ----------
    probabilities : Probabilities
        Of a model whose classes are background and kinds of defects.
    min_probability : float
        Least height of the peak at a centre.
    blocked : ndarray of bool, shape (H, W), optional
        Where nothing is looked for.

    Returns
    -------
    pandas.DataFrame
        ``DEFECT_COLUMNS``, then ``p_...`` for every kind.
    """
    kinds = probabilities.classes[1:]
    zoom = np.asarray(probabilities.zoom)
    place, height = peak_positions(probabilities.centre, min_probability)
    at = (place + 0.5) / zoom - 0.5
    inside = (at >= -0.5) & (at <= np.asarray(probabilities.frame.shape) - 0.5)
    good = inside.all(1)
    if blocked is not None and len(at):
        near = np.clip(np.rint(at).astype(int), 0, np.asarray(blocked.shape) - 1)
        good &= ~blocked[near[:, 0], near[:, 1]]
    # of peaks that are nearly one only the higher counts
    order = np.argsort(-height)
    keep: list[int] = []
    for i in order:
        if good[i] and all(np.hypot(*(place[i] - place[j])) > 3.5 for j in keep):
            keep.append(int(i))
    place, at, height = place[keep], at[keep], height[keep]
    soft = probabilities.soft[1:]
    size = np.asarray(soft.shape[1:])
    mean = scipy.ndimage.uniform_filter(soft, (0, 5, 5), mode="nearest")
    q = np.clip(np.rint(place).astype(int), 0, size - 1)
    share = mean[:, q[:, 0], q[:, 1]].T if len(q) else np.zeros((0, len(kinds)))
    share = share / np.maximum(share.sum(1, keepdims=True), 1e-9)
    best = share.argmax(1) if len(share) else np.zeros(0, int)
    regions, _ = scipy.ndimage.label(probabilities.soft[0] < 0.5)
    length, area = np.full(len(q), np.nan), np.full(len(q), np.nan)
    boxes = scipy.ndimage.find_objects(regions)
    count = np.bincount(regions.ravel())
    number = regions[q[:, 0], q[:, 1]] if len(q) else np.zeros(0, int)
    shared = np.bincount(number, minlength=len(count))
    for i, n in enumerate(number):
        if n and shared[n] == 1:
            sides = [(s.stop - s.start) / z for s, z in zip(boxes[n - 1], zoom, strict=True)]
            length[i], area[i] = max(sides), count[n] / zoom.prod()
    n = len(at)
    limit = EXTENDED_NM / ROW_NM * probabilities.spacing_px
    table = pd.DataFrame(
        {
            "frame": 0,
            "defect_id": np.arange(n),
            "y_px": at[:, 0],
            "x_px": at[:, 1],
            "y_nm": np.nan,
            "x_nm": np.nan,
            "formula": "",
            "kind": np.asarray(kinds, object)[best],
            "n_atoms": 0,
            "atom_ids": "",
            "score": height,
            "kind_probability": share[np.arange(n), best] if n else np.zeros(0),
            "terrace": 0,
            "length_px": length,
            "area_px2": area,
            "extended": np.nan_to_num(length) > limit,
        },
        index=pd.RangeIndex(n),
    )
    for k, kind in enumerate(kinds):
        table[f"p_{kind.replace(' ', '_')}"] = share[:, k]
    return table.sort_values(["y_px", "x_px"], ignore_index=True).assign(defect_id=np.arange(n))


#: So many, and such a part, of the bright spots must have a halo before the others lose their name.
FEWEST_CHARGED, LEAST_CHARGED = 8, 0.3


def name_by_halo(defects: pd.DataFrame, flat: np.ndarray, row_px: float) -> pd.DataFrame:
    """Tell charged dangling bonds from other bright spots of the same scan.

    What a dangling bond looks like depends on bias and doping, which are the same all over a
    scan: where many of them stand in a dark halo (S. R. Schofield et al., Nat. Commun. 4,
    1649, 2013, on the charge), a bright spot without one is something else, here "adatom".
    A single spot does not show that, so the network cannot know it.

    Parameters
    ----------
    defects : pandas.DataFrame
        From :func:`find_defects`.
    flat : ndarray, shape (H, W)
        Levelled scan.
    row_px : float
        Distance of dimer rows.

    Returns
    -------
    pandas.DataFrame
    """
    bright = np.flatnonzero((defects["kind"] == "dangling bond").to_numpy())
    if len(bright) < FEWEST_CHARGED or "p_adatom" not in defects:
        return defects
    unit = row_px / ROW_NM
    reach = int(np.ceil(1.8 * unit))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    r = np.hypot(y, x) / unit
    place = np.rint(defects[["y_px", "x_px"]].to_numpy(float)[bright]).astype(int)
    limit = np.asarray(flat.shape) - 1

    def level_in(low: float, high: float, centre: np.ndarray) -> np.ndarray:
        ring = (r >= low) & (r < high)
        at = centre[:, None] + np.c_[y[ring], x[ring]][None]
        at = np.clip(at, 0, limit)
        return np.asarray(np.median(flat[at[..., 0], at[..., 1]], axis=1))

    def halo(centre: np.ndarray) -> np.ndarray:
        return level_in(0.5, 0.9, centre) - level_in(1.5, 1.76, centre)

    # how deep a halo of nothing is
    anywhere = np.random.default_rng(0).integers(0, limit + 1, (400, 2))
    blank = halo(anywhere)
    noise = arrays.spread(blank)
    depth = halo(place) - float(np.median(blank))
    charged = depth < -4 * noise
    if charged.sum() < max(FEWEST_CHARGED, LEAST_CHARGED * len(bright)):
        return defects
    bare = bright[depth > 0.4 * np.median(depth[charged])]
    out = defects.copy()
    rows = out.index[bare]
    out.loc[rows, "kind"] = "adatom"
    out.loc[rows, "p_adatom"] += out.loc[rows, "p_dangling_bond"]
    out.loc[rows, "p_dangling_bond"] = 0.0
    out.loc[rows, "kind_probability"] = out.loc[rows, "p_adatom"]
    return out


def analyze_silicon(
    image: ArrayLike,
    pixel_size_nm: float | tuple[float, float] | None = None,
    params: SiliconAnalysisParams = SiliconAnalysisParams(),
    *,
    verdict: Verdict | Callable[[], Verdict] | None = None,
    progress: ProgressLike = None,
) -> SiliconResult:
    """Analyse a raw scan of H-Si(100) 2x1.

    Parameters
    ----------
    image : array-like, shape (H, W)
        Heights or currents, any unit.
    pixel_size_nm : float or (y, x), optional
        Needed where the dimer rows are not seen.
    params : SiliconAnalysisParams
    verdict : Verdict or callable, optional
        Of this scan, where it was assessed before; or asked for at the end, where it is
        assessed elsewhere in the meantime.
    progress : Progress or callable, optional
        Told the name of every stage, and asked between them whether to stop; what is left is
        left out then.

    Returns
    -------
    SiliconResult

    Raises
    ------
    ImageError, ParameterError, ModelError
        If the scan, a parameter or the model cannot be used.
    CalibrationError
        If neither dimer rows nor a pixel size give the scale, or pixels are not square.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> scan = al.simulate_silicon(al.SiliconParams(size_px=128, seed=1)).image
    >>> result = al.analyze_silicon(scan, pixel_size_nm=0.08)
    >>> {"kind", "kind_probability", "terrace"} <= set(result.defects)
    True
    """
    params = of_kind(SiliconAnalysisParams, params)
    seconds: dict[str, float] = {}
    messages: list[str] = []
    watch = as_progress(progress)
    clock = [time.perf_counter()]

    def stage(name: str) -> None:
        now = time.perf_counter()
        seconds[name] = seconds.get(name, 0.0) + now - clock[0]
        clock[0] = now

    if not (verdict is None or callable(verdict) or isinstance(verdict, Verdict)):
        raise ParameterError(f"A verdict of assess is needed, not {type(verdict).__name__}.")
    pixel: float | None = None
    sizes = check_pixel_size(pixel_size_nm)
    if sizes is not None:
        if abs(np.log(sizes[0] / sizes[1])) > 0.03:
            raise CalibrationError(
                "The pixels are not square; resample the scan with stm.square_pixels first."
            )
        pixel = float(np.sqrt(sizes[0] * sizes[1]))
    raw = finite_image(image, 48)
    watch.say("assessing the scan")
    judged = verdict or assess(raw)
    stage("assess")
    watch.say("levelling")
    z = bridged(remove_scars(raw) if params.scars else raw)
    scale = pixel or (ROW_NM / params.row_px if params.row_px else None)
    terraces = find_terraces(z, pixel_size_nm=scale) if params.terraces else _one_terrace(z)
    flat = bridged(terraces.flat)
    stage("terraces")
    watch.say("finding dimer rows")
    lattices: dict[int, RowLattice] = {}
    why = ""
    for k in terraces.table["terrace"]:
        mine = scipy.ndimage.binary_erosion(terraces.labels == k, iterations=2)
        try:
            lattices[int(k)] = find_rows(flat, mine, pixel_size_nm=pixel, row_px=params.row_px)
        except CalibrationError as error:
            why = str(error)
    found = [lattice.row_px for lattice in lattices.values()]
    row_px = params.row_px or (
        ROW_NM / pixel if pixel else (float(np.median(found)) if found else 0)
    )
    if not row_px:
        raise CalibrationError(why)
    if found and abs(np.log(np.median(found) / row_px)) < 0.15:
        row_px = float(np.median(found))
    if not found:
        messages.append("Dimer rows are not resolved: defects are found, dimers are not.")
    missing = np.isnan(raw)
    contaminated = find_contaminants(flat, row_px) & ~missing
    stage("rows")
    watch.say("looking for defects")
    shown = np.where(missing, np.nan, _for_network(flat, contaminated))
    probabilities = segmentation.predict_classes(shown, params.model, row_px)
    edge = np.zeros(flat.shape, bool)
    for line in terraces.lines:
        at = np.clip(np.rint(line).astype(int), 0, np.asarray(flat.shape) - 1)
        edge[at[:, 0], at[:, 1]] = True
    beside = scipy.ndimage.distance_transform_edt(~edge) < 0.6 * row_px if edge.any() else edge
    roles = probabilities.roles
    large = roles.index("contamination") if "contamination" in roles else 0
    blocked = scipy.ndimage.binary_dilation(contaminated, iterations=max(1, int(0.3 * row_px)))
    defects = find_surface_defects(
        probabilities, params.min_probability, blocked | beside | missing
    )
    defects = name_by_halo(defects, flat, row_px)
    stage("defects")
    atoms = tables.empty("atoms")
    rows: list[np.ndarray] = []
    if params.dimers and not watch.stopped:
        watch.say("placing dimers")
        under = scipy.ndimage.binary_dilation(contaminated, iterations=max(1, int(0.12 * row_px)))
        atoms = _dimers(flat, terraces, lattices, under | missing, defects)
        for k, lattice in lattices.items():
            rows += row_lines(flat, lattice, (terraces.labels == k) & ~blocked & ~missing)
        if lattices and not any(v.resolved for v in lattices.values()):
            messages.append("Dimers along the rows are not resolved: rows are given as lines.")
    stage("dimers")
    defects = _with_extended(defects, contaminated, terraces, probabilities, row_px)
    if pixel:
        for table in (atoms, defects):
            table["y_nm"], table["x_nm"] = table["y_px"] * pixel, table["x_px"] * pixel
    mask = np.where(probabilities.maps[0] < 0.5, probabilities.maps[1:].argmax(0) + 1, 0)
    mask[beside] = 0
    mask = np.where(contaminated, large or len(KINDS), mask).astype(np.uint8)
    verdict = judged() if callable(judged) else judged
    if verdict.label != "good":
        messages.insert(0, f"This scan may be of little use: {verdict.reasons[0]}")
    stage("merge")
    provenance: dict[str, object] = {
        "parameters": as_dict(params),
        "pixel_size_nm": pixel,
        "row_px": row_px,
        "verdict": {"score": verdict.score, "label": verdict.label},
    }
    return SiliconResult(
        verdict,
        atoms,
        defects,
        terraces,
        lattices,
        rows,
        contaminated,
        mask,
        probabilities,
        row_px,
        pixel,
        messages,
        seconds,
        provenance,
    )


def _for_network(flat: np.ndarray, contaminated: np.ndarray) -> np.ndarray:
    """Flat scan whose large lumps are limited, so that they do not set the contrast of the rest."""
    calm = flat[~contaminated] if (~contaminated).any() else flat
    low, high = np.percentile(calm, [0.05, 99.95])
    return np.asarray(np.clip(flat, low, high))


def _with_extended(
    defects: pd.DataFrame,
    contaminated: np.ndarray,
    terraces: Terraces,
    probabilities: Probabilities,
    row_px: float,
) -> pd.DataFrame:
    """Add contaminants and step edges, and say on which terrace each defect lies."""
    label, n = scipy.ndimage.label(contaminated)
    new = []
    centres = scipy.ndimage.center_of_mass(contaminated, label, np.arange(1, n + 1)) if n else []
    for k, (place, box) in enumerate(
        zip(centres, scipy.ndimage.find_objects(label), strict=True), start=1
    ):
        sides = [float(s.stop - s.start) for s in box]
        new.append(
            {
                "y_px": place[0],
                "x_px": place[1],
                "kind": KINDS[-1],
                "score": 1.0,
                "length_px": max(sides),
                "area_px2": float((label[box] == k).sum()),
            }
        )
    for line, length in zip(terraces.lines, terraces.edges["length_px"], strict=True):
        place = line[len(line) // 2]
        new.append(
            {
                "y_px": place[0],
                "x_px": place[1],
                "kind": STEP_EDGE,
                "score": 1.0,
                "length_px": float(length),
                "area_px2": np.nan,
            }
        )
    if new:
        more = pd.DataFrame(new).assign(
            frame=0, formula="", n_atoms=0, atom_ids="", kind_probability=1.0, extended=True
        )
        more = more.reindex(columns=defects.columns)
        chances = [c for c in more.columns if c.startswith("p_")]
        more[chances] = 0.0
        column = f"p_{KINDS[-1]}"
        if column in more:
            more.loc[more["kind"] == KINDS[-1], column] = 1.0
        more[["defect_id", "terrace"]] = 0
        defects = more if defects.empty else pd.concat([defects, more], ignore_index=True)
        defects = defects.astype({"extended": bool, "frame": int, "n_atoms": int})
    defects = defects.reset_index(drop=True)
    at = np.clip(
        np.rint(defects[["y_px", "x_px"]].to_numpy(float)).astype(int),
        0,
        np.asarray(terraces.labels.shape) - 1,
    )
    defects["terrace"] = terraces.labels[at[:, 0], at[:, 1]] if len(at) else 0
    return defects.assign(defect_id=np.arange(len(defects)))
