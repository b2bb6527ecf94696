"""What a model is worth on held-out scenes of its own material, beside the universal one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import AtomLensError
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.segmentation.choose import as_wanted, column_brightness, lattice_of
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.zoo import ModelInfo
from napari_atomlens.simulation.crystals import fill, from_projection
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.material_scenes import Recipe
from napari_atomlens.simulation.scenes import seed_for
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.materials import Material


@dataclass(frozen=True)
class Figures:
    """Counts on held-out scenes.

    Attributes
    ----------
    images : int
    hits, found, true : int
        Columns found within a quarter of the spacing, found at all, and there.
    confusion : dict of (str, str) to int
        True and found species of the columns that were hit; a missed one is found as "".
    """

    images: int
    hits: int
    found: int
    true: int
    confusion: dict[tuple[str, str], int]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of all columns."""
        return 2 * self.hits / max(self.found + self.true, 1)

    def species_f1(self) -> dict[str, float]:
        """F1 of each true species: found, in place, and called by its name."""
        out = {}
        for name in dict.fromkeys(a for a, _ in self.confusion if a):
            there = sum(n for (a, _), n in self.confusion.items() if a == name)
            said = sum(n for (_, b), n in self.confusion.items() if b == name)
            out[name] = 2 * self.confusion.get((name, name), 0) / max(there + said, 1)
        return out


def held_out(
    info: ModelInfo,
    goal: Material,
    n_images: int = 60,
    *,
    first: int = 9_500_000,
    purpose: str = "benchmark",
    size_px: int = 256,
    progress: ProgressLike = None,
) -> Figures:
    """Measure a model on scenes of a material that no training has seen.

    The spacing is given, as it is found by the same means for every model. Columns beneath
    contamination and within 4 px of the border do not count.
    """
    total, watch = np.zeros(3, int), as_progress(progress)
    confusion: dict[tuple[str, str], int] = {}

    def count(a: Iterable[object], b: Iterable[object]) -> None:
        for pair in zip(map(str, a), map(str, b), strict=True):
            confusion[pair] = confusion.get(pair, 0) + 1

    for i in range(n_images):
        image, scene = goal.draw((size_px, size_px), seed_for(purpose, first + i))
        seen = scene.visible(4)
        true, kind = np.c_[scene.y, scene.x][seen], scene.species[seen]
        place, called = np.zeros((0, 2)), np.zeros(0, object)
        try:
            p = predict_classes(image, info, scene.spacing_px)
            atoms = find_atoms(p, calibration=info.calibration.get("atoms"))
            place = atoms[["y_px", "x_px"]].to_numpy()
            called = atoms["species"].to_numpy(object)
        except AtomLensError:  # an image that cannot be used: everything is missed
            pass
        rows, cols = np.clip(np.rint(place).astype(int).T, 0, size_px - 1)
        counted = np.all((place >= 4) & (place <= size_px - 5), axis=1)
        counted &= ~scene.contamination[rows, cols]
        place, called = place[counted], called[counted]
        a, b = match(place, true, 0.25 * scene.spacing_px)
        total += len(a), len(place), len(true)
        count(kind[b], called[a])
        missed = np.setdiff1d(np.arange(len(true)), b)
        extra = np.setdiff1d(np.arange(len(place)), a)
        count(kind[missed], [""] * len(missed))
        count([""] * len(extra), called[extra])
        watch(i + 1, n_images)
    hits, found, there = total.tolist()
    return Figures(n_images, hits, found, there, confusion)


def lattice_facts(recipe: Recipe) -> dict[str, object]:
    """What the perfect lattices of a recipe look like, for the choice of a model."""
    seen = []
    for k, structure in enumerate(recipe.structures):
        nm = recipe.spacing_nm(k)
        named = np.array([bool(n) for n in recipe.classes[k]])
        for exponent in recipe.exponent:
            crystal = from_projection(structure, exponent, nm, (0.28, 0.28))
            places, basis = fill(crystal, (200, 200), 10.0)
            image = render_columns(
                (200, 200), places[:, 0], places[:, 1], crystal.weights[basis], 2.8
            )
            inside = named[basis] & (places > 2).all(1) & (places < 197).all(1)
            bright = column_brightness(image, places[inside], 10.0)
            lattice = lattice_of(places[inside], bright, 10.0, nm)
            if lattice is not None:
                seen.append(lattice)
    return as_wanted(seen) if seen else {}


def figures_facts(own: Figures, universal: Figures) -> dict[str, object]:
    """Return the figures as a model file holds them."""
    return {
        "images": own.images, "f1": round(own.f1, 4), "universal_f1": round(universal.f1, 4),
        "species_f1": {k: round(v, 4) for k, v in own.species_f1().items()},
    }  # fmt: skip
