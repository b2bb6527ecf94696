"""The silicon-110 model against the universal one, on the same held-out scenes of dumbbells.

    python benchmarks/dumbbell_models.py [--images 60] [--model PATH]

Scenes of the material (dumbbells, foreign columns, holes, contamination, all doses and faults of
training) with seeds that no training has seen, by how well the dumbbells are resolved. An atom is
right within a quarter of the spacing.
"""

from __future__ import annotations

import argparse

import numpy as np
from report import Report

from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.scenes import much_brighter
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.materials import material

FIRST_SEED = 9_700_000
#: Width of a column over the length of a dumbbell, from well resolved to no dip at all.
WIDTHS = ((0.0, 0.38), (0.38, 0.45), (0.45, 0.53))


def f1(hit: int, found: int, there: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * hit / max(found + there, 1)


def score(model: str, n_images: int) -> dict[str, np.ndarray]:
    """Right, found and true columns: all, foreign ones, by width."""
    info, goal = find_model(model), material("silicon-110")
    out = {k: np.zeros(3, int) for k in ("all", "foreign", *map(str, WIDTHS))}
    for i in range(n_images):
        image, scene = goal.draw((256, 256), seed_for("benchmark", FIRST_SEED + i))
        seen = scene.visible(4)
        true = np.c_[scene.y, scene.x][seen]
        strange = (much_brighter(scene.y, scene.x, scene.amplitude) > 0.5)[seen]
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
        called = kind == "bright column"
        out["foreign"] += (called[a] & strange[b]).sum(), called.sum(), strange.sum()
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--model", default="silicon-110", help="name or path")
    with Report("dumbbell_models", parser) as report:
        args = report.args
        widths = [f"F1, width {a:g} to {b:g}" for a, b in WIDTHS]
        head = ["model", "images", "F1, all atoms", "F1, foreign atoms", *widths]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
        for model in ("universal", args.model):
            out = score(model, args.images)
            cells = [f"{f1(*out[k]):.4f}" for k in ("all", "foreign", *map(str, WIDTHS))]
            print(f"| {find_model(model).name} | {args.images} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
