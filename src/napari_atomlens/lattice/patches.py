"""The cells that are seen in patches of an image, and the one that a region is grown from."""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens.lattice.cell import MATCH, Cloud, Patch, find_cell, translation_share

#: Atoms of a patch, and of a small one where there is a border near.
PATCH, SMALL_PATCH = 140, 48
#: So many patches are looked at closely though all show the same cell.
FEW = 3
#: A translation that holds for fewer atoms of a patch is not one of its crystal.
HOLDS = 0.9
#: A cell is the smaller one if its area is below this share of the other.
SMALLER = 0.75


def cells_at(
    cloud: Cloud,
    tree: scipy.spatial.cKDTree,
    hull: np.ndarray,
    seeds: np.ndarray,
    large: bool = False,
) -> list[tuple[Patch, int]]:
    """Cells that are found round some atoms, without those that two crystals have in common.

    In a patch that holds the border of two crystals (a twin plane), only the translations that
    both have lead from every atom to another: those of a coincidence lattice. Where a smaller
    patch at the same place, or another patch, shows a smaller cell whose translations hold there
    but not in the whole patch, the patch holds two crystals. Where there is no small cell at all,
    larger ones are looked for if `large` says so.
    """
    found = [(p, int(s)) for s in seeds if (p := find_cell(cloud, tree, hull, cloud.points[s]))]
    if not found and large:
        found = [
            (p, int(s))
            for s in seeds
            if (p := find_cell(cloud, tree, hull, cloud.points[s], large=True))
        ]
    if not found:
        return [
            (p, int(s))
            for s in seeds
            if (p := find_cell(cloud, tree, hull, cloud.points[s], SMALL_PATCH))
        ]
    chosen: list[tuple[Patch, int]] = []
    tried = 0
    for patch, seed in found:
        at = cloud.points[seed]
        small = None
        # if all patches hold the border, a few tell so; else some show the smaller cell
        doubtful = any(is_smaller(p, patch) for p, _ in found) or tried < FEW
        if doubtful and abs(np.linalg.det(patch.cell)) > 1.5 * patch.spacing**2:
            tried += 1
            small = find_cell(cloud, tree, hull, at, SMALL_PATCH)
        if (
            small is not None
            and is_smaller(small, patch)
            and share_of(cloud, tree, hull, at, small, SMALL_PATCH) > HOLDS
            and share_of(cloud, tree, hull, at, small, PATCH) < HOLDS
        ):
            patch = small
        chosen.append((patch, seed))
    kept = []
    for patch, seed in chosen:
        at = cloud.points[seed]
        others = [p for p, _ in chosen if is_smaller(p, patch) and holds_in(p, patch)]
        if not others or all(share_of(cloud, tree, hull, at, p, PATCH) > HOLDS for p in others):
            kept.append((patch, seed))
    return kept


def is_smaller(one: Patch, other: Patch) -> bool:
    """Whether a cell is the smaller one."""
    return bool(abs(np.linalg.det(one.cell)) < SMALLER * abs(np.linalg.det(other.cell)))


def holds_in(one: Patch, other: Patch) -> bool:
    """Whether the translations of the other cell are translations of the one."""
    step = other.cell @ np.linalg.inv(one.cell)
    off = np.linalg.norm((step - np.rint(step)) @ one.cell, axis=1)
    return bool((off < MATCH * one.spacing).all())


def share_of(
    cloud: Cloud,
    tree: scipy.spatial.cKDTree,
    hull: np.ndarray,
    at: np.ndarray,
    patch: Patch,
    n_atoms: int,
) -> float:
    """Share of the atoms round a place from which a cell leads to an atom, however bright."""
    near = np.atleast_1d(tree.query(at, k=min(n_atoms, len(cloud.points)))[1])
    refs = near[cloud.free[near]]
    ring = np.array([patch.cell[0], patch.cell[1], patch.cell[0] + patch.cell[1]])
    return float(translation_share(cloud, tree, hull, refs, ring, MATCH * patch.spacing)[0].min())


def best_of(found: list[tuple[Patch, int]]) -> tuple[Patch, int]:
    """Choose the patch to grow from: the largest cell that several good patches agree on.

    Where two sublattices are equally bright in a part of the image (a layer of another
    material) the patches there see a smaller cell than the crystal has.
    """
    top = max(p.score for p, _ in found)
    good = [(p, s) for p, s in found if p.score >= 0.88 * top]
    area = np.array([abs(np.linalg.det(p.cell)) for p, _ in good])
    agree = (np.abs(area[:, None] / area[None] - 1) < 0.08).sum(1)
    sure = agree >= max(2, 0.2 * len(found))
    if not sure.any():
        return max(good, key=lambda f: f[0].score)
    wide = area > 0.9 * area[sure].max()
    return max((f for f, w in zip(good, wide & sure, strict=True) if w), key=lambda f: f[0].score)
