"""Crystals that are not perfect, against a known truth (figure 21).

    python benchmarks/imperfect.py [--kinds dislocations,twins,...] [--n 12] [--counts 3000]

Tables of points with noise, from generators of its own: edge dislocations (isotropic elasticity,
Poisson's ratio 0.3; singles, pairs of opposite sign and walls in square, hexagonal, perovskite
and dumbbell lattices), coherent twins, two crystals beside each other (cells 1:1.05 to 1:10),
superstructures (antipolar, dimerised, ordered in brightness), plain crystals, large smooth strain
(to 15 %) and bent lattices. With ``--counts`` the points are drawn as columns of an image, which is
analysed first.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from report import Report

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.scenes import Scene, add_dose

PIXEL_NM, POISSON = 0.02, 0.3


@dataclass
class Crystal:
    """Vectors (rows, in the distance of nearest atoms, y up) and the atoms of a cell."""

    cell: np.ndarray
    basis: np.ndarray
    height: np.ndarray


def crystal(a: tuple[float, float], b: tuple[float, float], *atoms: tuple) -> Crystal:
    """Crystal from vectors (x, y) and atoms (along a, along b, height)."""
    rows = np.array(atoms or [(0.0, 0.0, 1.0)])
    return Crystal(np.array([a, b], float), rows[:, :2], rows[:, 2])


R2, R3 = 2**0.5, 3**0.5
CRYSTALS = {
    "square": crystal((1, 0), (0, 1)),
    "hexagonal": crystal((1, 0), (0.5, R3 / 2)),
    "perovskite": crystal((R2, 0), (0, R2), (0, 0, 1), (0.5, 0.5, 0.5)),
    # Si<110>: 0.384 x 0.543 nm, centred; the partner a quarter of the long side away
    "dumbbell": crystal((2 * R2, 0), (R2, 2), (0, 0, 1), (-0.25, 0.5, 1)),
}


@dataclass
class Made:
    """Points (y, x) in pixels and what is true of them."""

    points: np.ndarray
    height: np.ndarray
    noise: float
    side: int
    spacing: float
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    fact: dict[str, object] = field(default_factory=dict)

    def kept(self, keep: np.ndarray) -> Made:
        """Those of a mask."""
        truth = {k: v[keep] for k, v in self.truth.items()}
        return Made(
            self.points[keep], self.height[keep], self.noise, self.side, self.spacing, truth,
            self.fact,
        )  # fmt: skip


def filled(one: Crystal, spacing: float, half: float, turn: float, rng: np.random.Generator):
    """Places (x, y up) within a square about the origin, their sublattice, and the turned cell."""
    c, s = np.cos(turn), np.sin(turn)
    cell = spacing * one.cell @ np.array([[c, s], [-s, c]])
    n = int(1.5 * half / spacing * np.linalg.norm(one.cell, axis=1).min() ** -1 * 2) + 4
    k = np.stack(np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij"), -1)
    shift = rng.uniform(0, 1, 2)
    place = (k.reshape(-1, 1, 2) + one.basis + shift) @ cell
    sub = np.tile(np.arange(len(one.basis)), len(k.reshape(-1, 2)))
    place = place.reshape(-1, 2)
    keep = (np.abs(place) < half).all(1)
    return place[keep], sub[keep], cell


def edge(p: np.ndarray, centre: np.ndarray, b: np.ndarray, nu: float = POISSON) -> np.ndarray:
    """Displacement (x, y up) of an edge dislocation: grows by b counter-clockwise round it."""
    size = np.linalg.norm(b)
    e = b / size
    x, y = (p - centre) @ e, (p - centre) @ np.array([-e[1], e[0]])
    r2 = np.maximum(x * x + y * y, 1e-9)
    u = size / 2 / np.pi * (np.arctan2(y, x) + x * y / 2 / (1 - nu) / r2)
    v = -size / 2 / np.pi * (
        (1 - 2 * nu) / 4 / (1 - nu) * np.log(r2) + (x * x - y * y) / 4 / (1 - nu) / r2
    )  # fmt: skip
    return u[:, None] * e + v[:, None] * np.array([-e[1], e[0]])


def gradient(move: Callable[[np.ndarray], np.ndarray], p: np.ndarray, step: float) -> np.ndarray:
    """Deformation gradient of a map of (x, y up), in (y down, x) of the image, shape (n, 2, 2)."""
    h = step * np.eye(2)
    f = np.stack([(move(p + h[k]) - move(p - h[k])) / (2 * step) for k in (0, 1)], -1)
    flip = np.array([[0, -1.0], [1, 0]])  # (x, y up) to (y down, x)
    return flip @ f @ flip.T


def strain_columns(f: np.ndarray) -> dict[str, np.ndarray]:
    """Left stretch less one and rotation of deformation gradients in (y down, x)."""
    angle = np.arctan2(f[:, 1, 0] - f[:, 0, 1], f[:, 0, 0] + f[:, 1, 1])
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    v = f @ np.swapaxes(turn, 1, 2)
    return {"exx": v[:, 1, 1] - 1, "eyy": v[:, 0, 0] - 1, "exy": v[:, 0, 1], "rotation": angle}


def finished(
    place: np.ndarray, height: np.ndarray, side: int, spacing: float, noise: float,
    rng: np.random.Generator, truth: dict[str, np.ndarray] | None = None, **fact: object,
) -> Made:  # fmt: skip
    """In pixels of the image, with noise, and without what lies outside."""
    points = np.c_[side / 2 - place[:, 1], side / 2 + place[:, 0]]
    points = points + noise * rng.standard_normal(points.shape)
    made = Made(points, height, noise, side, spacing, dict(truth or {}), fact)
    return made.kept(((points > 2) & (points < side - 3)).all(1))


def atoms_of(made: Made, rng: np.random.Generator, counts: float = 0) -> pd.DataFrame:
    """Atoms table: the points themselves, or what is found in an image of them."""
    n = len(made.points)
    if counts:
        y, x = made.points.T
        one = np.ones(n)
        scene = Scene(
            (made.side, made.side), y, x, made.height, 0.24 * made.spacing * one, one, 0 * one,
            np.full(n, "column", object), np.full((made.side, made.side), 0.1),
            np.zeros((made.side, made.side), bool), made.spacing, "imperfect",
        )  # fmt: skip
        image = add_dose(scene, counts, rng)
        params = al.AnalysisParams(contours=False)
        return al.analyze(image, pixel_size_nm=PIXEL_NM, keep_maps=False, params=params).atoms
    return tables.make(
        "atoms",
        {
            "frame": 0, "atom_id": np.arange(n), "y_px": made.points[:, 0],
            "x_px": made.points[:, 1], "y_err_px": made.noise, "x_err_px": made.noise,
            "amplitude": made.height * np.exp(0.04 * rng.standard_normal(n)),
            "probability": 0.99, "species": "column", "source": "fit",
        },
        n,
    )  # fmt: skip


def answered(found: pd.DataFrame, made: Made) -> tuple[np.ndarray, np.ndarray]:
    """Rows of found atoms and the true points that they are."""
    rows = np.flatnonzero((found["source"].astype(str) != "lattice").to_numpy())
    gap, true = scipy.spatial.cKDTree(made.points).query(found[["y_px", "x_px"]].to_numpy()[rows])
    near = gap < 0.3 * made.spacing
    return rows[near], true[near]


# ------------------------------------------------------------------------- dislocations

WAYS = ("single", "pair", "wall")


def dislocated(k: int, rng: np.random.Generator) -> Made:
    """Edge dislocations: one anywhere in the middle, a pair of opposite ones, a wall of three."""
    name = list(CRYSTALS)[k % 4]
    way = WAYS[k // 4 % 3]
    one, side = CRYSTALS[name], 420
    spacing = {"perovskite": 12.0, "dumbbell": 8.0}.get(name, 14.0)
    turn = rng.uniform(0, 2 * np.pi)
    place, sub, cell = filled(one, spacing, side, turn, rng)
    which = (1, 0) if name != "dumbbell" or rng.random() < 0.5 else (0, 1)
    b = np.array(which, float) @ cell * rng.choice([-1, 1])
    across = np.array([-b[1], b[0]]) / np.linalg.norm(b)
    middle = rng.uniform(-0.12, 0.12, 2) * side
    if way == "single":
        cores, vectors = [middle], [b]
    elif way == "pair":
        apart = rng.uniform(6, 9) * np.linalg.norm(b)
        tilt = rng.uniform(-0.6, 0.6)
        d = apart * (np.cos(tilt) * b / np.linalg.norm(b) + np.sin(tilt) * across) / 2
        cores, vectors = [middle - d, middle + d], [b, -b]
    else:
        gap = rng.uniform(5, 7) * np.linalg.norm(b)
        cores, vectors = [middle + (j - 1) * gap * across for j in range(3)], [b] * 3

    def moved(r: np.ndarray) -> np.ndarray:
        return sum(edge(r, c, v) for c, v in zip(cores, vectors, strict=True))

    # displacements are told where the atoms are: so the crystal is whole across every cut, where
    # they jump by a vector of the lattice. From everywhere to the next site, wherever that is
    inverse, height = np.linalg.inv(cell), one.height
    shift = place[0] @ inverse - one.basis[sub[0]]
    line = np.arange(-0.55 * side, 0.55 * side, 0.45 * spacing)
    at = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    for _ in range(10):
        home = at - moved(at)
        step = (home @ inverse)[:, None] - shift - one.basis
        off = (step - np.rint(step)) @ cell
        sub = np.linalg.norm(off, axis=2).argmin(1)
        flip = np.array([[0, -1.0], [1, 0]])
        slope = flip.T @ gradient(moved, at, 1e-3 * spacing) @ flip
        miss = off[np.arange(len(at)), sub]
        at = at - np.einsum("nij,nj->ni", np.linalg.inv(np.eye(2) - slope), miss)
    good = np.linalg.norm(miss, axis=1) < 1e-3 * spacing
    at, sub = at[good], sub[good]
    twice = scipy.spatial.cKDTree(at).query_pairs(0.4 * spacing, output_type="ndarray")
    keep = np.ones(len(at), bool)
    keep[twice.max(1)] = False
    at, sub = at[keep], sub[keep]
    slope = gradient(moved, at, 1e-3 * spacing)
    truth = strain_columns(np.linalg.inv(np.eye(2) - slope)) | {
        "gap": np.min([np.linalg.norm(at - c, axis=1) for c in cores], axis=0)
    }
    ring = spacing if name != "dumbbell" else float(np.linalg.norm(cell[0]))
    return finished(
        at, height[sub], side, spacing, 0.05, rng, truth, name=name, way=way, ring=ring,
        cores=np.array([[side / 2 - c[1], side / 2 + c[0]] for c in cores]),
        burgers=np.array([[-v[1], v[0]] for v in vectors]),
        cell=np.c_[-cell[:, 1], cell[:, 0]],
    )  # fmt: skip


def score_dislocated(made: Made, found: al.Lattice) -> dict[str, object]:
    """Rings of 5 spacings about the cores, wrong sites, z, and the vectors of Burgers."""
    rows, true = answered(found.atoms, made)
    t = found.atoms.iloc[rows]
    got, error = t["exx"].to_numpy(), t["exx_err"].to_numpy()
    want, gap = made.truth["exx"][true], made.truth["gap"][true]
    p = t[["y_px", "x_px"]].to_numpy()
    inner = ((p > 2 * made.spacing) & (p < made.side - 2 * made.spacing)).all(1)
    ring = np.floor(gap / (5 * float(str(made.fact["ring"])))).astype(int)
    beyond = inner & (ring >= 1)
    off = got - want
    known = beyond & np.isfinite(off)
    rings = [
        float(np.median(off[known & (ring == r)]))
        for r in range(1, 8)
        if (known & (ring == r)).sum() >= 20
    ]
    z = off[known] / error[known]
    out: dict[str, object] = {
        "worst ring (%)": 100 * float(max(np.abs(rings), default=np.nan)),
        "sd of z": float(np.std(z)),
        "wrong (%)": 100 * float(np.mean(np.abs(off[known]) > 0.03 + 3 * error[known])),
        "no strain (%)": 100 * float(1 - known.sum() / beyond.sum()),
        "vacancies": int((found.atoms["species"] == "vacancy").sum()),
        "regions": len(found.lattices),
    }
    table = getattr(found, "dislocations", None)
    cores, burgers = made.fact["cores"], made.fact["burgers"]
    if table is None:
        return out | {"vectors right": False, "core off (spacings)": np.nan}
    place = table[["y_px", "x_px"]].to_numpy()
    vector = table[["burgers_y_px", "burgers_x_px"]].to_numpy()
    right = len(place) == len(cores)
    miss = []
    for c, b in zip(cores, burgers, strict=True):
        gaps = np.linalg.norm(place - c, axis=1)
        j = int(np.argmin(gaps)) if len(gaps) else -1
        # to the nearest vector of the lattice
        hit = j >= 0 and gaps[j] < 4 * made.spacing
        right &= hit and np.linalg.norm(vector[j] - b) < 0.3 * np.linalg.norm(b)
        miss.append(gaps[j] / made.spacing if j >= 0 else np.nan)
    return out | {"vectors right": bool(right), "core off (spacings)": float(np.mean(miss))}


# ------------------------------------------------------------------ twins and two phases


def twinned(k: int, rng: np.random.Generator) -> Made:
    """A coherent twin: rows that shift one way, and beyond the plane the other way."""
    side, spacing = 340, float(rng.uniform(12, 15))
    period = spacing * float(rng.uniform(1.0, 1.1))
    shift = 1 / 3
    row = np.sqrt(spacing**2 - (period * shift) ** 2) if k % 2 else 0.943 * period
    half = int(side / row) + 3
    plane = int(rng.uniform(-0.3, 0.3) * side / row)
    rows = np.arange(-half, half + 1)
    phase = np.where(rows <= plane, rows, 2 * plane - rows) * shift
    columns = np.arange(-half - 4, half + 5)
    place = np.stack(
        [(columns[None] + phase[:, None] % 1) * period, np.broadcast_to(rows[:, None] * row,
         (len(rows), len(columns)))], -1).reshape(-1, 2)  # fmt: skip
    side_of = np.repeat(rows <= plane, len(columns)).astype(int)
    on_plane = np.repeat(np.abs(rows - plane) <= 1, len(columns))
    turn = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    noise = float(rng.choice([0.05, 0.15, 0.3]))
    cell = (period, float(np.hypot(period * shift, row)))
    return finished(
        place @ np.array([[c, s], [-s, c]]), np.ones(len(place)), side, spacing, noise, rng,
        {"part": side_of, "plane": on_plane}, cell=[sorted(cell)] * 2,
    )  # fmt: skip


def packed(n: int, area: float, rng: np.random.Generator) -> np.ndarray:
    """Fractional places of `n` atoms in a square cell, far apart, without a shorter period."""
    best, widest = np.zeros((n, 2)), 0.0
    shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    for _ in range(400):
        f = rng.uniform(0, 1, (n, 2))
        for _ in range(15):  # pushed apart
            d = f[:, None, None] - f[None, :, None] - shifts
            r = np.linalg.norm(d, axis=-1)
            r[r < 1e-9] = np.inf
            f = (f + 0.02 * (d / r[..., None] ** 3).sum((1, 2)) / n) % 1
        d = f[:, None, None] - f[None, :, None] - shifts
        r = np.linalg.norm(d, axis=-1)
        r[r < 1e-9] = np.inf
        if r.min() > widest:
            best, widest = f, float(r.min())
        if widest * np.sqrt(area) > 0.8:
            break
    return best


def two_phases(k: int, rng: np.random.Generator) -> Made:
    """Two crystals with an interface; the area of the second cell is the ratio squared."""
    side, spacing = 520, 14.0
    ratio = float(np.exp(rng.uniform(np.log(1.05), np.log(10.0 if k % 2 else 2.0))))
    n = max(1, round(ratio**2 / 1.6)) if ratio > 1.5 else 1
    n = min(n, 12)
    length = ratio if ratio <= 1.5 else float(np.sqrt(1.25 * n))
    basis = packed(n, length**2, rng) if n > 1 else np.zeros((1, 2))
    height = np.where(np.arange(n) % 2 == 0, 1.0, 0.6)
    other = Crystal(length * np.eye(2), basis, height)
    first = CRYSTALS[("square", "hexagonal", "perovskite")[k % 3]]
    turn = rng.uniform(0, 2 * np.pi)
    around = turn if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
    p1, s1, c1 = filled(first, spacing, side, turn, rng)
    p2, s2, c2 = filled(other, spacing, side, around, rng)
    tilt, at = rng.uniform(0, 2 * np.pi), rng.uniform(-0.15, 0.15) * side
    normal = np.array([np.cos(tilt), np.sin(tilt)])
    k1, k2 = p1 @ normal < at - 0.2 * spacing, p2 @ normal > at + 0.2 * spacing
    p1, s1, p2, s2 = p1[k1], s1[k1], p2[k2], s2[k2]
    far = scipy.spatial.cKDTree(p1).query(p2)[0] > 0.75 * spacing
    p2, s2 = p2[far], s2[far]
    place = np.r_[p1, p2]
    truth = {
        "part": np.r_[np.zeros(len(p1), int), np.ones(len(p2), int)],
        "plane": np.abs(place @ normal - at) < 1.5 * spacing,
    }
    cells = [sorted(np.linalg.norm(c, axis=1).tolist()) for c in (c1, c2)]
    return finished(
        place, np.r_[first.height[s1], 0.8 * other.height[s2]], side, spacing, 0.1, rng, truth,
        cell=cells, ratio=length, n=n,
    )  # fmt: skip


def score_parts(made: Made, found: al.Lattice) -> dict[str, object]:
    """Whether each part is a region with its own primitive cell."""
    rows, true = answered(found.atoms, made)
    t = found.atoms.iloc[rows]
    region, part = t["region"].to_numpy(), made.truth["part"][true]
    away = ~made.truth["plane"][true]
    good, cells, main = [], [], []
    for p in (0, 1):
        mine = region[(part == p) & away]
        own = int(np.bincount(mine[mine >= 0]).argmax()) if (mine >= 0).any() else -1
        main.append(own)
        good.append(float((mine == own).mean()))
        if own >= 0:
            row = found.lattices[found.lattices["region"] == own].iloc[0]
            cell = sorted((row["a_px"], row["b_px"]))
            cells.append(bool(np.allclose(cell, made.fact["cell"][p], rtol=0.02)))
        else:
            cells.append(False)
    moved = np.hypot(t["dy_px"], t["dx_px"]).to_numpy()[region >= 0]
    vacant = int((found.atoms["species"] == "vacancy").sum())
    return {
        "right": main[0] != main[1] and all(cells) and min(good) > 0.93,
        "in their region (%)": 100 * min(good),
        "displacement over noise": float(np.sqrt(np.mean(moved**2) / 2) / made.noise),
        "vacancies per 1,000": 1000 * vacant / max(len(t), 1),
        "two cells": all(cells),
        "said": found.messages[0][:60] if found.messages else "",
    }


# --------------------------------------------------------- superstructures and plain ones


def ordered(k: int, rng: np.random.Generator) -> Made:
    """A crystal whose cell is doubled, by a movement or by brightness."""
    spacing, side, noise = 14.0, 340, float(rng.choice([0.05, 0.1, 0.2]))
    name = ("square", "hexagonal", "perovskite", "square")[k % 4]
    kind = ("antipolar", "dimerised", "brightness", "polar")[k // 4 % 4]
    one = CRYSTALS[name]
    place, sub, cell = filled(one, spacing, side, rng.uniform(0, 2 * np.pi), rng)
    index = np.rint(place @ np.linalg.inv(cell) - one.basis[sub] - 0.0)
    origin = (place - (one.basis[sub] + index) @ cell)[0]
    index = np.rint((place - origin) @ np.linalg.inv(cell) - one.basis[sub]).astype(int)
    turn = index[:, 1] % 2 if kind in ("antipolar", "brightness") else index[:, 0] % 2
    if kind == "polar":
        turn = (index[:, 0] + index[:, 1]) % 2
    along = cell[0] / np.linalg.norm(cell[0])
    size = noise * float(rng.uniform(5, 15))
    height = one.height[sub].astype(float)
    mine = sub == 0 if kind != "brightness" or name != "perovskite" else sub == 1
    if kind == "brightness":
        height = np.where(mine & (turn == 1), height * (1 - float(rng.uniform(0.1, 0.3))), height)
    else:
        place = place + np.where(mine, (turn - 0.5) * size, 0.0)[:, None] * along
    area = 2 * abs(float(np.linalg.det(cell)))
    return finished(place, height, side, spacing, noise, rng, area=area, kind=kind, name=name)


def plain(k: int, rng: np.random.Generator) -> Made:
    """A perfect crystal, slightly strained, some atoms missing."""
    spacing, side, noise = float(rng.uniform(10, 16)), 300, float(rng.choice([0.05, 0.15, 0.4]))
    one = CRYSTALS[list(CRYSTALS)[k % 4]]
    place, sub, cell = filled(one, spacing, side, rng.uniform(0, 2 * np.pi), rng)
    f = np.eye(2) + rng.normal(0, 0.01, (2, 2))
    gone = rng.random(len(place)) < rng.choice([0, 0.02])
    place, sub = place[~gone], sub[~gone]
    area = abs(float(np.linalg.det(cell @ f.T)))
    return finished(place @ f.T, one.height[sub], side, spacing, noise, rng, area=area)


def score_area(made: Made, found: al.Lattice) -> dict[str, object]:
    """Whether the cell has the right area."""
    if not len(found.lattices):
        return {"right": False, "area over true": np.nan}
    row = found.lattices.iloc[0]
    area = abs(row["a_y_px"] * row["b_x_px"] - row["a_x_px"] * row["b_y_px"])
    ratio = float(area / float(str(made.fact["area"])))
    return {"right": abs(ratio - 1) < 0.05, "area over true": ratio}


# ------------------------------------------------------------------------ smooth strain


def bent(k: int, rng: np.random.Generator) -> Made:
    """Strain to 15 % that changes over the field, or a lattice bent by 30 degrees."""
    spacing, side = 14.0, 420
    name = list(CRYSTALS)[k % 4]
    one = CRYSTALS[name]
    place, sub, _ = filled(one, spacing, 1.4 * side, rng.uniform(0, 2 * np.pi), rng)
    if k // 4 % 2:
        radius = side / np.deg2rad(rng.uniform(20, 35))

        def move(p: np.ndarray) -> np.ndarray:
            angle = p[:, 0] / radius
            return np.c_[(radius + p[:, 1]) * np.sin(angle), (radius + p[:, 1]) * np.cos(angle)
                         - radius]  # fmt: skip

    else:
        wave, phase, size = rng.uniform(0.6, 1.0) * side, rng.uniform(0, 2 * np.pi), 0.15

        def move(p: np.ndarray) -> np.ndarray:
            arc = 2 * np.pi / wave
            return p + np.c_[size / arc * np.sin(arc * p[:, 0] + phase), 0 * p[:, 0]]

    truth = strain_columns(gradient(move, place, 1e-3 * spacing))
    return finished(
        move(place), one.height[sub], side, spacing, 0.05, rng, truth, name=name,
        way="bent" if k // 4 % 2 else "strained",
    )  # fmt: skip


def score_bent(made: Made, found: al.Lattice) -> dict[str, object]:
    """Strain but for its mean, which the mean lattice has."""
    rows, true = answered(found.atoms, made)
    t = found.atoms.iloc[rows]
    off = t["exx"].to_numpy() - made.truth["exx"][true]
    turn = t["rotation_rad"].to_numpy() - made.truth["rotation"][true]
    whole = t["region"].to_numpy() == 0
    off, turn = off[whole] - np.nanmedian(off[whole]), turn[whole] - np.nanmedian(turn[whole])
    return {
        "in one region (%)": 100 * float(whole.mean()),
        "wrong (%)": 100 * float(np.nanmean((np.abs(off) > 0.04) | (np.abs(turn) > 0.05))),
        "vacancies": int((found.atoms["species"] == "vacancy").sum()),
        "right": bool(whole.mean() > 0.95),
    }


KINDS: dict[str, tuple[Callable, Callable]] = {
    "dislocations": (dislocated, score_dislocated),
    "twins": (twinned, score_parts),
    "phases": (two_phases, score_parts),
    "superstructures": (ordered, score_area),
    "plain": (plain, score_area),
    "strained": (bent, score_bent),
}


def run(kind: str, n: int, counts: float, each: bool) -> list[str]:
    """Measure `n` of a kind: lines of the table."""
    make, score = KINDS[kind]
    rows, taken = [], 0.0
    for k in range(n):
        rng = np.random.default_rng(seed_for("benchmark", 21_000_000 + 10_000 * len(kind) + k))
        made = make(k, rng)
        atoms = atoms_of(made, rng, counts)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                got = score(made, al.measure_lattice(atoms, pixel_size_nm=PIXEL_NM))
            except Exception as error:  # a raw error is a result, too
                got = {"right": False, "vectors right": False, "raw": repr(error)[:80]}
        taken += time.process_time() - start
        facts = {a: b for a, b in made.fact.items() if isinstance(b, (str, int, float))}
        rows.append({"raw": ""} | facts | got)
        if each:
            print(k, {a: round(b, 3) if isinstance(b, float) else b for a, b in rows[-1].items()},
                  file=sys.stderr, flush=True)  # fmt: skip
    table = pd.DataFrame(rows)
    lines = [f"| {kind} ({n}) | value |", "|---|---|"]
    for name in table:
        values = table[name]
        if name == "raw":
            lines.append(f"| raw errors | {int((values != '').sum())} |")
        elif set(values.dropna().map(type)) == {bool}:
            lines.append(f"| {name} | {int(values.fillna(False).sum())} of {n} |")
        elif values.map(type).eq(str).any() or name in ("ratio", "n", "area", "ring"):
            continue
        else:
            v = values.astype(float)
            lines.append(f"| {name}: median | {v.median():.3g} |")
            lines.append(f"| {name}: worst of 95 % | {v.quantile(0.95):.3g} |")
    lines.append(f"| CPU of each (s) | {taken / n:.2f} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--n", type=int, default=24, help="of each kind")
    parser.add_argument("--counts", type=float, default=0, help="through an image; 0: the points")
    parser.add_argument("--each", action="store_true", help="also say each one")
    parser.add_argument("--out", type=Path)
    with Report("imperfect", parser) as report:
        args = report.args
        way = f"from images of {args.counts:g} counts" if args.counts else "from points"
        lines = ["# Crystals that are not perfect", "",
                 f"Made by `python benchmarks/imperfect.py --n {args.n}`, {way}.", ""]  # fmt: skip
        for kind in args.kinds.split(","):
            lines += run(kind, args.n, args.counts, args.each)
        text = "\n".join(lines)
        if args.out:
            args.out.write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
