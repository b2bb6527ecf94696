"""The joint fit against the Cramer-Rao bound: error, bias, error bars and fidelity.

    python benchmarks/fit.py [--columns 20000] [--out docs/figures_fit.md]

Simulated lattices with Poisson noise, background 0.2 of the peak of the weakest column.
The fit starts from positions that are off by 0.06 spacings per axis (standard deviation).
The bound is that of the same model (position and height of every column, one width per
species, the same background nodes), from the dense Fisher matrix of a patch of about ten
spacings.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import Report

from napari_atomlens.atoms.background import Background
from napari_atomlens.atoms.fitted import Fit
from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.formation import render_columns

SHARED = FitParams(width="shared")


@dataclass
class Case:
    """A lattice: basis (cells of edge 1), heights and widths of the basis, cell in pixels."""

    name: str
    cell: np.ndarray
    basis: np.ndarray
    height: np.ndarray
    sigma: np.ndarray
    spacing: float


def case(name: str, spacing: float, sigma: float) -> Case:
    """Build one of the benchmark lattices with `spacing` px between nearest columns."""
    one = np.ones(1)
    if name == "isolated":
        return Case(name, spacing * np.eye(2), np.zeros((1, 2)), one, sigma * one, spacing)
    if name == "graphene":
        a = spacing * np.sqrt(3)
        cell = a * np.array([[1, 0], [0.5, np.sqrt(3) / 2]])
        return Case(
            name, cell, np.array([[0, 0], [1 / 3, 1 / 3]]), np.ones(2), sigma * np.ones(2), spacing
        )
    if name == "perovskite":
        return Case(
            name, spacing * np.sqrt(2) * np.eye(2), np.array([[0, 0], [0.5, 0.5]]),
            np.array([1, 0.2]), sigma * np.ones(2), spacing,
        )  # fmt: skip
    if name == "Si<110>":  # 543.1 pm: dumbbells of 135.8 pm, cell 543.1 x 384 pm
        a = spacing / 0.25
        cell = np.diag([a, a / np.sqrt(2)])
        basis = np.array([[0, 0], [0.25, 0], [0.5, 0.5], [0.75, 0.5]])
        return Case(name, cell, basis, np.ones(4), sigma * np.ones(4), spacing)
    raise ValueError(name)


@dataclass
class Sample:
    """One noisy image and its truth."""

    image: np.ndarray
    true: np.ndarray
    site: np.ndarray
    kind: np.ndarray
    height: np.ndarray
    sigma: np.ndarray
    background: float
    shape: tuple[int, int]


def sample(
    c: Case, side: int, counts: float, rng: np.random.Generator, jitter: float = 0.0
) -> Sample:
    """Draw one image; `counts` are those integrated over the weakest column."""
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    n = int(side / min(np.linalg.norm(c.cell, axis=1))) + 4
    cells = np.mgrid[-n:n, -n:n].reshape(2, -1).T
    site = np.concatenate([(cells + b) @ c.cell for b in c.basis]) @ rotation.T
    kind = np.repeat(np.arange(len(c.basis)), len(cells))
    site = site + rng.uniform(0, c.spacing, 2) + side / 2
    near = np.all((site > -6 * c.sigma.max()) & (site < side + 6 * c.sigma.max()), axis=1)
    site, kind = site[near], kind[near]
    weak = c.height.argmin()
    peak = counts / (2 * np.pi * c.sigma[weak] ** 2) / c.height[weak]
    true = site + rng.normal(0, jitter, site.shape) if jitter else site.copy()
    height, sigma = c.height[kind] * peak, c.sigma[kind]
    background = 0.2 * peak * c.height[weak]
    clean = background + render_columns((side, side), *true.T, height, sigma, reach=5)
    return Sample(
        rng.poisson(clean).astype(float), true, site, kind, height, sigma, background, (side, side)
    )


def bound(c: Case, counts: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cramer-Rao bound per kind of column along one axis, and the mean covariance of pairs.

    Returns
    -------
    sigma : ndarray, shape (kinds,)
        Root of the mean variance per axis, in pixels.
    pair : ndarray, shape (2,)
        For dumbbells: bound of length (px) and of angle (rad); NaN otherwise.
    """
    side = int(10 * c.spacing) if c.name != "isolated" else int(2.5 * c.spacing)
    s = sample(c, side, counts, rng)
    yy, xx = np.mgrid[:side, :side]
    heights = np.unique(c.height)
    nodes = Background(s.shape, 3 * c.spacing)
    rows, widths = [], np.zeros((len(heights), side * side))
    mean = np.full(side * side, s.background)
    for (y, x), h, w in zip(s.true, s.height, s.sigma, strict=True):
        dy, dx = yy - y, xx - x
        g = np.exp(-0.5 * (dy**2 + dx**2) / w**2)
        rows += [(h * g * dy / w**2).ravel(), (h * g * dx / w**2).ravel(), g.ravel()]
        group = np.argmin(np.abs(heights / heights.max() - h / s.height.max()))
        widths[group] += (h * g * (dy**2 + dx**2) / w**2).ravel()
        mean = mean + h * g.ravel()
    for k in range(nodes.n[0] * nodes.n[1]):
        e = np.zeros(nodes.n[0] * nodes.n[1])
        e[k] = 1
        rows.append(nodes.image(e).ravel())
    jacobian = np.concatenate([np.array(rows), widths])
    fisher = (jacobian / mean) @ jacobian.T
    fisher[np.diag_indices(len(fisher))] *= 1 + 1e-12
    covariance = np.linalg.inv(
        fisher + 1e-14 * np.trace(fisher) / len(fisher) * np.eye(len(fisher))
    )
    margin = 3 * c.spacing if c.name != "isolated" else 0.6 * c.spacing
    inside = np.flatnonzero(np.all((s.true > margin) & (s.true < side - 1 - margin), axis=1))
    variance = np.stack([np.diag(covariance)[3 * inside], np.diag(covariance)[3 * inside + 1]], 1)
    per_kind = np.array(
        [np.sqrt(variance[s.kind[inside] == k].mean()) for k in range(len(c.basis))]
    )
    pair = np.full(2, np.nan)
    if c.name == "Si<110>":
        length, angle = [], []
        for i in inside:
            if s.kind[i] % 2:
                continue
            j = int(np.argmin(np.hypot(*(s.true - s.true[i]).T) + 1e9 * (s.kind != s.kind[i] + 1)))
            v = s.true[j] - s.true[i]
            d = float(np.hypot(*v))
            u = v / d
            index = [3 * i, 3 * i + 1, 3 * j, 3 * j + 1]
            block = covariance[np.ix_(index, index)]
            along, across = np.r_[-u, u], np.r_[u[1], -u[0], -u[1], u[0]] / d
            length.append(along @ block @ along)
            angle.append(across @ block @ across)
        pair = np.sqrt([np.mean(length), np.mean(angle)])
    return per_kind, pair


@dataclass
class Measured:
    """Errors of many columns."""

    dy: np.ndarray
    dx: np.ndarray
    y_err: np.ndarray
    x_err: np.ndarray
    kind: np.ndarray
    moved: np.ndarray
    seen: np.ndarray
    pairs: np.ndarray
    ok: float


def measure(
    c: Case, counts: float, columns: int, seed: int, jitter: float = 0.0,
    params: FitParams = SHARED, detector: str = "poisson", from_site: bool = False,
) -> Measured:  # fmt: skip
    """Fit images until `columns` columns away from the border are measured."""
    rng = np.random.default_rng(seed_for("benchmark", seed))
    parts: dict[str, list[np.ndarray]] = {
        k: [] for k in ("dy", "dx", "ye", "xe", "k", "m", "s", "p", "ok")
    }
    total = 0
    per_area = len(c.basis) / abs(np.linalg.det(c.cell))
    side = int(np.clip(np.sqrt(min(columns, 5000) / per_area) + 4 * c.spacing, 64, 2048))
    while total < columns:
        s = sample(c, side, counts, rng, jitter)
        image = s.image
        if detector == "gain and read noise":
            image = (
                37.0 * image
                + 500
                + 37 * 0.5 * np.sqrt(s.background) * rng.standard_normal(image.shape)
            )
        elif detector == "blurred":
            from scipy.ndimage import gaussian_filter

            image = gaussian_filter(image, 1.0)
        inside = np.all((s.true > -0.5) & (s.true < side - 0.5), axis=1)
        start = (
            s.site[inside]
            if from_site
            else s.true[inside]
            + rng.normal(0, 0.06 * min(c.spacing, 4 * c.sigma.min()), (int(inside.sum()), 2))
        )
        heights = np.unique(c.height)
        group = np.searchsorted(heights, c.height[s.kind[inside]])
        fit: Fit = fit_columns(image, start, c.spacing, params, group)
        true, site = s.true[inside], s.site[inside]
        away = np.all((true > 2 * c.spacing) & (true < side - 1 - 2 * c.spacing), axis=1)
        away &= np.hypot(fit.y - true[:, 0], fit.x - true[:, 1]) < 0.5 * c.spacing
        found = np.c_[fit.y, fit.x]
        parts["dy"].append((fit.y - true[:, 0])[away])
        parts["dx"].append((fit.x - true[:, 1])[away])
        parts["ye"].append(fit.y_err[away])
        parts["xe"].append(fit.x_err[away])
        parts["k"].append(s.kind[inside][away])
        parts["m"].append((true - site)[away])
        parts["s"].append((found - site)[away])
        parts["ok"].append(fit.ok[away])
        if c.name == "Si<110>":
            kind = s.kind[inside]
            first = np.flatnonzero(away & (kind % 2 == 0))
            rows = []
            for i in first:
                j = int(np.argmin(np.hypot(*(true - true[i]).T) + 1e9 * (kind != kind[i] + 1)))
                a, b = true[j] - true[i], found[j] - found[i]
                turn = np.angle((b[1] + 1j * b[0]) / (a[1] + 1j * a[0]))
                rows.append([np.hypot(*b) - np.hypot(*a), turn])
            parts["p"].append(np.array(rows))
        total += int(away.sum())
    get = {k: np.concatenate(v) if v else np.zeros((0, 2)) for k, v in parts.items()}
    return Measured(
        get["dy"], get["dx"], get["ye"], get["xe"], get["k"], get["m"], get["s"], get["p"],
        float(get["ok"].mean()),
    )  # fmt: skip


def accuracy(columns: int) -> list[str]:
    """Figures 1 to 4."""
    lines = [
        "| lattice | sigma (px) | counts | column | bound (px) | RMSE / bound | bias (px) "
        "| error bars: sd of z | fitted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cases = [
        (case("isolated", 7 * s, s), n)
        for s in (1.5, 3.0, 5.0, 8.0)
        for n in (100, 300, 1000, 10000)
    ]
    cases += [(case("graphene", 8.0, s), n) for s in (2.2, 2.6) for n in (100, 300, 1000, 10000)]
    cases += [(case("perovskite", 10.0, 2.6), n) for n in (100, 300, 1000, 10000)]
    seed = 7_000_000
    for c, counts in cases:
        seed += 1000
        limit, _ = bound(c, counts, np.random.default_rng(1))
        m = measure(c, counts, columns, seed)
        for h in np.unique(c.height):
            kinds = np.flatnonzero(c.height == h)
            use = np.isin(m.kind, kinds)
            rmse = np.sqrt(np.mean(np.r_[m.dy[use], m.dx[use]] ** 2))
            best = np.sqrt(np.mean(limit[kinds] ** 2))
            z = np.r_[m.dy[use] / m.y_err[use], m.dx[use] / m.x_err[use]]
            bias = max(abs(m.dy[use].mean()), abs(m.dx[use].mean()))
            name = (
                "all"
                if len(np.unique(c.height)) == 1
                else ("weak" if h == c.height.min() else "strong")
            )
            lines.append(
                f"| {c.name} | {c.sigma[0]:g} | {counts} | {name} | {best:.4f} "
                f"| {rmse / best:.3f} | {bias:.4f} | {z.std():.3f} | {100 * m.ok:.2f} % |"
            )
            print(lines[-1], flush=True, file=sys.stderr)
    return lines


def dumbbells(columns: int) -> list[str]:
    """Length and angle of dumbbells against their joint bound."""
    lines = [
        "| separation (sigma) | counts | length bound (px) | RMSE / bound | angle bound (deg) "
        "| RMSE / bound |",
        "|---|---|---|---|---|---|",
    ]
    for k, separation in enumerate((2.5, 3.0, 4.0)):
        for counts in (300, 1000, 10000):
            sigma = 8.0 / separation
            c = case("Si<110>", 8.0, sigma)
            _, limit = bound(c, counts, np.random.default_rng(1))
            m = measure(c, counts, columns, 7_500_000 + 1000 * k + counts)
            rmse = np.sqrt((m.pairs**2).mean(0))
            lines.append(
                f"| {separation} | {counts} | {limit[0]:.4f} | {rmse[0] / limit[0]:.3f} | "
                f"{np.degrees(limit[1]):.3f} | {rmse[1] / limit[1]:.3f} |"
            )
            print(lines[-1], flush=True, file=sys.stderr)
    return lines


def fidelity(columns: int) -> list[str]:
    """Slope of measured against true displacement, 10 pm rms; the fit starts on the sites."""
    lines = [
        "| lattice | pixel (pm) | counts | column | slope | standard error |",
        "|---|---|---|---|---|---|",
    ]
    setups = [(case("graphene", 8.0, 2.53), 142 / 8.0), (case("perovskite", 14.0, 3.0), 276 / 14.0),
              (case("Si<110>", 8.0, 2.65), 135.8 / 8.0)]  # fmt: skip
    for k, (c, pixel) in enumerate(setups):
        for counts in (100, 300, 1000, 10000):
            jitter = 10 / pixel
            limit, _ = bound(c, counts, np.random.default_rng(1))
            need = int(((limit.max() / jitter) ** 2 + 0.2) / 2 / 0.006**2)
            enough = int(np.clip(need, columns // 4, 3 * columns))
            m = measure(c, counts, enough, 7_800_000 + 1000 * k + counts, jitter, from_site=True)
            for h in np.unique(c.height):
                use = np.isin(m.kind, np.flatnonzero(c.height == h))
                a, b = m.moved[use].ravel(), m.seen[use].ravel()
                slope = float(a @ b / (a @ a))
                error = float(np.std(b - slope * a) / np.sqrt(a @ a))
                name = (
                    "all"
                    if len(np.unique(c.height)) == 1
                    else ("weak" if h == c.height.min() else "strong")
                )
                lines.append(
                    f"| {c.name} | {pixel:.1f} | {counts} | {name} | {slope:.3f} | {error:.3f} |"
                )
                print(lines[-1], flush=True, file=sys.stderr)
    return lines


def detectors(columns: int) -> list[str]:
    """Error bars where the noise is not that of counting."""
    lines = ["| detector | counts | sd of z |", "|---|---|---|"]
    for k, detector in enumerate(("poisson", "gain and read noise", "blurred")):
        for counts in (100, 1000, 10000):
            m = measure(
                case("graphene", 10.0, 2.6),
                counts,
                columns,
                7_900_000 + 1000 * k,
                detector=detector,
            )
            z = np.r_[m.dy / m.y_err, m.dx / m.x_err]
            lines.append(f"| {detector} | {counts} | {z.std():.3f} |")
            print(lines[-1], flush=True, file=sys.stderr)
    return lines


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=20000)
    parser.add_argument("--only", choices=["accuracy", "dumbbells", "fidelity", "detectors"])
    parser.add_argument("--out", type=Path)
    with Report("fit", parser) as report:
        args = report.args
        parts = {
            "accuracy": accuracy,
            "dumbbells": dumbbells,
            "fidelity": fidelity,
            "detectors": detectors,
        }
        text = []
        for name, part in parts.items():
            if args.only in (None, name):
                text += [f"## {name.capitalize()}", "", *part(args.columns), ""]
        print("\n".join(text))
        if args.out:
            head = f"Made by `python benchmarks/fit.py --columns {args.columns}`.\n\n"
            args.out.write_text(
                "# The fit against its bound\n\n" + head + "\n".join(text), encoding="utf-8"
            )
            print(args.out, file=sys.stderr)


if __name__ == "__main__":
    main()
