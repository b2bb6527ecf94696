"""What adapting a model of single atoms needs: their scale, their scenes, honest probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from napari_atomlens import points
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.segmentation.isolated import SPACING_OF_WIDTH, atom_width
from napari_atomlens.segmentation.lattice_or_not import LATTICE, common_displacement
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.zoo import ModelInfo, find_model
from napari_atomlens.simulation import atom_scenes
from napari_atomlens.simulation.scenes import seed_for
from napari_atomlens.simulation.scoring import Score, score
from napari_atomlens.training.labelled import OUTLINE, Labelled

#: Films of which forgetting is measured, and their side in pixels.
FILMS, SIDE = 8, 160


def model_for(start: str, frames: Sequence[Labelled]) -> ModelInfo:
    """Model to start from: of corrected atoms that form no lattice it is that of single atoms."""
    if start != "auto":
        return find_model(start)
    for f in frames:
        spacing = points.spacing(f.positions)
        if np.isfinite(spacing) and common_displacement(f.positions, spacing) >= LATTICE:
            return find_model("universal")
    # few atoms tell nothing: a lattice of a dozen columns is one all the same
    many = all(len(f.positions) >= 20 for f in frames)
    return find_model("single-atoms" if many else "universal")


def at_their_width(frame: Labelled) -> Labelled:
    """A corrected frame with the scale of a model of single atoms: the width of an atom."""
    spacing = atom_width(frame.image).spacing_px
    radius = np.full(len(frame.positions), OUTLINE * spacing / SPACING_OF_WIDTH)
    return replace(frame, spacing_px=spacing, radius=radius, bright=np.zeros(len(radius)))


def on_known_films(model: ModelInfo) -> float:
    """F1 of a model of single atoms on simulated films, one in four of them bare."""
    total = Score(0, 0, 0)
    for i in range(FILMS):
        rng = np.random.default_rng(seed_for("test", 700_000 + i))
        film = atom_scenes.film_scene((SIDE, SIDE), rng, width=3.0, counts=400.0, atoms=i % 4 > 0)
        image = atom_scenes.expose_film(film, rng).astype(np.float32)
        seen = predict_classes(image, model, film.scene.spacing_px)
        atoms = find_atoms(seen, calibration=model.calibration.get("atoms"), refine="off")
        clear = (film.snr() > 5) & film.scene.visible()
        true = np.c_[film.scene.y, film.scene.x][clear]
        found = atoms[["y_px", "x_px"]].to_numpy()
        spacing = film.scene.spacing_px
        total = total + score(found, true, spacing / 2.5, film.scene.shape, 0.5 * spacing)
    return total.f1


def honest(chances: np.ndarray) -> tuple[float, float]:
    """Temperature and shift of the logit that make stated probabilities honest.

    Parameters
    ----------
    chances : ndarray, shape (n, 2)
        Stated probability, and whether it came true.

    Returns
    -------
    temperature, shift : float
        1 and 0 where there is little to go by: what counts as an atom is the user's word.
    """
    if len(chances) < 30:
        return 1.0, 0.0
    p = np.clip(chances[:, 0], 1e-6, 1 - 1e-6)
    logit, truth = np.log(p / (1 - p)), chances[:, 1]

    def loss(v: np.ndarray) -> float:
        z = logit / np.exp(v[0]) + v[1]
        return float(np.sum(np.logaddexp(0, z) - truth * z) + 10 * v[0] ** 2 + v[1] ** 2)

    best = minimize(loss, np.zeros(2), bounds=[(-1.0, 1.5), (-4, 4)], method="L-BFGS-B").x
    return float(np.exp(best[0])), float(best[1])


def scaled(constants: dict[str, float], temperature: float, shift: float) -> dict[str, float]:
    """Constants of the probability with a temperature and a shift of the logit."""
    out = {k: v / temperature for k, v in constants.items()}
    if "offset" in out:
        out["offset"] += shift
    return out
