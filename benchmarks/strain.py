"""Strain and polar displacement against a known truth (figure 8).

    python benchmarks/strain.py [--images 4] [--out docs/figures_strain.md]

A perovskite (a = 390.5 pm, 19 pm pixels, background 0.2 of the weaker column, 1,000 counts in
it) is strained by 1 % along x in its right half, where the weaker sublattice is displaced by
15 pm, too; the left half is the reference. Measured end to end (`analyze`, then
`measure_lattice`), and from the true positions with noise of the size of the Cramer-Rao bound.
Sites nearer than two cells to the border between the halves or to that of the image are left
out. Other lattices are strained only.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from report import Report

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.simulation import crystals, seed_for
from napari_atomlens.simulation.scenes import Scene, add_dose, scene_from_crystal

STRAIN, POLAR_NM = 0.01, 0.015


@dataclass
class Case:
    """A lattice, its nearest distance in nm, and the size of a pixel."""

    crystal: crystals.Crystal
    spacing_nm: float
    pixel_size_nm: float
    sigma: float
    polar: bool = False


CASES = {
    "perovskite": Case(crystals.perovskite(0.45), 0.3905 / np.sqrt(2), 0.019, 0.22, polar=True),
    "honeycomb": Case(crystals.honeycomb(), 0.142, 0.0142, 0.28),
    "Si<110>": Case(crystals.dumbbell(), 0.1358, 0.0136, 0.30),
}


def strained(case: Case, side: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray, float]:
    """Columns with the right half strained along x, and its weaker sublattice displaced."""
    spacing = case.spacing_nm / case.pixel_size_nm
    scene, index = scene_from_crystal(
        case.crystal, (side, side), spacing, rng, sigma=case.sigma, aspect=1.0
    )
    middle = side / 2
    # beyond the image, what is strained into it is there already: tiled with a margin
    right = scene.x > middle
    scene.x = np.where(right, scene.x + STRAIN * (scene.x - middle), scene.x)
    angle = rng.uniform(0, 2 * np.pi)
    if case.polar:
        moved = right & (index == 1)
        scene.y = scene.y + np.where(moved, np.sin(angle) * POLAR_NM / case.pixel_size_nm, 0)
        scene.x = scene.x + np.where(moved, np.cos(angle) * POLAR_NM / case.pixel_size_nm, 0)
    scene.background = scene.background + 0.2 * scene.amplitude.min()
    return scene, index, angle


def bound_px(scene: Scene, counts: float) -> np.ndarray:
    """Cramer-Rao bound of each position for an isolated column, background 0.2: per axis.

    sigma / sqrt(N) without background; the background of 0.2 of the peak of the weakest
    column raises it to about 1.45 times that (see the notes of the fit).
    """
    n = counts * scene.amplitude / scene.amplitude.min()
    return np.asarray(1.45 * scene.sigma / np.sqrt(n))


def atoms_of(scene: Scene, counts: float, rng: np.random.Generator) -> pd.DataFrame:
    """Atoms table of the true positions with noise."""
    seen = scene.visible(2.0)
    error = bound_px(scene, counts)[seen]
    position = np.c_[scene.y, scene.x][seen]
    position = position + error[:, None] * rng.standard_normal(position.shape)
    amplitude = scene.amplitude[seen] * np.exp(0.05 * rng.standard_normal(seen.sum()))
    return tables.make(
        "atoms",
        {
            "frame": 0, "atom_id": np.arange(len(position)), "y_px": position[:, 0],
            "x_px": position[:, 1], "amplitude": amplitude, "y_err_px": error, "x_err_px": error,
            "probability": 0.99, "species": "column", "source": "fit",
        },
        len(position),
    )  # fmt: skip


def measure(case: Case, atoms: pd.DataFrame, side: int, direction: float) -> dict[str, np.ndarray]:
    """Strain of the sites of the strained half, polar displacement along its true direction."""
    middle = side / 2
    found = al.measure_lattice(
        atoms, reference=(0, 0, side, middle - 2 * case.spacing_nm / case.pixel_size_nm),
        pixel_size_nm=case.pixel_size_nm,
    )  # fmt: skip
    a = found.atoms
    cell = 2 * float(found.lattices["b_px"].iloc[0])
    x, y = a["x_px"], a["y_px"]
    rim = (y > cell) & (y < side - cell) & (x < side - cell)
    strained_half = a[rim & (x > middle + cell) & (a["source"] != "lattice")]
    left = a[rim & (x < middle - cell) & (x > cell) & (a["source"] != "lattice")]
    weak = strained_half[strained_half["sublattice"] == 1]
    along = np.array([np.sin(direction), np.cos(direction)])
    polar = weak[["polar_dy_nm", "polar_dx_nm"]].to_numpy() @ along
    error = np.hypot(
        weak["polar_dy_err_px"] * along[0], weak["polar_dx_err_px"] * along[1]
    ).to_numpy()
    return {
        "exx": strained_half["exx"].to_numpy(), "exx_err": strained_half["exx_err"].to_numpy(),
        "eyy": strained_half["eyy"].to_numpy(), "exy": strained_half["exy"].to_numpy(),
        "rotation": strained_half["rotation_rad"].to_numpy(), "left": left["exx"].to_numpy(),
        "polar": polar, "polar_err": error * case.pixel_size_nm,
    }  # fmt: skip


def measured(images: int, side: int, counts: float) -> list[str]:
    """Measure all cases both ways."""
    lines = [
        "| lattice | from | sites | exx (%), true 1 | eyy (%) | exy (%) | rotation (mrad) | "
        "reference half exx (%) | sd of exx (%) | stated error (%) | sites | polar (pm), true 15 "
        "| sd (pm) | stated error (pm) |",
        "|" + "---|" * 14,
    ]
    for k, (name, case) in enumerate(CASES.items()):
        for way in ("positions", "analyze"):
            parts = []
            for i in range(images):
                rng = np.random.default_rng(seed_for("benchmark", 8_000_000 + 1000 * k + i))
                scene, _, angle = strained(case, side, rng)
                if way == "positions":
                    atoms = atoms_of(scene, counts, rng)
                else:
                    image = add_dose(scene, counts, rng)
                    atoms = al.analyze(
                        image, pixel_size_nm=case.pixel_size_nm, keep_maps=False,
                        params=al.AnalysisParams(contours=False),
                    ).atoms  # fmt: skip
                parts.append(measure(case, atoms, side, angle))
            whole = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
            mean = {key: float(np.nanmean(v)) for key, v in whole.items() if np.isfinite(v).any()}
            n = int(np.isfinite(whole["exx"]).sum())
            line = (
                f"| {name} | {way} | {n} | {100 * mean['exx']:.3f} | {100 * mean['eyy']:.3f} | "
                f"{100 * mean['exy']:.3f} | {1000 * mean['rotation']:.2f} | "
                f"{100 * mean['left']:.3f} | {100 * np.nanstd(whole['exx']):.3f} | "
                f"{100 * mean['exx_err']:.3f} |"
            )
            if case.polar:
                p = int(np.isfinite(whole["polar"]).sum())
                line += (
                    f" {p} | {1000 * mean['polar']:.2f} | {1000 * np.nanstd(whole['polar']):.2f} |"
                    f" {1000 * mean['polar_err']:.2f} |"
                )
            else:
                line += " | | | |"
            lines.append(line)
            print(line, flush=True, file=sys.stderr)
    return lines


def speed(sizes: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000)) -> list[str]:
    """CPU time of `measure_lattice` alone, best of three, over the number of atoms."""
    lines = ["| atoms | CPU (s) | per atom (ms) |", "|---|---|---|"]
    rng = np.random.default_rng(seed_for("benchmark", 8_900_000))
    for n in sizes:
        side = int(np.sqrt(n) * 10)
        scene, _ = scene_from_crystal(crystals.perovskite(0.45), (side, side), 10.0, rng)
        scene.background = scene.background + 0.2
        atoms = atoms_of(scene, 1000, rng)
        taken = []
        for _ in range(3):
            start = time.process_time()
            al.measure_lattice(atoms)
            taken.append(time.process_time() - start)
        best = min(taken)
        lines.append(f"| {len(atoms):,} | {best:.2f} | {1000 * best / len(atoms):.4f} |")
        print(lines[-1], flush=True, file=sys.stderr)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--counts", type=float, default=1000)
    parser.add_argument("--out", type=Path)
    with Report("strain", parser) as report:
        args = report.args
        lines = measured(args.images, args.side, args.counts)
        text = "\n".join(
            [
                "# Strain and polar displacement",
                "",
                f"Made by `python benchmarks/strain.py --images {args.images}`: {args.counts:g} "
                f"counts, {args.side} px, a known strain of 1 % and a polar displacement of 15 pm.",
                "Means and standard deviations over sites; the stated error is the mean of the "
                "error column.",
                "",
                *lines,
                "",
                "Time of `measure_lattice` (one thread), all columns included:",
                "",
                *speed(),
                "",
            ]
        )
        if args.out:
            args.out.write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
