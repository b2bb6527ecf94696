"""What moves light columns beside heavy ones beyond the noise: tails of the bank, elongated probes.

    python benchmarks/systematic.py [--counts 100000]

Columns have the radial profiles that multislice images gave (``simulation/bank.py``) and are added
up: nothing here channels, and no column is bent. The fit knows Gaussians and a smooth background.
Displacements are those of the weak sublattice against the strong one, in pm.
"""

from __future__ import annotations

import argparse

import numpy as np
from report import Report

from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.simulation.bank import column_profile, sigma_profile
from napari_atomlens.simulation.formation import render_columns

PIXEL_PM = 19.5
IMAGES = ("SrTiO3-5nm-100kV-df0-cs0", "SrTiO3-5nm-300kV-df0-cs0", "SrTiO3-10nm-200kV-df0-cs0",
          "SrTiO3-5nm-200kV-df5-cs0")  # fmt: skip
SHEET = "MoS2-V_S-60kV-df0-cs0"


def width(image: str) -> float:
    """Width in pixels of the Gaussian of the same half height."""
    radius, height = column_profile(image)
    height = height / height.max()
    k = int(np.argmax(height < 0.5))
    part = (height[k - 1] - 0.5) / (height[k - 1] - height[k])
    half = radius[k - 1] + part * (radius[k] - radius[k - 1])
    return float(half / np.sqrt(2 * np.log(2)) * 1e3 / PIXEL_PM)


def measured(
    image: str, strong: np.ndarray, weak: np.ndarray, share: float, step: float, counts: float,
    *, aspect: float = 1.0, angle: float = 0.0, elliptic: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Mean error (y, x) of the weak against the strong ones, its standard error, the noise error."""
    rng = np.random.default_rng(0)
    sigma, n = width(image), len(strong)
    places, height = np.r_[strong, weak], np.r_[np.ones(n), np.full(len(weak), share)]
    side = int(np.ceil(places.max() + step / 2))
    peak = counts / (2 * np.pi * sigma**2)
    clean = render_columns(
        (side, side), places[:, 0], places[:, 1], peak * height, sigma, aspect, angle,
        profile=sigma_profile(image),
    )  # fmt: skip
    data = rng.poisson(clean + 0.02 * peak).astype(np.float32)
    start = places + rng.normal(0, 0.15, places.shape)
    group = (np.arange(len(places)) >= n).astype(int)
    nearest = float(np.hypot(*(weak[:, None] - strong[None]).transpose(2, 0, 1)).min())
    fit = fit_columns(data, start, nearest, FitParams(elliptic=elliptic), group)
    off = (np.c_[fit.y, fit.x] - places) * PIXEL_PM
    inner = ((places > 2 * step) & (places < side - 2 * step)).all(1)
    a, b = off[inner & (group == 1)], off[inner & (group == 0)]
    error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
    return (
        a.mean(0) - b.mean(0),
        error,
        float(np.median(fit.y_err[inner & (group == 1)])) * PIXEL_PM,
    )


def perovskite(moved_pm: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Sr and Ti columns in pixels, the latter displaced along y, and the side of the cell."""
    a = 390.5 / PIXEL_PM
    y, x = (k.ravel() for k in np.meshgrid(*[np.arange(11) * a + a / 2 + 0.3] * 2, indexing="ij"))
    strong = np.c_[y, x]
    return strong, strong + np.array([a / 2 + moved_pm / PIXEL_PM, a / 2]), a


def sheet() -> tuple[np.ndarray, np.ndarray, float]:
    """Mo and S2 columns of a monolayer in pixels, and the distance of two Mo."""
    a = 316.0 / PIXEL_PM
    i, j = (k.ravel() for k in np.meshgrid(np.arange(-14, 15), np.arange(-14, 15)))
    strong = np.c_[j * a * np.sqrt(3) / 2, (i + j / 2) * a] + 7 * a
    strong = strong[((strong > 0) & (strong < 14 * a)).all(1)]
    return strong, strong + np.array([a / np.sqrt(3), 0.0]), a


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=float, default=1e5, help="of a strong column")
    with Report("systematic", parser) as report:
        counts = report.args.counts
        print("\n| profile | Ti over Sr | true (pm) | error (pm) | noise error of an atom (pm) |")
        print("|---|---|---|---|---|")
        worst = 0.0
        for image in IMAGES:
            for share in (0.2, 0.35):
                for moved in (0.0, 20.0, 40.0):
                    strong, weak, a = perovskite(moved)
                    off, error, noise = measured(image, strong, weak, share, a, counts)
                    worst = max(worst, abs(off[0]))
                    print(f"| {image} | {share} | {moved:.0f} | {off[0]:+.2f} +- {error[0]:.2f} | "
                          f"{noise:.2f} |", flush=True)  # fmt: skip
        report.figure("largest error of a displacement by tails", worst, "pm")
        print("\n| MoS2, length over width | round: S2 against Mo (pm) | ellipses (pm) | "
              "noise error of an atom (pm) |\n|---|---|---|---|")  # fmt: skip
        strong, weak, a = sheet()
        for aspect in (1.0, 1.1, 1.2, 1.3):
            cells = []
            for elliptic in (False, True):
                off, error, noise = measured(
                    SHEET, strong, weak, 0.3, a, counts, aspect=aspect, angle=np.pi / 2,
                    elliptic=elliptic,
                )  # fmt: skip
                cells.append(f"{off[0]:+.2f} +- {error[0]:.2f}")
            print(f"| {aspect} | {cells[0]} | {cells[1]} | {noise:.2f} |", flush=True)


if __name__ == "__main__":
    main()
