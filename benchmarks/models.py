"""Lattice-specific models against the universal one, on the same held-out scenes.

    python benchmarks/models.py [--images 60] [--only graphene silicon-110] [--model NAME=PATH]

Scenes of the material (relaxed sheets with defects, or dumbbells; holes, contamination, all doses
and faults of training) with seeds that no training has seen. An atom is right within a quarter of
the spacing; a foreign atom (much brighter than its neighbours) must also be called foreign: Si or
heavy by the graphene model, bright by the others.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.scenes import Scene, much_brighter
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.materials import material

#: First benchmark seed of each material.
SEEDS = {"graphene": 9_500_000, "silicon-110": 9_700_000}
#: Width of a column over the length of a dumbbell, from well resolved to no dip at all.
WIDTHS = ((0.0, 0.38), (0.38, 0.45), (0.45, 0.53))


def f1(hit: int, found: int, there: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * hit / max(found + there, 1)


def foreign(scene: Scene, name: str) -> np.ndarray:
    """Which columns are foreign ones."""
    if name == "graphene":
        return scene.species != "C"
    return much_brighter(scene.y, scene.x, scene.amplitude) > 0.5


def score(model: str, name: str, n_images: int) -> dict[str, np.ndarray]:
    """Right, found and true ones: all atoms, foreign ones, by width; and kinds told apart."""
    info, goal = find_model(model), material(name)
    out = {k: np.zeros(3, int) for k in ("all", "foreign", *map(str, WIDTHS))}
    out["apart"] = np.zeros(2, int)
    for i in range(n_images):
        image, scene = goal.draw((256, 256), seed_for("benchmark", SEEDS[name] + i))
        seen = scene.visible(4)
        true = np.c_[scene.y, scene.x][seen]
        strange = foreign(scene, name)[seen]
        width = float(np.mean(scene.sigma)) / scene.spacing_px if len(scene.sigma) else 0.0
        band = str(next(w for w in WIDTHS if w[0] <= width < w[1]))
        try:
            p = segment(image, info, scene.spacing_px)
            atoms = find_atoms(p, calibration=info.calibration.get("atoms"))
        except AtomLensError:
            for key, n in (("all", len(true)), (band, len(true)), ("foreign", strange.sum())):
                out[key][2] += n
            continue
        place = atoms[["y_px", "x_px"]].to_numpy()
        rows, cols = np.rint(place).astype(int).T
        counted = np.all((place >= 4) & (place <= 251), axis=1)
        counted &= ~scene.contamination[np.clip(rows, 0, 255), np.clip(cols, 0, 255)]
        place, kind = place[counted], atoms["species"].to_numpy()[counted]
        a, b = match(place, true, 0.25 * scene.spacing_px)
        for key in ("all", band):
            out[key] += len(a), len(place), len(true)
        called = np.isin(kind, ("Si", "heavy", "bright column"))
        out["foreign"] += (called[a] & strange[b]).sum(), called.sum(), strange.sum()
        both = called[a] & strange[b]
        right = kind[a][both] == scene.species[seen][b][both]
        out["apart"] += right.sum(), both.sum()
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=list(SEEDS), default=list(SEEDS))
    parser.add_argument("--model", nargs="*", default=[], help="NAME=PATH of a model in its place")
    args = parser.parse_args()
    instead = dict(m.split("=", 1) for m in args.model)
    for name in args.only:
        extra = (
            ["Si and heavier told apart"] if name == "graphene"
            else [f"F1, width {a:g} to {b:g}" for a, b in WIDTHS]
        )  # fmt: skip
        head = ["model", "images", "F1, all atoms", "F1, foreign atoms", *extra]
        print(f"## {name}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
        for model in ("universal", instead.get(name, name)):
            out = score(model, name, args.images)
            if name == "graphene":
                told = out["apart"][0] / max(out["apart"][1], 1)
                cells = [f"{told:.3f}" if model != "universal" else "-"]
            else:
                cells = [f"{f1(*out[str(w)]):.4f}" for w in WIDTHS]
            print(f"| {find_model(model).name} | {args.images} | {f1(*out['all']):.4f} | "
                  f"{f1(*out['foreign']):.4f} | {' | '.join(cells)} |", flush=True)  # fmt: skip
        print()


if __name__ == "__main__":
    main()
