"""Figures on simulated images whose seeds no training has seen.

    python benchmarks/simulated.py --model auto --images 40 --out docs/figures_simulated.md

Prints and writes one Markdown page; every number in docs/figures.md comes from here.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from report import Report, figure

from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import CalibrationError
from napari_atomlens.segmentation import ModelInfo, find_model, segment
from napari_atomlens.simulation import faults, seed_for, simulate
from napari_atomlens.simulation.scoring import Score, score
from napari_atomlens.simulation.training_scenes import noise_only

LATTICES = {
    "honeycomb": {},
    "tmd": {"chalcogen": 0.35},
    "perovskite": {"b_weight": 0.4},
    "dumbbell": {},
    "dimer_rows": {},
}


def analyse(image: np.ndarray, model: ModelInfo, spacing_px: float = 0.0):
    """Atoms of one image and the spacing that was used."""
    p = segment(image, model, spacing_px)
    return find_atoms(p, calibration=model.calibration.get("atoms")), p.spacing_px


def detection(model: ModelInfo, n: int) -> list[str]:
    """F1 and the scale found, by lattice and dose."""
    lines = [
        "| lattice | counts | F1 (pooled) | recall | precision | worst image | scale within 5 % |",
        "|---|---|---|---|---|---|---|",
    ]
    good_scale, images = 0, 0
    by_dose: dict[int, Score] = {1000: Score(0, 0, 0), 100: Score(0, 0, 0)}
    for number, (lattice, extra) in enumerate(LATTICES.items()):
        for counts in (1000, 100):
            total, worst, right = Score(0, 0, 0), 1.0, 0
            for i in range(n):
                seed = seed_for("benchmark", 100_000 * number + i)
                rng = np.random.default_rng(seed)
                spacing = float(np.exp(rng.uniform(np.log(6), np.log(60))))
                side = int(np.clip(16 * spacing, 192, 768))
                image, scene = simulate(
                    lattice, (side, side), spacing, rotation_deg=rng.uniform(0, 360),
                    counts=counts, seed=seed, **extra,
                )  # fmt: skip
                true = np.c_[scene.y, scene.x]
                try:
                    atoms, _ = analyse(image, model)
                    found = atoms[["y_px", "x_px"]].to_numpy()
                    from napari_atomlens import points

                    measured = points.spacing(found)
                except CalibrationError:
                    found, measured = np.zeros((0, 2)), np.nan
                one = score(found, true, spacing / 4, scene.shape, 0.5 * spacing)
                total, worst = total + one, min(worst, one.f1)
                right += abs(measured / spacing - 1) < 0.05
                if one.f1 < 0.9 or not abs(measured / spacing - 1) < 0.05:
                    print(
                        f"  {lattice} {counts} spacing {spacing:.1f} found {measured:.1f} "
                        f"F1 {one.f1:.3f}"
                    )
            by_dose[counts] = by_dose[counts] + total
            good_scale, images = good_scale + right, images + n
            lines.append(
                f"| {lattice} | {counts} | {total.f1:.4f} | {total.recall:.4f} | "
                f"{total.precision:.4f} | {worst:.3f} | {right}/{n} |"
            )
            print(lines[-1], flush=True)
    for counts, total in by_dose.items():
        lines.append(
            f"| all | {counts} | {total.f1:.4f} | {total.recall:.4f} | {total.precision:.4f} | | |"
        )
    figure("scale found within 5 %", 100 * good_scale / images, "%")
    lines.append(
        f"\nScale found within 5 %: {good_scale}/{images} = {100 * good_scale / images:.1f} %."
    )
    return lines


def bias(model: ModelInfo) -> list[str]:
    """Sub-pixel bias over a 10 x 10 grid of offsets, noise-free."""
    rows = []
    for spacing in (8.0, 12.0, 25.0):
        errors = []
        for i in range(10):
            for j in range(10):
                y, x = np.mgrid[0:6, 0:6].reshape(2, -1) * spacing + 2 * spacing
                y, x = y + i / 10, x + j / 10
                from napari_atomlens.simulation.formation import render_columns

                side = int(10 * spacing)
                image = 0.2 + render_columns((side, side), y, x, 1.0, 0.26 * spacing)
                atoms, _ = analyse(image, model, spacing)
                found = atoms[["y_px", "x_px"]].to_numpy()
                from napari_atomlens.simulation.scoring import match

                a, b = match(found, np.c_[y, x], spacing / 4)
                errors.append((found[a] - np.c_[y, x][b]).mean(0))
        errors = np.array(errors)
        rows.append((spacing, np.abs(errors).max(), np.abs(errors.mean(0)).max()))
    lines = ["| spacing (px) | largest bias at an offset (px) | mean bias (px) |", "|---|---|---|"]
    return lines + [f"| {s:g} | {worst:.4f} | {mean:.4f} |" for s, worst, mean in rows]


def false_alarms(model: ModelInfo, n: int) -> list[str]:
    """Atoms in images that hold none, with the spacing set to 10 px by hand."""
    atoms, area, by_image = 0, 0.0, []
    for i in range(n):
        rng = np.random.default_rng(seed_for("benchmark", 9_500_000 + i))
        image, _ = noise_only((256, 256), rng)
        found, _ = analyse(image, model, 10.0)
        atoms += len(found)
        by_image.append(len(found))
        area += image.size / 10.0**2
    refused = 0
    for i in range(min(n, 40)):
        rng = np.random.default_rng(seed_for("benchmark", 9_500_000 + i))
        try:
            analyse(noise_only((256, 256), rng)[0], model)
        except CalibrationError:
            refused += 1
    figure("atoms per 10,000 sites of noise", atoms / area * 1e4)
    figure("images of noise with atoms", sum(c > 0 for c in by_image))
    figure("images of noise refused without a spacing", refused)
    return [
        f"{n} noise-only images (Poisson, Gaussian, 1/f, smoothed, amorphous, ramps and steps): "
        f"{atoms} atoms in the area of {area:,.0f} lattice sites = "
        f"{atoms / area * 1e4:.2f} per 10,000; "
        f"{sum(c > 0 for c in by_image)} images with any.",
        f"Without a spacing set, {refused}/{min(n, 40)} of them are refused with a sentence.",
    ]


def hot(model: ModelInfo, n: int) -> list[str]:
    """Effect of hot pixels, and pristine graphene called bright."""
    clean, spoilt, bright, columns = Score(0, 0, 0), Score(0, 0, 0), 0, 0
    for i in range(n):
        seed = seed_for("benchmark", 8_000_000 + i)
        rng = np.random.default_rng(seed)
        image, scene = simulate(
            "honeycomb", (256, 256), 10.0, rotation_deg=rng.uniform(0, 360), seed=seed
        )
        true = np.c_[scene.y, scene.x]
        atoms, _ = analyse(image, model)
        bright += int((atoms.species == "bright column").sum())
        columns += len(atoms)
        clean += score(atoms[["y_px", "x_px"]].to_numpy(), true, 2.5, scene.shape, 5)
        factor = float(10 ** rng.uniform(np.log10(2), 3))
        bad = faults.hot_pixels(image, int(rng.integers(1, 21)), factor, rng)
        atoms, _ = analyse(bad, model)
        spoilt += score(atoms[["y_px", "x_px"]].to_numpy(), true, 2.5, scene.shape, 5)
    figure("F1 lost to hot pixels", clean.f1 - spoilt.f1)
    figure("pristine graphene called bright", 100 * bright / max(columns, 1), "%")
    return [
        f"Hot pixels (1-20 at 2-1000 times the maximum): F1 {clean.f1:.5f} -> {spoilt.f1:.5f}, "
        f"a loss of {clean.f1 - spoilt.f1:.5f} ({n} images).",
        f"Pristine graphene at 1,000 counts: {bright} of {columns} columns called bright "
        f"({100 * bright / max(columns, 1):.3f} %).",
    ]


def calibration_error(model: ModelInfo, n: int) -> list[str]:
    """Expected calibration error of the atom probabilities."""
    from napari_atomlens.atoms.peaks import calibrated
    from napari_atomlens.training.calibrate import expected_calibration_error, peaks_with_truth

    samples = peaks_with_truth(model.path, n, "benchmark", first=7_000_000)
    p = calibrated(samples[:, :4], model.calibration.get("atoms", {}))
    error = expected_calibration_error(p, samples[:, 4])
    figure("expected calibration error", error)
    return [
        f"Expected calibration error over {len(p)} peaks of {n} training-like scenes (held-out "
        f"seeds): {error:.4f}."
    ]


def main() -> None:
    """Measure everything and write one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--out", default="")
    with Report("simulated", parser) as report:
        args = report.args
        model = find_model(args.model)
        start = time.time()
        sections = {
            "Detection and scale": lambda: detection(model, args.images),
            "Sub-pixel bias": lambda: bias(model),
            "No atoms where there are none": lambda: false_alarms(model, max(100, args.images)),
            "Robustness": lambda: hot(model, args.images),
            "Calibration": lambda: calibration_error(model, 100),
        }
        page = [
            "# Figures on simulated images", "",
            f"Model `{model.name}` (sha256 {model.file_hash()[:12]}), {args.images} images per "
            f"lattice and dose, made by `python benchmarks/simulated.py --images {args.images}`.",
        ]  # fmt: skip
        for title, measure in sections.items():
            lines = measure()
            print("\n".join(lines), flush=True)
            page += ["", f"## {title}", "", *lines]
        page += ["", f"Took {time.time() - start:.0f} s."]
        if args.out:
            Path(args.out).write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
