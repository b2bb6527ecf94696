"""Scenes with exact truth: which column sits where, how bright it is, and what hides it.

``simulate`` makes one named image for tests, benchmarks and samples; ``random_scene``
draws the endless variety that the universal model is trained on. Seeds are split in
ranges that never meet (:func:`seed_for`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens import tables
from napari_atomlens.cards import Card, by_size, counted
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import number_between
from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns, render_truth

_SEED_BASE = {
    "training": 0,
    "calibration": 1 << 41,
    "test": 2 << 41,
    "benchmark": 3 << 41,
    "sample": 4 << 41,
}


def seed_for(purpose: str, index: int) -> int:
    """Seed number `index` of a purpose; the ranges of purposes never meet.

    Purposes are "training", "calibration", "test", "benchmark" and "sample".
    """
    if not 0 <= index < 1 << 40:
        raise ValueError("index must lie between 0 and 2**40")
    return _SEED_BASE[purpose] + index


@dataclass(repr=False, eq=False)
class Scene(Card):
    """Columns and background of a field of view, before noise.

    Attributes
    ----------
    shape : tuple of int
        (H, W) in pixels.
    y, x, amplitude, sigma, aspect, angle : ndarray, shape (n,)
        Position (px), peak intensity, width (px) and elongation of each column.
    species : ndarray of str, shape (n,)
        What each column is ("C", "Si", ... or "column").
    background : ndarray, shape (H, W)
        Intensity that does not belong to a column.
    contamination : ndarray of bool, shape (H, W)
        Where columns are hidden.
    spacing_px : float
        Distance between nearest columns of the undistorted lattice.
    lattice : str
        Name of the lattice.
    row_shift : ndarray, shape (H,), optional
        Where each scan row really was, along x, in pixels.
    profile : ndarray, optional
        Of all columns where they are not Gaussian (see
        :func:`napari_atomlens.simulation.formation.render_columns`).

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("square", (96, 96), 12.0, counts=float("inf"))
    >>> truth
    Scene of square, 96 x 96 px
      columns: ...
      spacing: 12.00 px
    >>> int(truth.visible(margin_px=6).sum())
    49
    """

    shape: tuple[int, int]
    y: np.ndarray
    x: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    aspect: np.ndarray
    angle: np.ndarray
    species: np.ndarray
    background: np.ndarray
    contamination: np.ndarray
    spacing_px: float
    lattice: str
    row_shift: np.ndarray | None = None
    profile: np.ndarray | None = None
    extra: dict[str, float] = field(default_factory=dict)

    def _title(self) -> str:
        return f"Scene of {self.lattice}, {by_size(self.shape)}"

    def _facts(self) -> dict[str, object]:
        return {
            "columns": f"{len(self.y):,} ({counted(map(str, self.species))})",
            "spacing": f"{self.spacing_px:.2f} px",
        }

    def _picture(self) -> np.ndarray:
        return self.clean()

    def clean(self) -> np.ndarray:
        """Expected intensity without noise, shape (H, W)."""
        return self.background + render_columns(
            self.shape, self.y, self.x, self.amplitude, self.sigma, self.aspect, self.angle,
            self.row_shift, profile=self.profile,
        )  # fmt: skip

    def atoms(self, frame: int = 0) -> pd.DataFrame:
        """Return the columns as an atoms table, as if they had been found without error.

        Parameters
        ----------
        frame : int
            Number of the frame, of which the ids of the atoms follow.
        """
        n = len(self.y)
        values = {"frame": frame, "atom_id": frame * tables.IDS_PER_FRAME + np.arange(n),
                  "y_px": self.y, "x_px": self.x, "species": self.species,
                  "amplitude": self.amplitude, "sigma_px": self.sigma}  # fmt: skip
        return tables.make("atoms", values, n)

    def visible(self, margin_px: float = 0.0) -> np.ndarray:
        """Mask of the columns inside of the field of view and outside of contamination."""
        inside = (
            (self.y >= margin_px) & (self.y <= self.shape[0] - 1 - margin_px)
            & (self.x >= margin_px) & (self.x <= self.shape[1] - 1 - margin_px)
        )  # fmt: skip
        rows = np.clip(np.rint(self.y).astype(int), 0, self.shape[0] - 1)
        cols = np.clip(np.rint(self.x).astype(int), 0, self.shape[1] - 1)
        return inside & ~self.contamination[rows, cols]

    def truth_maps(self, peak_sigma: float = 1.3) -> tuple[np.ndarray, ...]:
        """Return (column, bright, peaks) maps of the columns that are not hidden."""
        rows = np.clip(np.rint(self.y).astype(int), 0, self.shape[0] - 1)
        cols = np.clip(np.rint(self.x).astype(int), 0, self.shape[1] - 1)
        seen = ~self.contamination[rows, cols]
        y, x, sigma = self.y[seen], self.x[seen], self.sigma[seen]
        radius = 1.18 * sigma  # the contour at half of the height
        if len(y) > 1:
            nearest = cKDTree(np.c_[y, x]).query(np.c_[y, x], k=2)[0][:, 1]
            radius = np.minimum(radius, 0.42 * nearest)
        return render_truth(
            self.shape, y, x, np.maximum(radius, 1.2), self.aspect[seen], self.angle[seen],
            much_brighter(y, x, self.amplitude[seen]), peak_sigma,
        )  # fmt: skip


def much_brighter(y: np.ndarray, x: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """How far each column is "much brighter" than the ordinary columns round it, 0 to 1.

    The ordinary level is the 30th percentile of the eight nearest columns, so that a
    dimer or trimer of bright atoms does not hide itself. Ratios up to 1.35 count as 0,
    above 1.9 as 1.
    """
    if len(y) < 5:
        return np.zeros(len(y))
    k = min(9, len(y))
    _, near = cKDTree(np.c_[y, x]).query(np.c_[y, x], k=k)
    ordinary = np.percentile(amplitude[near[:, 1:]], 30, axis=1)
    return np.clip((amplitude / np.maximum(ordinary, 1e-12) - 1.35) / 0.55, 0, 1)


def thin_out(
    positions: np.ndarray, min_distance: float, keep: np.ndarray | None = None
) -> np.ndarray:
    """Mask that drops one of each pair closer than `min_distance` (later rows lose)."""
    mask = np.ones(len(positions), bool)
    if len(positions) < 2:
        return mask
    pairs = cKDTree(positions).query_pairs(min_distance, output_type="ndarray")
    for a, b in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] if len(pairs) else ():
        if mask[a] and mask[b]:
            mask[max(a, b)] = False
    return mask


def scene_from_crystal(
    crystal: crystals.Crystal,
    shape: tuple[int, int],
    spacing_px: float,
    rng: np.random.Generator,
    *,
    rotation_rad: float | None = None,
    sigma: float | None = None,
    aspect: float | None = None,
    jitter: float = 0.0,
    shear: np.ndarray | None = None,
    boundary: bool = False,
    tilt_rad: float | None = None,
) -> tuple[Scene, np.ndarray]:
    """Fill a field of view with a crystal, or with two grains of it that meet.

    Parameters
    ----------
    sigma : float, optional
        Column width over the spacing; drawn from the range of the crystal by default.
    jitter : float
        Rms displacement of each column over the spacing.
    boundary : bool
        Put a grain boundary through the field of view.
    tilt_rad : float, optional
        Angle between the two grains; drawn at random by default.

    Returns
    -------
    scene : Scene
        Background zero, no contamination, the strongest column has amplitude 1.
    basis_index : ndarray of int
        Which column of the basis each one is.
    """
    angle = rng.uniform(0, 2 * np.pi) if rotation_rad is None else rotation_rad
    origin = tuple(rng.uniform(0, 3 * spacing_px, 2))
    positions, index = crystals.fill(crystal, shape, spacing_px, angle, origin, shear)
    if boundary:
        tilt = rng.uniform(0.08, 0.9) if tilt_rad is None else tilt_rad
        second, second_index = crystals.fill(
            crystal,
            shape,
            spacing_px,
            angle + tilt,
            tuple(rng.uniform(0, 3 * spacing_px, 2)),
            shear,
        )
        normal = rng.uniform(0, 2 * np.pi)
        centre = np.asarray(shape) * rng.uniform(0.25, 0.75, 2)
        wave = rng.uniform(0, 1.5) * spacing_px

        def side(p: np.ndarray) -> np.ndarray:
            d = p - centre
            along = d @ np.array([np.cos(normal), -np.sin(normal)])
            across = d @ np.array([np.sin(normal), np.cos(normal)])
            return across + wave * np.sin(along / (4 * spacing_px))

        first_in, second_in = side(positions) < 0, side(second) >= 0
        positions = np.r_[positions[first_in], second[second_in]]
        index = np.r_[index[first_in], second_index[second_in]]
        keep = thin_out(positions, 0.72 * spacing_px)
        positions, index = positions[keep], index[keep]
    if jitter:
        positions = positions + rng.normal(0, jitter * spacing_px, positions.shape)
    n = len(positions)
    width = (rng.uniform(*crystal.sigma) if sigma is None else sigma) * spacing_px
    ratio = rng.uniform(*crystal.aspect) if aspect is None else aspect
    # rows of dimers are elongated across the row, that is along the second cell vector
    direction = angle + (0.0 if crystal.name == "dimer_rows" else rng.uniform(0, np.pi))
    scene = Scene(
        shape=shape,
        y=positions[:, 0],
        x=positions[:, 1],
        amplitude=crystal.weights[index].astype(float),
        sigma=np.full(n, width),
        aspect=np.full(n, ratio),
        angle=np.full(n, direction),
        species=np.full(n, "column", dtype=object),
        background=np.zeros(shape),
        contamination=np.zeros(shape, bool),
        spacing_px=spacing_px,
        lattice=crystal.name,
    )
    return scene, index


def remove(scene: Scene, mask: np.ndarray) -> Scene:
    """Take the columns of `mask` out of a scene (vacancies, holes, edges), in place."""
    for name in ("y", "x", "amplitude", "sigma", "aspect", "angle", "species"):
        setattr(scene, name, getattr(scene, name)[~mask])
    return scene


def add_columns(scene: Scene, positions: np.ndarray, amplitude: np.ndarray, species: str) -> Scene:
    """Add round columns (adatoms) of the scene's mean width, in place."""
    n = len(positions)
    width = scene.sigma.mean() if len(scene.sigma) else 0.3 * scene.spacing_px
    scene.y, scene.x = np.r_[scene.y, positions[:, 0]], np.r_[scene.x, positions[:, 1]]
    scene.amplitude = np.r_[scene.amplitude, amplitude]
    scene.sigma = np.r_[scene.sigma, np.full(n, width)]
    scene.aspect, scene.angle = np.r_[scene.aspect, np.ones(n)], np.r_[scene.angle, np.zeros(n)]
    scene.species = np.r_[scene.species, np.full(n, species, dtype=object)]
    return scene


def substitute(
    scene: Scene,
    rng: np.random.Generator,
    fraction: float,
    factor: float,
    species: str,
    cluster: float,
) -> Scene:
    """Replace a fraction of the columns by others `factor` times as bright, in place.

    With probability `cluster` a neighbour of a replaced column is replaced too, which
    makes the dimers and trimers that matter in doped graphene.
    """
    n = len(scene.y)
    if n < 4:
        return scene
    chosen = set(np.flatnonzero(rng.random(n) < fraction).tolist())
    tree = cKDTree(np.c_[scene.y, scene.x])
    for i in list(chosen):
        near = tree.query([scene.y[i], scene.x[i]], k=min(7, n))[1][1:]
        while rng.random() < cluster:
            chosen.add(int(rng.choice(near)))
    picks = np.fromiter(chosen, int, len(chosen))
    if not len(picks):
        return scene
    # larger atoms push their neighbours away a little
    push = rng.uniform(0.0, 0.14) * scene.spacing_px if factor > 1.5 else 0.0
    here = np.c_[scene.y, scene.x]
    if push:
        shift = np.zeros_like(here)
        for i in picks:
            near = tree.query(here[i], k=min(4, n))[1][1:]
            d = here[near] - here[i]
            shift[near] += push * d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)
        scene.y, scene.x = scene.y + shift[:, 0], scene.x + shift[:, 1]
    scene.amplitude[picks] = scene.amplitude[picks] * factor * rng.uniform(0.92, 1.08, len(picks))
    scene.species[picks] = species
    return scene


def dislocate(scene: Scene, rng: np.random.Generator) -> Scene:
    """Displace the columns by the field of an edge dislocation, in place (isotropic, nu = 1/3).

    References
    ----------
    J. P. Hirth and J. Lothe, Theory of Dislocations (1982), edge dislocation in a plane.
    """
    centre = np.asarray(scene.shape) * rng.uniform(0.3, 0.7, 2)
    direction = rng.uniform(0, 2 * np.pi)
    dx, dy = scene.x - centre[1], scene.y - centre[0]
    u = dx * np.cos(direction) - dy * np.sin(direction)
    v = dx * np.sin(direction) + dy * np.cos(direction)
    r2 = u**2 + v**2 + (0.5 * scene.spacing_px) ** 2
    burgers, nu = 1.2 * scene.spacing_px, 1 / 3
    along = burgers / (2 * np.pi) * (np.arctan2(v, u) + u * v / (2 * (1 - nu) * r2))
    across = (
        -burgers
        / (2 * np.pi)
        * (
            (1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2 / scene.spacing_px**2)
            + (u**2 - v**2) / (4 * (1 - nu) * r2)
        )
    )
    scene.x = scene.x + along * np.cos(direction) + across * np.sin(direction)
    scene.y = scene.y - along * np.sin(direction) + across * np.cos(direction)
    keep = thin_out(np.c_[scene.y, scene.x], 0.72 * scene.spacing_px)
    return remove(scene, ~keep)


def cut_holes(scene: Scene, rng: np.random.Generator, fraction: float) -> Scene:
    """Remove the columns where a smooth field is low: free edges and holes, in place."""
    field_ = faults.smooth_field(scene.shape, rng.uniform(4, 12) * scene.spacing_px, rng)
    gone = field_ < np.quantile(field_, fraction)
    rows = np.clip(np.rint(scene.y).astype(int), 0, scene.shape[0] - 1)
    cols = np.clip(np.rint(scene.x).astype(int), 0, scene.shape[1] - 1)
    return remove(scene, gone[rows, cols])


def contaminate(scene: Scene, rng: np.random.Generator, cover: float, strength: float) -> Scene:
    """Add an amorphous layer; where it is thick the columns beneath are hidden, in place.

    Parameters
    ----------
    cover : float
        Fraction of the field of view with some contamination.
    strength : float
        Thickest contamination over the typical column amplitude.
    """
    typical = np.median(scene.amplitude) if len(scene.amplitude) else 1.0
    blob = faults.smooth_field(scene.shape, rng.uniform(4, 14) * scene.spacing_px, rng, octaves=2)
    level = np.quantile(blob, 1 - cover)
    thick = np.clip((blob - level) / max(blob.max() - level, 1e-9), 0, 1) ** rng.uniform(0.4, 0.9)
    grain = faults.smooth_field(scene.shape, rng.uniform(0.6, 1.6) * scene.spacing_px, rng)
    layer = strength * typical * thick * np.clip(1 + 0.35 * grain, 0, None)
    scene.background = scene.background + layer
    scene.contamination |= thick * strength > rng.uniform(1.2, 1.8)
    return scene


def add_dose(
    scene: Scene,
    counts: float,
    rng: np.random.Generator,
    weakest: float | None = None,
    gain: float = 1.0,
    offset: float = 0.0,
) -> np.ndarray:
    """Return Poisson noise for `counts` integrated over the weakest column that must be found.

    Parameters
    ----------
    weakest : float, optional
        Amplitude of that column; by default the weakest of the scene.
    gain, offset : float
        Detector response; the returned image is ``gain * counts + offset``.
    """
    amplitude = (
        (scene.amplitude.min() if len(scene.amplitude) else 1.0) if weakest is None else weakest
    )
    width = float(np.mean(scene.sigma)) if len(scene.sigma) else 0.3 * scene.spacing_px
    scale = counts / (2 * np.pi * width**2 * amplitude)
    return gain * faults.shot_noise(scene.clean() * scale, rng) + offset


#: What the arguments of :func:`simulate` lie between.
_BOUNDS: dict[str, tuple[float, float]] = {
    "spacing_px": (2, 2000), "rotation_deg": (-1e6, 1e6), "background": (0, 1e6),
    "jitter": (0, 1), "vacancies": (0, 1), "dopants": (0, 1), "dopant_factor": (0, 1e6),
    "seed": (0, 2**62),
}  # fmt: skip
#: Longest side of a simulated image.
_LONGEST_PX = 20_000


def _checked_size(shape: object) -> tuple[int, int]:
    """Return (height, width) of an image, if they can be."""
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)) or len(shape) != 2:
        raise ParameterError("shape must be two whole numbers, height and width.")
    height, width = (number_between("shape", s, 8, _LONGEST_PX, whole=True) for s in shape)
    return int(height), int(width)


def _crystal(lattice: object, arguments: Mapping[str, float]) -> crystals.Crystal:
    """Make a crystal of a name."""
    if not isinstance(lattice, str) or lattice not in crystals.CRYSTALS:
        known = ", ".join(crystals.CRYSTALS)
        raise ParameterError(f"There is no lattice {str(lattice)[:60]!r}; there are {known}.")
    try:
        return crystals.CRYSTALS[lattice](**arguments)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"The crystal cannot be made: {error}.") from error


def simulate(
    lattice: str = "honeycomb",
    shape: tuple[int, int] = (512, 512),
    spacing_px: float = 12.0,
    *,
    rotation_deg: float = 0.0,
    counts: float = 1000.0,
    background: float = 0.2,
    sigma: float | None = None,
    jitter: float = 0.0,
    vacancies: float = 0.0,
    dopants: float = 0.0,
    dopant_factor: float = 4.0,
    boundary: bool = False,
    seed: int = 0,
    **crystal: float,
) -> tuple[np.ndarray, Scene]:
    """Simulate one image of a named lattice with exact truth.

    Parameters
    ----------
    lattice : str
        A name of :data:`napari_atomlens.simulation.crystals.CRYSTALS`.
    spacing_px : float
        Distance between nearest columns in pixels.
    counts : float
        Counts integrated over the weakest column; infinity gives a noise-free image.
    background : float
        Background over the peak of the weakest column.
    sigma, jitter : float
        Column width and rms displacement, over the spacing.
    vacancies, dopants : float
        Fraction of columns removed, and replaced by ones `dopant_factor` as bright.
    seed : int
        Seed; equal seeds give equal images.
    **crystal
        Arguments of the crystal, such as ``chalcogen=0.3``.

    Returns
    -------
    image : ndarray of float64, shape (H, W)
        Counts per pixel.
    scene : Scene
        The truth.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (96, 96), 10.0, vacancies=0.02, seed=1)
    >>> image.shape, truth.spacing_px
    ((96, 96), 10.0)
    """
    size = _checked_size(shape)
    given = {"spacing_px": spacing_px, "rotation_deg": rotation_deg, "background": background,
             "jitter": jitter, "vacancies": vacancies, "dopants": dopants,
             "dopant_factor": dopant_factor, "seed": seed}  # fmt: skip
    for name, value in given.items():
        number_between(name, value, *_BOUNDS[name], whole=name == "seed")
    if sigma is not None:
        number_between("sigma", sigma, 1e-3, 10)
    if counts != np.inf:
        number_between("counts", counts, 0, 1e12)
    rng = np.random.default_rng(int(seed))
    cell = _crystal(lattice, crystal)
    width = 0.5 * sum(cell.sigma) if sigma is None else sigma
    scene, _ = scene_from_crystal(
        cell, size, spacing_px, rng, rotation_rad=np.deg2rad(rotation_deg), sigma=width,
        aspect=min(cell.aspect), jitter=jitter, boundary=boundary,
    )  # fmt: skip
    weakest = scene.amplitude.min()
    if vacancies:
        remove(scene, rng.random(len(scene.y)) < vacancies)
    if dopants:
        substitute(scene, rng, dopants, dopant_factor, "dopant", 0.0)
    scene.background = scene.background + background * weakest
    if not np.isfinite(counts):
        return scene.clean(), scene
    return add_dose(scene, counts, rng, weakest), scene
