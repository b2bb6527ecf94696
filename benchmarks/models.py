"""Lattice-specific models against the universal one, on the same held-out scenes.

    python benchmarks/models.py [--images 60] [--graphene PATH]

Scenes of the material (relaxed sheets with defects, holes, contamination, all doses and faults of
training) with seeds that no training has seen. An atom is right within a quarter of the spacing;
a foreign atom (Si or heavier) must also be called foreign: Si or heavy by the graphene model,
bright by the universal one.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.graphene_scenes import draw
from napari_atomlens.simulation.scoring import match


def f1(hit: int, found: int, there: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * hit / max(found + there, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--graphene", default="graphene")
    args = parser.parse_args()
    print("| model | images | F1, all atoms | F1, foreign atoms | Si and heavier told apart |")
    print("|---|---|---|---|---|")
    for name in ("universal", args.graphene):
        info = find_model(name)
        total, foreign, apart = np.zeros(3, int), np.zeros(3, int), np.zeros(2, int)
        for i in range(args.images):
            image, scene = draw((256, 256), seed_for("benchmark", 9_500_000 + i))
            seen = scene.visible(4)
            true = np.c_[scene.y, scene.x][seen]
            strange = scene.species[seen] != "C"
            try:
                p = segment(image, info, scene.spacing_px)
                atoms = find_atoms(p, calibration=info.calibration.get("atoms"))
            except AtomLensError:
                total[2] += len(true)
                foreign[2] += strange.sum()
                continue
            place = atoms[["y_px", "x_px"]].to_numpy()
            rows, cols = np.rint(place).astype(int).T
            counted = np.all((place >= 4) & (place <= 251), axis=1)
            counted &= ~scene.contamination[np.clip(rows, 0, 255), np.clip(cols, 0, 255)]
            place, kind = place[counted], atoms["species"].to_numpy()[counted]
            a, b = match(place, true, 0.25 * scene.spacing_px)
            total += len(a), len(place), len(true)
            called = np.isin(kind, ("Si", "heavy", "bright column"))
            foreign += (called[a] & strange[b]).sum(), called.sum(), strange.sum()
            both = called[a] & strange[b]
            apart += (kind[a][both] == scene.species[seen][b][both]).sum(), both.sum()
        told = f"{apart[0] / apart[1]:.3f}" if name != "universal" else "-"
        print(f"| {info.name} | {args.images} | {f1(*total):.4f} | {f1(*foreign):.4f} | {told} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
