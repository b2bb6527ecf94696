"""Scenes of a given crystal: its columns along a zone axis, with the defects that it may have."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs.projection import ProjectedColumns, brightness
from napari_atomlens.simulation import faults
from napari_atomlens.simulation.bank import with_profile
from napari_atomlens.simulation.crystals import from_projection
from napari_atomlens.simulation.scenes import (
    Scene,
    contaminate,
    cut_holes,
    dislocate,
    remove,
    scene_from_crystal,
)
from napari_atomlens.simulation.species_targets import species_maps
from napari_atomlens.simulation.training_scenes import add_background, expose, lumps, noise_only


@dataclass(frozen=True)
class Defect:
    """What may happen to a column of a crystal.

    Attributes
    ----------
    of : str
        Element, or class of columns, that it strikes.
    becomes : str
        Class of the column afterwards; "" leaves nothing to be seen.
    by : tuple of str
        Elements that may take the place of atoms of `of`; empty: a vacancy.
    take : int
        Atoms of `of` that are missing or replaced; 0 is all of them in the column.
    keep : tuple of float
        Range of the brightness that is left, over the usual, instead of what `take` says: thick
        crystals, in which some of many atoms are missing. (0, 0): not used.
    ratio : tuple of float
        Elements of `by` count only if they change the brightness by a factor in this range.
    fraction : tuple of float
        Range of the share of the columns that are struck.
    """

    of: str
    becomes: str = ""
    by: tuple[str, ...] = ()
    take: int = 0
    keep: tuple[float, float] = (0.0, 0.0)
    ratio: tuple[float, float] = (0.0, 1e9)
    fraction: tuple[float, float] = (0.003, 0.06)


@dataclass(frozen=True)
class Recipe:
    """What a material looks like: all that its scenes are drawn from.

    Attributes
    ----------
    name, material : str
    structures : tuple of Columns
        Crystals of the same kind, one of which is drawn for every scene.
    classes : tuple of tuple of str
        Class of each column of each structure; "" for columns too faint to be looked for.
    defects : tuple of Defect
    exponent : tuple of float
        Range of the power of Z.
    technique : str
    boundaries : float
        Share of the scenes with a grain boundary.
    thick : bool
        A crystal of many layers: its brightness varies with its thickness, and its edges and
        holes are rare.
    """

    name: str
    material: str
    structures: tuple[ProjectedColumns, ...]
    classes: tuple[tuple[str, ...], ...]
    defects: tuple[Defect, ...] = ()
    exponent: tuple[float, float] = (1.5, 2.0)
    technique: str = "STEM"
    boundaries: float = 0.15
    thick: bool = False

    def __post_init__(self) -> None:
        if not self.structures or len(self.structures) != len(self.classes):
            raise ParameterError(f"The recipe {self.name!r} has no structure.")
        for s, names in zip(self.structures, self.classes, strict=True):
            if len(names) != len(s.atoms) or not any(names):
                raise ParameterError(f"The recipe {self.name!r} has no class for {s.name}.")
        low, high = self.exponent
        if not 0.5 <= low <= high <= 2.5:
            raise ParameterError("The exponent of Z must lie between 0.5 and 2.5.")
        for d in self.defects:
            if not any(
                strikes(d, s, c) for s, c in zip(self.structures, self.classes, strict=True)
            ):
                raise ParameterError(
                    f"No column of {self.name!r} holds {d.of!r}: the defect cannot be made."
                )

    @property
    def species(self) -> tuple[str, ...]:
        """Classes of columns, those of the perfect crystal first."""
        perfect = [n for names in self.classes for n in names if n]
        return tuple(dict.fromkeys([*perfect, *(d.becomes for d in self.defects if d.becomes)]))

    def spacing_nm(self, k: int = 0) -> float:
        """Distance between nearest columns (of a class) of structure `k`."""
        return self.structures[k].spacing_nm(np.array([bool(n) for n in self.classes[k]]))

    def as_dict(self) -> dict[str, object]:
        """Return plain data, as model files hold them."""
        return {
            **{k: getattr(self, k) for k in ("name", "material", "technique", "boundaries")},
            "thick": self.thick,
            "exponent": list(self.exponent),
            "structures": [s.as_dict() for s in self.structures],
            "classes": [list(c) for c in self.classes],
            "defects": [
                {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(d).items()}
                for d in self.defects
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Build from what :meth:`as_dict` gave.

        Raises
        ------
        ParameterError
            If something is missing or of the wrong kind.
        """
        try:
            plain: list[dict[str, Any]] = [
                {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
                for d in data.get("defects", [])
            ]
            defects = tuple(Defect(**d) for d in plain)
            return cls(
                str(data["name"]), str(data["material"]),
                tuple(ProjectedColumns.from_dict(s) for s in data["structures"]),
                tuple(tuple(str(n) for n in c) for c in data["classes"]), defects,
                tuple(data["exponent"]), str(data["technique"]), float(data["boundaries"]),
                bool(data["thick"]),
            )  # fmt: skip
        except ParameterError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ParameterError(
                f"This recipe cannot be used: {type(error).__name__}: {error}."
            ) from error


def strikes(defect: Defect, structure: ProjectedColumns, classes: tuple[str, ...]) -> list[int]:
    """Columns of a cell that a defect can strike."""
    return [
        k
        for k, (atoms, name) in enumerate(zip(structure.atoms, classes, strict=True))
        if name and defect.of in (name, *atoms)
    ]


def outcomes(defect: Defect, atoms: tuple[str, ...], name: str, exponent: float) -> list[float]:
    """Brightness, over the usual, that a defect may give to a column of these atoms."""
    usual = brightness(atoms, exponent)
    mine = list(atoms) if defect.of == name else [a for a in atoms if a == defect.of]
    others = usual - brightness(mine, exponent)
    if not defect.by:
        left = sorted(mine)[defect.take or len(mine) :]
        return [(others + brightness(left, exponent)) / usual]
    n = defect.take or len(mine)
    kept = others + brightness(sorted(mine)[n:], exponent)
    new = [(kept + n * brightness([b], exponent)) / usual for b in defect.by if b not in mine]
    return [r for r in new if defect.ratio[0] <= r <= defect.ratio[1]]


def _strike(
    scene: Scene, basis: np.ndarray, recipe: Recipe, k: int, exponent: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Put the defects of a recipe into a scene, in place; what is gone has amplitude 0."""
    structure, classes = recipe.structures[k], recipe.classes[k]
    whole = np.ones(len(scene.y), bool)
    for defect in recipe.defects:
        if rng.random() < 0.4:
            continue
        share = float(np.exp(rng.uniform(*np.log(defect.fraction))))
        for site in strikes(defect, structure, classes):
            possible = outcomes(defect, structure.atoms[site], classes[site], exponent)
            mine = np.flatnonzero((basis == site) & whole & (rng.random(len(basis)) < share))
            if not possible or not len(mine):
                continue
            factor = rng.choice(possible, len(mine))
            if defect.keep[1]:
                factor = rng.uniform(*defect.keep, len(mine))
            scene.amplitude[mine] *= factor
            scene.species[mine] = defect.becomes
            if not defect.becomes:
                scene.amplitude[mine] = 0.0
            whole[mine] = False


#: Images of the multislice bank whose columns are like those of monolayers and of crystals.
THIN, THICK = ("C-", "WS2-", "MoS2-"), ("SrTiO3-", "Si110-")


def material_scene(shape: tuple[int, int], recipe: Recipe, rng: np.random.Generator) -> Scene:
    """Draw one scene at the network's sampling, before dose and faults.

    Columns without a class are in the image, but of species "".
    """
    low, high = (7.5, 13.0) if rng.random() < 0.85 else (6.0, 17.0)
    spacing = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    k = int(rng.integers(len(recipe.structures)))
    exponent = float(rng.uniform(*recipe.exponent))
    crystal = from_projection(recipe.structures[k], exponent, recipe.spacing_nm(k), (0.18, 0.38))
    scene, basis = scene_from_crystal(
        crystal, shape, spacing, rng, jitter=rng.choice([0.0, 0.015, 0.03, 0.05]),
        shear=np.eye(2) + rng.normal(0, 0.025, (2, 2)), boundary=rng.random() < recipe.boundaries,
        aspect=float(rng.uniform(1.0, 1.25)),
    )  # fmt: skip
    scene.lattice = recipe.name
    names = np.array(recipe.classes[k], dtype=object)
    scene.species = names[basis]
    if rng.random() < 0.85:
        _strike(scene, basis, recipe, k, exponent, rng)
    remove(scene, scene.amplitude <= 0)
    if len(scene.y):
        # chemistry that nobody names (S and Se on one site) and thickness
        scene.amplitude = scene.amplitude * np.clip(
            rng.normal(1, rng.choice([0.02, 0.05, 0.1]), len(scene.y)), 0.6, 1.5
        )
    if recipe.thick and len(scene.y):
        wedge = 1 + rng.choice([0, 0.1, 0.25]) * faults.smooth_field(
            shape, rng.uniform(40, 160), rng
        )
        rows = np.clip(np.rint(scene.y).astype(int), 0, shape[0] - 1)
        cols = np.clip(np.rint(scene.x).astype(int), 0, shape[1] - 1)
        scene.amplitude = scene.amplitude * np.clip(wedge, 0.4, 2.5)[rows, cols]
    if rng.random() < 0.06:
        dislocate(scene, rng)
    if rng.random() < (0.08 if recipe.thick else 0.3) and len(scene.y):
        cut_holes(scene, rng, rng.uniform(0.05, 0.6))
    return scene


def training_pair(
    shape: tuple[int, int], seed: int, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training image and its target.

    Returns
    -------
    image : ndarray of float32, shape (H, W)
    target : ndarray of float16, shape (n_species + 2, H, W)
        Coverage by each species and by contamination; peaks at the centres.
    """
    rng = np.random.default_rng(seed)
    n = len(recipe.species)
    target = np.zeros((n + 2, *shape), np.float16)
    if rng.random() < 0.06:
        image, textured = noise_only(shape, rng)
        target[n] = textured
        return image.astype(np.float32), target
    scene = add_background(material_scene(shape, recipe, rng), rng)
    with_profile(scene, seed, THICK if recipe.thick else THIN)
    if rng.random() < 0.25:  # beside and on top of what every scene has
        contaminate(scene, rng, rng.uniform(0.1, 0.6), 10 ** rng.uniform(-0.2, 1.0))
        lumps(scene, rng)
    image = expose(scene, rng)
    named = remove(scene, scene.species == "")
    maps, peaks = species_maps(named, recipe.species)
    target[:n] = np.where(named.contamination, 0, maps)
    target[n], target[n + 1] = named.contamination, peaks
    return image.astype(np.float32), target


def draw(shape: tuple[int, int], seed: int, recipe: Recipe) -> tuple[np.ndarray, Scene]:
    """Draw an image with truth for measuring (seeds of :func:`seed_for`), without faint columns."""
    rng = np.random.default_rng(seed)
    scene = add_background(material_scene(shape, recipe, rng), rng)
    with_profile(scene, seed, THICK if recipe.thick else THIN)
    image = expose(scene, rng).astype(np.float32)
    return image, remove(scene, scene.species == "")
