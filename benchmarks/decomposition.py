"""A WS2 film that falls apart, learned from its first frame without any label.

    python benchmarks/decomposition.py --minutes 4 --threads 1

Prints Markdown. The movie is simulated (no public one could be found): the first frame is one
crystal with few vacancies; later sulphur goes, holes open, fragments turn. The
Fourier-subtraction recipe labels frame 0; the bundled network goes on learning from these
labels alone. Its atoms and those of the recipe are compared with the truth, frame by frame.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from report import Report
from scipy import ndimage as ndi

from napari_atomlens.atoms import find_atoms
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import crystals, faults, seed_for
from napari_atomlens.simulation.scenes import add_dose, remove, scene_from_crystal, thin_out
from napari_atomlens.simulation.scoring import Score, score
from napari_atomlens.training.adaptation import adapt
from napari_atomlens.training.fourier import fourier_labels, fourier_recipe
from napari_atomlens.training.params import AdaptParams, FourierParams

#: The recipe fades out towards the border; nothing is compared there.
MARGIN = 20
SPACING, SIDE = 9.5, 256


def decomposition(n_frames: int = 8, counts: float = 250.0):
    """Frames and truth of a film that falls apart; frame 0 is intact."""
    rng = np.random.default_rng(seed_for("benchmark", 8_000_000))
    shape = (SIDE, SIDE)
    start, index = scene_from_crystal(
        crystals.tmd(0.4), (SIDE + 120, SIDE + 120), SPACING, rng, rotation_rad=0.3, sigma=0.26
    )
    positions = np.c_[start.y, start.x] - 60
    field = faults.smooth_field(shape, 45, rng)
    grains = ndi.label(faults.smooth_field(shape, 40, rng) > 0.35)[0]
    which = np.clip(np.rint(positions).astype(int), 0, SIDE - 1)
    frames, truth = [], []
    for t in range(n_frames):
        part = t / max(n_frames - 1, 1)
        places = positions.copy()
        # fragments turn about their middles
        for g in range(1, grains.max() + 1):
            mine = grains[which[:, 0], which[:, 1]] == g
            if mine.sum() < 12:
                continue
            angle = part * (0.35 + 0.25 * (g % 3)) * (-1) ** g
            c, s = np.cos(angle), np.sin(angle)
            middle = places[mine].mean(0)
            places[mine] = (places[mine] - middle) @ np.array([[c, -s], [s, c]]) + middle
        scene = replace(
            start, shape=shape, y=places[:, 0].copy(), x=places[:, 1].copy(),
            amplitude=start.amplitude.copy(), background=np.full(shape, 0.06),
            contamination=np.zeros(shape, bool),
        )  # fmt: skip
        gone = (index == 1) & (rng.random(len(index)) < 0.01 + 0.12 * part)
        hole = field[which[:, 0], which[:, 1]] < np.quantile(field, 0.55 * part)
        apart = thin_out(places, 0.72 * SPACING)
        remove(scene, gone | hole | ~apart)
        frames.append(add_dose(scene, counts, rng, 0.4).astype(np.float32))
        truth.append(np.c_[scene.y, scene.x])
    return np.stack(frames), truth


def compare(found: np.ndarray, true: np.ndarray) -> Score:
    """Atoms of a frame against the truth."""
    return score(found, true, SPACING / 3, (SIDE, SIDE), MARGIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--frames", type=int, default=8)
    with Report("decomposition", parser) as report:
        args = report.args
        frames, truth = decomposition(args.frames)
        start = time.monotonic()
        labels = fourier_labels(frames[0])
        p = AdaptParams(
            name="ws2-frame-0", minutes=args.minutes, steps=args.steps, threads=args.threads
        )
        result = adapt([labels], p)
        seconds = time.monotonic() - start
        models = {
            "bundled model": find_model("auto"),
            "trained on frame 0": find_model(str(result.path)),
        }
        print("| frame | atoms | Fourier recipe | " + " | ".join(models) + " |")
        print("|---|---|---|" + "---|" * len(models))
        for t, (image, true) in enumerate(zip(frames, truth, strict=True)):
            recipe = fourier_recipe(image, FourierParams()).atoms[["y_px", "x_px"]].to_numpy()
            cells = [f"{compare(recipe, true).f1:.3f}"]
            for model in models.values():
                probabilities = segment(image, model, labels.spacing_px)
                atoms = find_atoms(probabilities, calibration=model.calibration.get("atoms"))
                cells.append(f"{compare(atoms[['y_px', 'x_px']].to_numpy(), true).f1:.3f}")
            print(f"| {t} | {len(true)} | " + " | ".join(cells) + " |", flush=True)
        report.figure("training", seconds, "s")
        print(f"\n{len(result.losses)} steps in {seconds:.0f} s. {result.sentence}")


if __name__ == "__main__":
    main()
