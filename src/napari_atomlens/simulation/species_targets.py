"""What a network that knows species is to learn of a scene."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from napari_atomlens.simulation.formation import render_truth
from napari_atomlens.simulation.scenes import Scene


def species_maps(
    scene: Scene, species: tuple[str, ...], peak_sigma: float = 1.3
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage by each species, (len(species), H, W), and peaks, of columns that are not hidden."""
    rows = np.clip(np.rint(scene.y).astype(int), 0, scene.shape[0] - 1)
    cols = np.clip(np.rint(scene.x).astype(int), 0, scene.shape[1] - 1)
    seen = ~scene.contamination[rows, cols]
    y, x, kind = scene.y[seen], scene.x[seen], scene.species[seen]
    radius = 1.18 * scene.sigma[seen]
    if len(y) > 1:
        nearest = cKDTree(np.c_[y, x]).query(np.c_[y, x], k=2)[0][:, 1]
        radius = np.minimum(radius, 0.42 * nearest)
    out, peaks = [], np.zeros(scene.shape, np.float32)
    for name in species:
        _, cover, peaks = render_truth(
            scene.shape, y, x, np.maximum(radius, 1.2), scene.aspect[seen], scene.angle[seen],
            (kind == name).astype(float), peak_sigma,
        )  # fmt: skip
        out.append(cover)
    return np.stack(out), peaks
