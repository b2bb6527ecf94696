"""Corrected frames as training data: crops at the network's sampling, turned and stretched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree
from torch.nn import functional as nnf

from napari_atomlens import points
from napari_atomlens.arrays import as_mask
from napari_atomlens.errors import ImageError, TableError
from napari_atomlens.segmentation.forward import network_size, resample
from napari_atomlens.segmentation.normalise import remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import as_frame
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.simulation.formation import render_truth
from napari_atomlens.tables import check_table, need_columns

#: Width of a column over the spacing where nobody measured it, and its outline over the width.
WIDTH, OUTLINE = 0.28, 1.18
PEAK_SIGMA = 1.3
#: Species that are the brighter of two kinds of columns.
BRIGHTER = ("bright column", "metal", "light metal", "heavy metal", "A")
#: Fewest atoms that a network can learn from.
FEWEST = 8


@dataclass(frozen=True)
class Labelled:
    """One frame and all of its atoms, as somebody (or a rule of thumb) says.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W)
    positions : ndarray, shape (n, 2)
        (y, x) in pixels of the image.
    bright : ndarray of float, shape (n,)
        1 where a column is of the class "bright column".
    radius : ndarray, shape (n,)
        Radius of each outline in pixels of the image.
    spacing_px : float
        Distance between nearest columns.
    usable : ndarray of bool, shape (H, W)
        Where the labels are to be trusted; nothing is learned elsewhere.
    named : bool
        The kinds of columns are what is learned: a column called the other kind is not found.
    """

    image: np.ndarray
    positions: np.ndarray
    bright: np.ndarray
    radius: np.ndarray
    spacing_px: float
    usable: np.ndarray
    named: bool = False


def _usable_atoms(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms without vacant sites, or say why nothing can be learned from them."""
    need_columns(atoms, ("y_px", "x_px"), "corrected atoms")
    if "source" in atoms:
        atoms = atoms[atoms["source"].astype(str) != "lattice"]
    atoms = check_table(atoms)
    if len(atoms) < FEWEST:
        raise TableError(
            f"A corrected frame needs at least {FEWEST} atoms to learn from, but this has "
            f"{len(atoms)}."
        )
    return atoms


def label_frame(
    image: np.ndarray,
    atoms: pd.DataFrame,
    spacing_px: float = 0.0,
    usable: np.ndarray | None = None,
) -> Labelled:
    """Corrected atoms of one frame as training data.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame
        With ``y_px`` and ``x_px``; ``species`` ("bright column" is a class of its own) and
        ``sigma_px`` (widths) are used where they are there. Vacant sites (``source`` is
        "lattice") are left out.
    spacing_px : float
        Distance between nearest columns; 0 measures it between the atoms.
    usable : ndarray of bool, shape (H, W), optional
        Where the labels are to be trusted; everywhere by default.

    Raises
    ------
    TableError
        If columns are missing, positions are no numbers, or there are fewer than 8 atoms.
    ImageError
        If the image cannot be used.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (96, 96), 10.0)
    >>> frame = al.label_frame(image, truth.atoms(), spacing_px=10.0)
    >>> frame.image.shape
    (96, 96)
    """
    frame, atoms = remove_hot_pixels(as_frame(image)), _usable_atoms(atoms)
    positions = atoms[["y_px", "x_px"]].to_numpy(float).copy()
    spacing = check_spacing(spacing_px, frame.shape) or points.spacing(positions)
    if not np.isfinite(spacing) or spacing <= 0:
        raise TableError("The distance between the corrected atoms could not be measured.")
    width = np.full(len(positions), np.nan)
    if "sigma_px" in atoms:
        width = atoms["sigma_px"].to_numpy(float).copy()
    typical = np.nanmedian(width) if np.isfinite(width).any() else WIDTH * spacing
    width = np.clip(np.where(np.isfinite(width), width, typical), 0.15 * spacing, 0.5 * spacing)
    nearest = cKDTree(positions).query(positions, k=2)[0][:, 1]
    radius = np.minimum(OUTLINE * width, 0.42 * np.maximum(nearest, 0.3 * spacing))
    bright = np.zeros(len(positions))
    if "species" in atoms:
        bright = (atoms["species"].astype(str) == "bright column").to_numpy().astype(float)
    trusted = np.ones(frame.shape, bool) if usable is None else as_mask(usable, "of what is usable")
    if trusted.shape != frame.shape:
        raise ImageError("The mask of what is usable does not have the size of the image.")
    return Labelled(frame, positions, bright, radius, float(spacing), trusted)


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape
    return height, width


class Crops:
    """Draws training crops from corrected frames.

    Every crop is turned by any angle (half of them by quarter turns only, which leaves the
    noise as it is), flipped and stretched a little.

    Parameters
    ----------
    frames : sequence of Labelled
    preferred_px : float
        Distance between columns that the network wants.
    size_px : int
        Side of a crop.
    seed : int
    """

    stretch = 0.10

    def __init__(
        self, frames: list[Labelled], preferred_px: float, size_px: int, seed: int
    ) -> None:
        self.size = size_px
        self.rng = np.random.default_rng(seed)
        self._frames = []
        for f in frames:
            size = network_size(_size(f.image), f.spacing_px, preferred_px)
            zoom = np.array(size) / np.array(f.image.shape)
            small = resample(torch.from_numpy(f.image)[None], size)[0]
            usable = nnf.interpolate(
                torch.from_numpy(f.usable.astype(np.float32))[None, None], size=size, mode="nearest"
            )[0, 0]
            positions = (f.positions + 0.5) * zoom - 0.5
            radius = np.maximum(f.radius * float(zoom.mean()), 1.2)
            self._frames.append((small, usable, positions, f.bright, radius))
        self._share = np.array([float(u.mean()) * u.numel() for _, u, *_ in self._frames])
        if not self._share.sum():
            raise ImageError("No part of the corrected frames is left to learn from.")

    def draw(self) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Draw one crop.

        Returns
        -------
        image : torch.Tensor, shape (size, size)
        target : ndarray of float32, shape (4, size, size)
            Coverage by column, bright column and contamination; peaks at the centres.
        weight : ndarray of float32, shape (size, size)
            1 where the labels are to be trusted.
        """
        rng, size = self.rng, self.size
        image, usable, positions, bright, radius = self._frames[
            rng.choice(len(self._frames), p=self._share / self._share.sum())
        ]
        exact = rng.random() < 0.5
        angle = 0.5 * np.pi * rng.integers(4) if exact else rng.uniform(0, 2 * np.pi)
        scale = 1.0 if exact else float(np.exp(rng.uniform(-self.stretch, self.stretch)))
        flip = -1.0 if rng.random() < 0.5 else 1.0
        h, w = image.shape
        half = 0.5 * (size - 1)
        # the middle of the crop: anywhere, so that most of the crop lies on the frame
        reach = np.minimum(half, 0.5 * (np.array([h, w]) - 1))
        centre = np.array([rng.uniform(r, s - 1 - r) for r, s in zip(reach, (h, w), strict=True)])
        if exact:
            centre = np.rint(centre - half) + half
        c, s = np.cos(angle), np.sin(angle)
        # from the crop (about its middle) to the frame (about the centre)
        matrix = np.array([[c, -s], [s, c]]) @ np.diag([1.0, flip]) / scale
        grid = np.mgrid[:size, :size].reshape(2, -1) - half
        at = (matrix @ grid + centre[:, None]).T
        normal = 2 * (at + 0.5) / np.array([h, w]) - 1
        where = torch.from_numpy(normal[:, ::-1].reshape(1, size, size, 2).astype(np.float32))
        mode = "nearest" if exact else "bicubic"
        crop = nnf.grid_sample(
            image[None, None], where, mode=mode, padding_mode="reflection", align_corners=False
        )[0, 0]
        weight = nnf.grid_sample(
            usable[None, None], where, mode="nearest", padding_mode="zeros", align_corners=False
        )[0, 0].numpy()
        there = (np.linalg.inv(matrix) @ (positions - centre).T).T + half
        near = np.all((there > -8) & (there < size + 7), axis=1)
        column, bright_map, peaks = render_truth(
            (size, size), there[near, 0], there[near, 1], radius[near] * scale,
            np.ones(near.sum()), np.zeros(near.sum()), bright[near], PEAK_SIGMA,
        )  # fmt: skip
        target = np.stack([column, bright_map, np.zeros_like(column), peaks])
        return self._weathered(crop), target.astype(np.float32), weight

    def _weathered(self, crop: torch.Tensor) -> torch.Tensor:
        """A little noise and gamma: the next frame is never exactly like this one."""
        rng = self.rng
        spread = float(crop.std()) or 1.0
        if rng.random() < 0.5:
            noise = rng.standard_normal(tuple(crop.shape)) * rng.uniform(0, 0.3) * spread
            crop = crop + torch.from_numpy(noise.astype(np.float32))
        if rng.random() < 0.3:
            low, high = float(crop.min()), float(crop.max())
            part = ((crop - low) / max(high - low, 1e-12)).clamp(0, 1)
            crop = low + (high - low) * part ** float(np.exp(rng.uniform(-0.3, 0.3)))
        return crop

    def batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw `n` crops as (views, target, weight)."""
        drawn = [self.draw() for _ in range(n)]
        views = two_views(torch.stack([d[0] for d in drawn]))
        target = torch.from_numpy(np.stack([d[1] for d in drawn]))
        return views, target, torch.from_numpy(np.stack([d[2] for d in drawn]))
