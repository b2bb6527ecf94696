"""Species and false defects on multislice images, whose probe, detector and thickness are no bank's.

    python benchmarks/names_multislice.py --cells FOLDER [--make] [--crystals MoS2 ...] [--seeds 1]

``--make`` computes one unit cell of each crystal with abTEM (extra ``[train]``; minutes each) into
FOLDER. Each cell is then repeated, turned, distorted by 2 % and sampled at a size of its own, blurred
by the source, and counted at 60, 300 and 3,000 counts in the faintest column that is asked for. What is
right is what `names.py` calls so; columns of O and N alone are not asked for.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from names import SIDE, species_table
from report import Report
from scipy import ndimage as ndi
from scipy.optimize import nnls

#: Beam (kV), semi-angle (mrad), detector (mrad), scan step and sampling (nm) of layers, of the rest.
LAYER = (80, 26, (65, 180), 0.018, 0.0088)
THICK = (200, 24, (65, 105), 0.022, 0.0076)
THICKNESS_NM = 4.0
#: Thermal displacement (nm), without which heavy columns are too dim, and configurations.
PHONON_NM, CONFIGURATIONS = 0.008, 4
#: Fainter columns, over the brightest, are not asked for.
FAINTEST = 0.12


def _layer(a: float, metal: str, other: str, height: float) -> tuple:
    b = a / np.sqrt(3)
    cell = np.array([a, 3 * b, 0.6])
    atoms = []
    for x, y in ((0, 0), (a / 2, 1.5 * b)):
        atoms.append((metal, (x, y, 0.3)))
        for dz in (-height / 2, height / 2) if height else (0,):
            atoms.append((other, (x, (y + b) % cell[1], 0.3 + dz)))
    return cell, atoms, LAYER


def _thick(cell: list[float], atoms: list[tuple]) -> tuple:
    return np.array(cell), [(s, tuple(np.array(p) * cell)) for s, p in atoms], THICK


def _perovskite(a: float, big: str, small: str, x: str, c: float = 0) -> tuple:
    places = ((0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
    atoms = [(big, (0, 0, 0)), (small, (0.5, 0.5, 0.5)), *((x, p) for p in places)]
    return _thick([a, a, c or a], atoms)


CELLS = {
    "MoS2": _layer(0.316, "Mo", "S", 0.313),
    "WSe2": _layer(0.328, "W", "Se", 0.336),
    "h-BN": _layer(0.2504, "B", "N", 0),
    "SrTiO3": _perovskite(0.3905, "Sr", "Ti", "O"),
    "PbTiO3": _perovskite(0.3904, "Pb", "Ti", "O", 0.4152),
    "SrRuO3": _perovskite(0.3930, "Sr", "Ru", "O"),
    "GaAs": _thick(
        [0.5653 / 2**0.5, 0.5653, 0.5653 / 2**0.5],
        [("Ga", (0, 0, 0)), ("As", (0, 0.25, 0.5)), ("Ga", (0.5, 0.5, 0.5)), ("As", (0.5, 0.75, 0))],
    ),
    "GaN": _thick(
        [0.3189 * 3**0.5, 0.5186, 0.3189],
        [(s, (x, y + u, z))
         for x, y, z in ((1 / 3, 0, 0), (5 / 6, 0, 0.5), (1 / 6, 0.5, 0.5), (2 / 3, 0.5, 0))
         for s, u in (("Ga", 0), ("N", 0.377))],
    ),
    "CsPbBr3": _perovskite(0.5874, "Cs", "Pb", "Br"),
}  # fmt: skip


def make(name: str, out: Path) -> None:
    """Compute the scan of one cell."""
    import abtem
    from ase import Atoms

    abtem.config.set({"diagnostics.progress_bar": False})
    cell, atoms, (kv, semiangle, (inner, outer), step, sampling) = CELLS[name]
    places, symbols = np.array([p for _, p in atoms]), [s for s, _ in atoms]
    repeat = np.maximum(1, np.ceil(1.15 / cell[:2]).astype(int))
    layers = 1 if kv == LAYER[0] else max(1, round(THICKNESS_NM / cell[2]))
    crystal = Atoms(symbols, 10 * places, cell=10 * cell, pbc=True) * (*repeat.tolist(), layers)
    gpts = [int(np.ceil(s / sampling / 16) * 16) for s in cell[:2] * repeat]
    moved = crystal
    if layers > 1:
        moved = abtem.FrozenPhonons(crystal, CONFIGURATIONS, 10 * PHONON_NM, seed=5)
    potential = abtem.Potential(
        moved, gpts=gpts, slice_thickness=1.5 if layers == 1 else 2, parametrization="lobato",
        projection="infinite",
    ).build(lazy=False)  # fmt: skip
    n = np.maximum(np.rint(cell[:2] / step).astype(int), 4)
    scan = abtem.GridScan((0, 0), tuple(10 * cell[:2]), gpts=tuple(n.tolist()), endpoint=False)
    probe = abtem.Probe(energy=1e3 * kv, semiangle_cutoff=semiangle)
    detector = abtem.AnnularDetector(inner=inner, outer=outer)
    measured = probe.scan(potential, scan=scan, detectors=detector, lazy=False, max_batch=32)
    np.savez(
        out / f"{name}.npz", image=np.asarray(measured.array, float), cell=cell[:2],
        places=places[:, :2], symbols=np.array(symbols),
    )  # fmt: skip


def columns_of(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of a cell (fractions of it), what stands in each, and how bright it is."""
    inside = (data["places"] / data["cell"]) % 1
    at: list[np.ndarray] = []
    content: list[list[str]] = []
    for place, symbol in zip(inside, data["symbols"].tolist(), strict=True):
        gap = [np.linalg.norm((place - o - np.rint(place - o)) * data["cell"]) for o in at]
        if at and min(gap) < 0.03:
            content[int(np.argmin(gap))].append(symbol)
        else:
            at.append(place)
            content.append([symbol])
    kinds = np.array(["".join(sorted(set(c))) for c in content])
    image, cell = data["image"], data["cell"]
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in image.shape), indexing="ij"), -1)
    best: tuple[float, np.ndarray] | None = None
    for sigma in (0.035, 0.045, 0.055):
        shapes = [np.ones(image.size)]
        for kind in dict.fromkeys(kinds):
            off = grid[:, :, None] - np.array(at)[kinds == kind]
            off = off[..., None, :] + np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
            gap = ((off - np.round(off / 3) * 3) * cell) ** 2
            shapes.append(np.exp(-0.5 * gap.sum(-1) / sigma**2).sum((-1, -2)).ravel())
        height, rest = nnls(np.stack(shapes, 1), image.ravel())
        if best is None or rest < best[0]:
            best = (rest, height[1:] * 2 * np.pi * sigma**2)
    assert best is not None
    bright = dict(zip(dict.fromkeys(kinds), best[1], strict=True))
    return np.array(at), kinds, np.array([bright[k] for k in kinds])


def alike(image: np.ndarray, at: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Average what a few configurations of phonons make different between equal columns."""
    moved = []
    for step in at[kinds == kinds[0]] - at[0]:
        gap = at[:, None] + step - at[None]
        near = np.abs(gap - np.rint(gap)).max(-1) < 0.01
        if (near & (kinds[:, None] == kinds[None])).any(1).all():
            wave = [np.exp(-2j * np.pi * np.fft.fftfreq(n) * n * s)
                    for n, s in zip(image.shape, step, strict=True)]  # fmt: skip
            moved.append(np.real(np.fft.ifft2(np.fft.fft2(image) * np.outer(*wave))))
    return np.mean(moved, axis=0)


def finer(image: np.ndarray, times: int) -> np.ndarray:
    """Sample a periodic image more finely."""
    n = np.array(image.shape)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    before = (times * n) // 2 - n // 2
    spectrum = np.pad(spectrum, [(b, (times - 1) * k - b) for b, k in zip(before, n, strict=True)])
    return np.real(np.fft.ifft2(np.fft.ifftshift(spectrum))) * times**2


def image_of(
    folder: Path, name: str, counts: float, seed: int
) -> tuple[np.ndarray, float, pd.DataFrame]:
    """Image, pixel size in nm, and the columns that are asked for."""
    with np.load(folder / f"{name}.npz") as file:
        data = {k: file[k] for k in file.files}
    cell = data["cell"]
    at, kinds, bright = columns_of(data)
    rng = np.random.default_rng([*name.encode(), int(counts), seed, 77])
    seen = bright >= FAINTEST * bright.max()
    off = (at[seen][:, None] - at[seen][None])[..., None, :] + np.array(
        [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    )
    gap = np.linalg.norm(off * cell, axis=-1)
    pixel = gap[gap > 1e-6].min() / rng.uniform(9.0, 14.0)
    turn = rng.uniform(0, np.pi)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ (np.eye(2) + rng.uniform(-0.02, 0.02, (2, 2)))  # nm to nm as drawn
    back = np.linalg.inv(matrix)
    yx = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1) - SIDE / 2
    fraction = (yx * pixel @ back) / cell
    fine = finer(alike(data["image"], at, kinds), 3)
    where = np.moveaxis(fraction * np.array(fine.shape), -1, 0)
    image = ndi.map_coordinates(fine, where, mode="grid-wrap", order=3)
    image = ndi.gaussian_filter(np.maximum(image, 0), rng.uniform(0.030, 0.045) / pixel)
    reach = int(np.ceil(0.75 * SIDE * pixel / cell.min())) + 1
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1)
    table = []
    for place, kind in zip(at[seen], kinds[seen], strict=True):
        spots = ((cells.reshape(-1, 2) + place) * cell) @ matrix / pixel + SIDE / 2
        table.append(pd.DataFrame(spots, columns=["y_px", "x_px"]).assign(kind=kind))
    truth = pd.concat(table, ignore_index=True)
    keep = ((truth[["y_px", "x_px"]] > -5) & (truth[["y_px", "x_px"]] < SIDE + 4)).all(axis=1)
    # counts in the whole of the faintest column, above what lies beneath it
    scale = counts / (bright[seen].min() / pixel**2)
    background = rng.uniform(0.02, 0.10) * image.mean()
    return (
        rng.poisson((image + background) * scale).astype(np.float32), pixel,
        truth[keep].reset_index(drop=True),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of the unit cells")
    parser.add_argument("--make", action="store_true", help="compute the cells that are missing")
    parser.add_argument("--crystals", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    with Report("names_multislice", parser) as report:
        args = report.args
        args.cells.mkdir(parents=True, exist_ok=True)
        names = args.crystals or list(CELLS)
        if args.make:
            for name in names:
                if not (args.cells / f"{name}.npz").exists():
                    make(name, args.cells)
        print("# Names on multislice images\n")
        species_table(names, partial(image_of, args.cells), args.seeds)


if __name__ == "__main__":
    main()
