"""What is measured once after training and travels with the model: honest probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from napari_atomlens.atoms.peaks import calibrated, chance_alone, find_peaks
from napari_atomlens.segmentation.forward import run_network
from napari_atomlens.segmentation.isolated import outstanding_at
from napari_atomlens.segmentation.loading import load_network, update_facts
from napari_atomlens.segmentation.normalise import two_views
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.probabilities import Probabilities
from napari_atomlens.segmentation.unfamiliar import unfamiliar_map
from napari_atomlens.segmentation.zoo import columns_among, find_model
from napari_atomlens.simulation import atom_scenes
from napari_atomlens.simulation.scenes import seed_for
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.materials import material_of

#: Logarithm by which a width that was found may differ from the true one.
WRONG_SCALE = 0.5


@torch.inference_mode()
def peaks_with_truth(
    model: str | Path, n_images: int, purpose: str, first: int = 0, size_px: int = 192
) -> np.ndarray:
    """Peaks of the network on simulated scenes, and whether a column is really there.

    Returns
    -------
    ndarray, shape (n, 5)
        Evidence (height, support, company, familiarity) and truth: 1 within a quarter of
        the spacing of a column.
    """
    info = find_model(str(model))
    goal = material_of(info)
    net = load_network(info)
    rows = []
    for i in range(first, first + n_images):
        image, scene = goal.draw((size_px, size_px), seed_for(purpose, i))
        frame = image.astype(np.float32)
        logits = run_network(net, two_views(torch.from_numpy(frame)[None]))[0]
        soft, centre = torch.softmax(logits[:-1], 0), torch.sigmoid(logits[-1])
        strange = unfamiliar_map(soft, centre, columns_among(info.roles)).numpy()
        p = Probabilities(
            soft.numpy(), info.classes, centre.numpy(), soft.numpy(), strange, strange, (1.0, 1.0),
            scene.spacing_px, frame, roles=info.roles,
        )  # fmt: skip
        positions, evidence, _ = find_peaks(p)
        inside = np.all((positions >= 4) & (positions <= size_px - 5), axis=1)
        true = np.c_[scene.y, scene.x][scene.visible(-3)]
        hit = np.zeros(len(positions))
        hit[match(positions, true, 0.25 * scene.spacing_px)[0]] = 1
        rows.append(np.c_[evidence, hit][inside])
    return np.concatenate(rows)


def fit_probability(samples: np.ndarray) -> dict[str, float]:
    """Fit the logistic regression that turns evidence into a probability."""
    evidence, truth = samples[:, :4], samples[:, 4]

    def loss(v: np.ndarray) -> float:
        p = np.clip(calibrated(evidence, dict(zip("abcde", v, strict=True))), 1e-6, 1 - 1e-6)
        return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)))

    # more of any evidence never makes a column less likely
    bounds = [(0, None), (0, None), (None, None), (0, None), (0, None)]
    best = minimize(loss, [0.2, 1.0, 0.0, 0.2, 1.0], method="L-BFGS-B", bounds=bounds)
    return {k: float(v) for k, v in zip("abcde", best.x, strict=True)}


def expected_calibration_error(p: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Mean gap between stated probability and observed frequency, weighted by bin.

    References
    ----------
    C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3.
    """
    which = np.clip((p * bins).astype(int), 0, bins - 1)
    total = 0.0
    for b in range(bins):
        chosen = which == b
        if chosen.any():
            total += chosen.mean() * abs(p[chosen].mean() - truth[chosen].mean())
    return float(total)


def alone_with_truth(
    model: str | Path, n_images: int, purpose: str, first: int = 0, size_px: int = 224
) -> np.ndarray:
    """Peaks of a network of single atoms on simulated films, and whether an atom is really there.

    The width of the atoms is found in each image, as a user has it found. One image in six is a
    film without atoms, one in six amorphous carbon whose atoms were all drawn.

    Returns
    -------
    ndarray, shape (n, 5)
        Height, support, how far it stands out, whether nothing in the image does, and truth.
    """
    info = find_model(str(model))
    rows = [np.zeros((0, 5))]
    for i in range(first, first + n_images):
        rng = np.random.default_rng(seed_for(purpose, i))
        width = float(np.exp(rng.uniform(np.log(2.0), np.log(6.0))))
        if i % 6 == 3:
            film = atom_scenes.bare_carbon(
                (size_px, size_px), rng, thickness_nm=rng.uniform(2, 25), width_px=width,
                pixel_nm=rng.uniform(0.05, 0.1) / width, counts=10 ** rng.uniform(1.5, 3.2),
            )  # fmt: skip
        else:
            film = atom_scenes.film_scene((size_px, size_px), rng, width=width, atoms=i % 6 > 0)
        image = atom_scenes.expose_film(film, rng).astype(np.float32)
        p = predict_classes(image, info)
        if abs(np.log(p.spacing_px / film.scene.spacing_px)) > WRONG_SCALE:
            continue  # the probability is that of an atom at the right scale
        positions, evidence, _ = find_peaks(p)
        out, quiet = outstanding_at(p.frame, positions, p.spacing_px)
        true = np.c_[film.scene.y, film.scene.x][film.scene.visible(-3)]
        hit = np.zeros(len(positions))
        hit[match(positions, true, 0.4 * film.scene.spacing_px)[0]] = 1
        inside = np.all((positions >= width) & (positions <= size_px - 1 - width), axis=1)
        at = np.clip(np.rint(positions).astype(int), 0, size_px - 1)
        inside &= ~film.scene.contamination[at[:, 0], at[:, 1]]
        rows.append(np.c_[evidence[:, :2], out, np.full(len(out), quiet), hit][inside])
    return np.concatenate(rows)


def chance_of_samples(samples: np.ndarray, constants: dict[str, float]) -> np.ndarray:
    """Probability of each row of :func:`alone_with_truth`."""
    out = np.zeros(len(samples))
    for quiet in (False, True):
        mine = (samples[:, 3] > 0) == quiet
        out[mine] = chance_alone(samples[mine, :2], samples[mine, 2], constants, quiet=quiet)
    return out


def fit_alone(samples: np.ndarray) -> dict[str, float]:
    """Fit the logistic regression of :func:`napari_atomlens.atoms.peaks.chance_alone`."""
    names, truth = ("height", "support", "outstanding", "quiet", "offset"), samples[:, 4]

    def loss(v: np.ndarray) -> float:
        p = chance_of_samples(samples, dict(zip(names, v, strict=True)))
        p = np.clip(p, 1e-6, 1 - 1e-6)
        return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)))

    bounds = [(0, None)] * 3 + [(None, 0), (None, None)]
    best = minimize(loss, [0.7, 0.3, 0.3, -0.5, -1.0], method="L-BFGS-B", bounds=bounds)
    return {k: float(v) for k, v in zip(names, best.x, strict=True)}


def calibrate_alone(model: str | Path, n_images: int = 120) -> dict[str, object]:
    """Measure the constants of a model of single atoms and write them into its file.

    Returns
    -------
    dict
        The constants, and the expected calibration error on further images.
    """
    return _measured(model, n_images, alone_with_truth, fit_alone, chance_of_samples)


def calibrate(model: str | Path, n_images: int = 400) -> dict[str, object]:
    """Measure the constants of a model on calibration seeds and write them into its file.

    Returns
    -------
    dict
        The constants, and the expected calibration error on further images.
    """
    return _measured(
        model, n_images, peaks_with_truth, fit_probability,
        lambda samples, constants: calibrated(samples[:, :4], constants),
    )  # fmt: skip


def _measured(
    model: str | Path,
    n_images: int,
    with_truth: Callable[[Path, int, str], np.ndarray],
    fit: Callable[[np.ndarray], dict[str, float]],
    probability: Callable[[np.ndarray, dict[str, float]], np.ndarray],
) -> dict[str, object]:
    """Fit constants on some images, check them on others, write them; truth is in column 4."""
    path = find_model(str(model)).path
    constants = fit(with_truth(path, n_images, "calibration"))
    check = with_truth(path, n_images // 2, "test")
    error = expected_calibration_error(probability(check, constants), check[:, 4])
    update_facts(path, calibration={"atoms": constants})
    return {"atoms": constants, "expected_calibration_error": error}
