"""Simulated movies with truth: who is who in every frame, and what happened when."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns


@dataclass(frozen=True)
class Movie:
    """A simulated movie.

    Attributes
    ----------
    name : str
    data : ndarray of float32, shape (T, H, W)
        Counts per pixel.
    pixel_size_nm, time_step_s : float
    truth : pandas.DataFrame
        One row per object and frame: ``frame``, ``id``, ``y_px``, ``x_px``, ``state`` and what
        else the maker of the movie knows.
    events : pandas.DataFrame
        What happened: ``frame``, ``id``, ``kind``, ``size``.
    drift : ndarray, shape (T, 2)
        (y, x) of each frame in pixels, zero in the first.
    """

    name: str
    data: np.ndarray
    pixel_size_nm: float
    time_step_s: float
    truth: pd.DataFrame
    events: pd.DataFrame
    drift: np.ndarray
    extra: dict[str, float] = field(default_factory=dict)


def _row_shift(height: int, rng: np.random.Generator, jitter_px: float) -> np.ndarray | None:
    return jitter_px * rng.standard_normal(height) if jitter_px else None


def silicon_110(
    size_px: int = 256,
    n_frames: int = 50,
    *,
    pixel_size_nm: float = 0.0136,
    counts: float = 1000.0,
    background: float = 0.2,
    sigma_nm: float = 0.045,
    drift_px: tuple[float, float] = (0.35, 0.2),
    rotation_rad: float = 0.12,
    row_jitter_px: float = 0.0,
    stretched: float = 0.0,
    stretch_nm: float = 0.010,
    stepped: float = 0.0,
    step_nm: float = 0.008,
    step_rad: float = np.deg2rad(4.0),
    first_step: int = 5,
    impurity: bool = False,
    vacancies: int = 0,
    seed: int = 0,
    render: bool = True,
) -> Movie:
    """Dumbbells of Si <110> (135.8 pm) seen from frame to frame.

    Parameters
    ----------
    size_px, n_frames : int
        Side of a frame, and their number.
    counts, background : float
        Counts integrated over a column, and background over the height of its peak.
    sigma_nm : float
        Width of a column.
    drift_px : tuple of float
        (y, x) per frame.
    row_jitter_px : float
        Rms jitter of the scan rows along x.
    stretched, stretch_nm : float
        Part of the dumbbells that become longer, and by how much from the first to the last
        frame.
    stepped, step_nm, step_rad : float
        Part of the dumbbells that change once, half of them their length and half their angle.
    first_step : int
        Steps happen at least so many frames away from either end.
    impurity : bool
        A heavy (Bi-like) atom passes through, pushing the dumbbells round it aside.
    vacancies : int
        Vacancies that hop from column to column: the column loses a tenth of its light and its
        dumbbell 8 pm of its length.
    seed : int
    render : bool
        Make the pixels; without them only truth.

    Returns
    -------
    Movie
        Truth per dumbbell and frame, with ``length_px``, ``angle_rad`` and ``end`` positions
        ``ay_px``, ``ax_px``, ``by_px``, ``bx_px``. The angle goes from a to b.
    """
    rng = np.random.default_rng(seed)
    spacing = 0.1358 / pixel_size_nm
    sigma = sigma_nm / pixel_size_nm
    drift = np.arange(n_frames)[:, None] * np.asarray(drift_px, float)
    room = np.abs(drift[-1]) + 3 * spacing
    crystal = crystals.dumbbell()
    shape = (size_px + int(2 * room[0]), size_px + int(2 * room[1]))
    points, index = crystals.fill(
        crystal, shape, spacing, rotation_rad, tuple(rng.uniform(0, 3 * spacing, 2))
    )
    c, s = np.cos(rotation_rad), np.sin(rotation_rad)
    vector = crystal.basis[1] @ np.array([[c, s], [-s, c]]) * spacing
    centre = points[index == 0] + vector / 2 - room
    n = len(centre)
    angle0 = float(np.arctan2(-vector[0], vector[1]))
    length = np.full((n, n_frames), spacing)
    angle = np.full((n, n_frames), angle0)
    t = np.arange(n_frames)
    events: list[tuple[int, int, str, float]] = []
    ramp = np.flatnonzero(rng.random(n) < stretched)
    length[ramp] += stretch_nm / pixel_size_nm * t / max(n_frames - 1, 1)
    events += [(0, int(i), "length trend", stretch_nm / pixel_size_nm) for i in ramp]
    for i in np.flatnonzero(rng.random(n) < stepped):
        k = int(rng.integers(first_step, max(n_frames - first_step, first_step) + 1))
        sign = float(rng.choice([-1, 1]))
        if rng.random() < 0.5:
            length[i, k:] += sign * step_nm / pixel_size_nm
            events.append((k, int(i), "length step", sign * step_nm / pixel_size_nm))
        else:
            angle[i, k:] += sign * step_rad
            events.append((k, int(i), "angle step", sign * step_rad))
    bright = np.ones((2, n, n_frames))
    push = np.zeros((n, n_frames, 2))
    inside = np.flatnonzero(np.all((centre > 0) & (centre < size_px), axis=1))
    for _ in range(vacancies):
        at, end = int(rng.choice(inside)), int(rng.integers(2))
        for k in range(n_frames):
            if k and rng.random() < 0.15:  # hops to a neighbour
                near = np.argsort(((centre - centre[at]) ** 2).sum(1))[1:7]
                events.append((k, at, "vacancy left", 0.0))
                at, end = int(rng.choice(near)), int(rng.integers(2))
                events.append((k, at, "vacancy came", 0.0))
            bright[end, at, k] *= 0.9
            length[at, k] -= 0.008 / pixel_size_nm
    if impurity:
        for k in range(n_frames):
            part = k / max(n_frames - 1, 1)
            where = np.array([(0.5 + 0.15 * np.sin(5 * part)) * size_px, part * size_px])
            off = centre - where
            r = np.linalg.norm(off, axis=1)
            at = int(np.argmin(r))
            if k == 0 or bright[0, at, k - 1] < 1.5:
                events.append((k, at, "impurity came", 0.0))
            bright[0, at, k] *= 2.2
            reach = 0.45 / pixel_size_nm
            push[:, k] += (
                0.012 / pixel_size_nm * np.exp(-((r / reach) ** 2))[:, None]
                * off / np.maximum(r, 1e-9)[:, None]
            )  # fmt: skip
            length[:, k] += 0.006 / pixel_size_nm * np.exp(-((r / reach) ** 2))
    half = 0.5 * np.stack([-length * np.sin(angle), length * np.cos(angle)], -1)
    middle = centre[:, None] + drift[None] + push
    a, b = middle - half, middle + half
    peak = counts / (2 * np.pi * sigma**2)
    data = np.zeros((n_frames, size_px, size_px) if render else (n_frames, 1, 1), np.float32)
    if render:
        for k in range(n_frames):
            both = np.concatenate([a[:, k], b[:, k]])
            height = peak * np.concatenate([bright[0, :, k], bright[1, :, k]])
            near = np.all((both > -6 * sigma) & (both < size_px + 6 * sigma), axis=1)
            clean = background * peak + render_columns(
                (size_px, size_px), both[near, 0], both[near, 1], height[near], sigma,
                row_shift=_row_shift(size_px, rng, row_jitter_px), reach=5,
            )  # fmt: skip
            data[k] = faults.shot_noise(clean, rng)
    frame = np.tile(t, n)
    truth = pd.DataFrame(
        {
            "frame": frame, "id": np.repeat(np.arange(n), n_frames),
            "y_px": middle[..., 0].ravel(), "x_px": middle[..., 1].ravel(), "state": "dumbbell",
            "length_px": length.ravel(), "angle_rad": angle.ravel(),
            "ay_px": a[..., 0].ravel(), "ax_px": a[..., 1].ravel(),
            "by_px": b[..., 0].ravel(), "bx_px": b[..., 1].ravel(),
        }
    )  # fmt: skip
    return Movie(
        "Si <110> movie (simulated)", data, pixel_size_nm, 0.5, truth,
        pd.DataFrame(events, columns=["frame", "id", "kind", "size"]), drift,
    )  # fmt: skip


def ws2_decomposing(
    size_px: int = 256,
    n_frames: int = 40,
    *,
    pixel_size_nm: float = 0.03,
    time_step_s: float = 2.25,
    d_nm2_s: float = 2e-3,
    n_vacancies: int = 30,
    counts: float = 400.0,
    drift_px: tuple[float, float] = (0.15, -0.1),
    holes: int = 2,
    fragments: int = 1,
    seed: int = 0,
) -> Movie:
    """WS2 under the beam: sulphur vacancies that diffuse, holes that open, fragments that turn.

    Vacancies hop between neighbouring sulphur sites at the rate that gives the diffusion
    coefficient `d_nm2_s` (rate = 4 D / a^2 for hops of length a in any direction).

    Returns
    -------
    Movie
        Truth per vacancy and frame, ``state`` "V_S"; ``extra`` holds D.
    """
    rng = np.random.default_rng(seed)
    a_nm = 0.315
    spacing = a_nm / np.sqrt(3) / pixel_size_nm
    drift = np.arange(n_frames)[:, None] * np.asarray(drift_px, float)
    room = np.abs(drift[-1]) + 3 * spacing
    shape = (size_px + int(2 * room[0]), size_px + int(2 * room[1]))
    points, index = crystals.fill(crystals.tmd(0.35), shape, spacing, 0.3, (5.0, 5.0))
    points = points - room
    sulphur = np.flatnonzero(index == 1)
    places = points[sulphur]
    inside = np.flatnonzero(np.all((places > 12) & (places < size_px - 12), axis=1))
    at = rng.choice(inside, min(n_vacancies, len(inside)), replace=False)
    rate = 4 * d_nm2_s / a_nm**2 * time_step_s  # hops expected per frame
    sigma = 0.25 * spacing
    centres = rng.uniform(0.25, 0.75, (holes, 2)) * size_px
    turning = rng.uniform(0.2, 0.8, (fragments, 2)) * size_px
    events: list[tuple[int, int, str, float]] = []
    rows, data = [], np.zeros((n_frames, size_px, size_px), np.float32)
    peak = counts / (2 * np.pi * sigma**2 * 0.35)
    gap = a_nm / pixel_size_nm
    for k in range(n_frames):
        if k:
            for v in range(len(at)):
                for _ in range(rng.poisson(rate)):
                    near = np.flatnonzero(
                        np.abs(np.hypot(*(places - places[at[v]]).T) - gap) < 0.1 * gap
                    )
                    new = int(rng.choice(near))
                    if new not in at and len(near) == 6:
                        at[v] = new
                        events.append((k, v, "hop", gap))
        height = np.where(index == 0, 1.0, 0.35)
        height[sulphur[at]] *= 0.5
        here = points.copy()
        keep = np.ones(len(points), bool)
        grown = max(0.0, (k - 0.3 * n_frames) / max(0.7 * n_frames, 1))
        for h, centre in enumerate(centres):
            radius = grown * (2.5 + 1.5 * h) * gap
            keep &= np.hypot(*(points - centre).T) > radius
            if k and radius > 0 and k == int(0.3 * n_frames) + 1:
                events.append((k, h, "hole opens", radius))
        for centre in turning:
            near = np.hypot(*(points - centre).T) < 3.2 * gap
            turn = grown * 0.25
            rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            here[near] = (points[near] - centre) @ rotation + centre
        moved = here + drift[k]
        clean = 0.05 * peak + render_columns(
            (size_px, size_px), moved[keep, 0], moved[keep, 1], peak * height[keep], sigma
        )
        data[k] = faults.shot_noise(clean, rng)
        for v, site in enumerate(at):
            if keep[sulphur[site]]:
                rows.append((k, v, *moved[sulphur[site]], "V_S"))
    return Movie(
        "WS2 decomposing (simulated)", data, pixel_size_nm, time_step_s,
        pd.DataFrame(rows, columns=["frame", "id", "y_px", "x_px", "state"]),
        pd.DataFrame(events, columns=["frame", "id", "kind", "size"]), drift,
        {"d_nm2_s": d_nm2_s},
    )  # fmt: skip


def buckybowls(
    size_px: int = 256,
    n_frames: int = 20,
    *,
    pixel_size_nm: float = 0.06,
    flip: float = 0.01,
    noise: float = 0.08,
    drift_px: tuple[float, float] = (0.3, 0.1),
    seed: int = 0,
) -> Movie:
    """Film of bowl-shaped molecules in STM that stand up or down and flip now and then.

    A bowl with its rim up is a ring with a dip, one turned down a higher round dome. A bowl
    tends to be down where its neighbours are up (one in six is down at first).

    Parameters
    ----------
    flip : float
        Chance per molecule and frame to turn over.
    noise : float
        Rms noise over the height of a dome.

    Returns
    -------
    Movie
        Truth per molecule and frame, ``state`` "up" or "down".
    """
    rng = np.random.default_rng(seed)
    spacing = 1.1 / pixel_size_nm
    drift = np.arange(n_frames)[:, None] * np.asarray(drift_px, float)
    room = np.abs(drift[-1]) + 2 * spacing
    shape = (size_px + int(2 * room[0]), size_px + int(2 * room[1]))
    points, _ = crystals.fill(crystals.molecules(), shape, spacing, 0.2, (3.0, 3.0))
    points = points - room
    down = np.zeros(len(points), bool)
    near = [np.flatnonzero(np.hypot(*(points - p).T) < 1.2 * spacing) for p in points]
    for i in rng.permutation(len(points)):
        if not down[near[i]].any():
            down[i] = rng.random() < 0.5
    rows, events = [], []
    data = np.zeros((n_frames, size_px, size_px), np.float32)
    size = (size_px, size_px)
    for k in range(n_frames):
        if k:
            for i in np.flatnonzero(rng.random(len(points)) < flip):
                down[i] = ~down[i]
                events.append((k, int(i), "down" if down[i] else "up", 1.0))
        here = points + drift[k]
        y, x = here.T
        rim = render_columns(size, y, x, np.where(down, 1.0, 0.75), 0.30 * spacing)
        dip = render_columns(size, y[~down], x[~down], np.full((~down).sum(), 0.45), 0.13 * spacing)
        image = rim - dip + noise * rng.standard_normal(size)
        data[k] = image + 0.04 * faults.pink_rows(size, rng, 1.0)
        visible = np.flatnonzero(np.all((here >= 0) & (here <= size_px - 1), axis=1))
        rows += [(k, int(i), *here[i], "down" if down[i] else "up") for i in visible]
    return Movie(
        "buckybowls (simulated)", data, pixel_size_nm, 60.0,
        pd.DataFrame(rows, columns=["frame", "id", "y_px", "x_px", "state"]),
        pd.DataFrame(events, columns=["frame", "id", "kind", "size"]), drift,
        {"flip": flip},
    )  # fmt: skip


def detections(
    truth: pd.DataFrame,
    size_px: float,
    rng: np.random.Generator,
    *,
    jitter_px: float = 0.3,
    missed: float = 0.05,
    false: float = 0.02,
) -> pd.DataFrame:
    """Detections as a detector would give them: moved a little, some missed, some invented.

    Parameters
    ----------
    truth : pandas.DataFrame
        ``frame``, ``id``, ``y_px``, ``x_px``.
    size_px : float
        Side of a frame; what lies outside is not seen.
    jitter_px : float
        Error per axis.
    missed, false : float
        Part of the true ones that is missed, and number of false ones over true ones.

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``atom_id``, ``y_px``, ``x_px``, ``y_err_px``, ``x_err_px``, ``id`` (-1 where
        false), in random order within each frame.
    """
    place = truth[["y_px", "x_px"]].to_numpy()
    inside = np.all((place >= 0) & (place <= size_px - 1), axis=1)
    keep = inside & (rng.random(len(truth)) >= missed)
    frame, ids = truth["frame"].to_numpy()[keep], truth["id"].to_numpy()[keep]
    seen = place[keep] + rng.normal(0, jitter_px, (int(keep.sum()), 2))
    expected = truth["frame"].to_numpy()[inside]
    frames, number = np.unique(expected, return_counts=True)
    invented = np.repeat(frames, rng.poisson(false * number))
    table = pd.DataFrame(
        {
            "frame": np.r_[frame, invented],
            "y_px": np.r_[seen[:, 0], rng.uniform(0, size_px - 1, len(invented))],
            "x_px": np.r_[seen[:, 1], rng.uniform(0, size_px - 1, len(invented))],
            "y_err_px": jitter_px, "x_err_px": jitter_px,
            "id": np.r_[ids, np.full(len(invented), -1)],
        }
    )  # fmt: skip
    table = table.iloc[rng.permutation(len(table))].sort_values("frame", kind="stable")
    return table.reset_index(drop=True).assign(atom_id=np.arange(len(table)))
