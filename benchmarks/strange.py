"""Strange images: what is found, what is false and carries no mark, and what is said.

    python benchmarks/strange.py [--images 3] [--only KIND ...] [--real FOLDER] [--quick]

One row per kind of image: F1; false atoms with a probability above 0.9 and no mark, as % of the
true columns, or per 100,000 px2 where there are none; the rms of errors over stated errors; what
was said. A mark counts per atom: `unfamiliar` above 0.5, `fit_ok` false, or a probability of at
most 0.9. Then what marks cost where nothing is strange, and how true probabilities and errors
are over the dose. The images come from `strangeness/`, which takes nothing from the package.
"""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from real import FILES
from report import Report, figure
from strangeness.judge import Tally, judge, marked
from strangeness.kinds import KINDS, Scene, plain
from strangeness.scenes import ORDINARY, columns, counted, scan_noise

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import AtomLensError
from napari_atomlens.runs.result import Result

PARTS = ("strange", "marks", "calibration", "real")


def seed_of(name: str, n: int) -> np.random.Generator:
    """Generator of the n-th image of a kind, the same in every run."""
    return np.random.default_rng([zlib.crc32(name.encode()), n])


def messages_by_frame(result: Result) -> list[str]:
    """What was said of the image or movie."""
    return [str(m) for m in result.messages]


def measure(scene: Scene) -> Tally:
    """Analyse one image or movie and score every frame."""
    try:
        result = al.analyze(scene.image, pixel_size_nm=scene.pixel_size_nm)
        atoms, said = result.atoms, messages_by_frame(result)
    except AtomLensError as error:
        atoms, said = tables.empty("atoms"), [str(error)]
    out = Tally()
    frames = range(scene.image.shape[0]) if scene.image.ndim == 3 else [0]
    for f in frames:
        out += judge(scene, atoms[atoms["frame"] == f], said if f == 0 else [], f)
    return out


def short(said: list[str], images: int) -> str:
    """The commonest sentence, shortened, and on how many images something was said."""
    if not said:
        return "-"
    words = Counter("".join(c for c in s if not c.isdigit())[:60] for s in said)
    first = next(s for s in said if "".join(c for c in s if not c.isdigit())[:60]
                 == words.most_common(1)[0][0])  # fmt: skip
    more = f" (+{len(words) - 1})" if len(words) > 1 else ""
    return first[:66].replace("|", "/").replace("\n", " ") + more


def strange(names: list[str], images: int) -> None:
    """The table of kinds."""
    print("\n## Strange images\n")
    print("| kind | true | F1 | unmarked false | of false | z | marked true (%) | heights off (%) "
          "| images with a word | said |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    failing = 0
    for name in names:
        kind, total = KINDS[name], Tally()
        for n in range(images):
            total += measure(kind.make(seed_of(name, n), n))
        failing += total.silent > (1.0 if total.true else 0.0)
        # a kind without columns is judged by area
        f1 = f"{total.f1:.3f}" if total.true else "-"
        unit = " %" if total.true else " per 1e5 px2"
        z = f"{total.z_rms:.2f}" if total.z else "-"
        cost = f"{100 * total.marked_true / total.hits:.1f}" if total.hits else "-"
        off = "-"
        if total.heights:
            h = np.array(total.heights)
            h = h / np.median(h)
            off = f"{100 * np.percentile(np.abs(h - 1), 95):.1f}"
        print(
            f"| {name} | {total.true} | {f1} | {total.silent:.2f}{unit} | {total.false} | {z} | "
            f"{cost} | {off} | {total.warned}/{images} | {short(total.said, images)} |",
            flush=True,
        )
    figure("kinds that are wrong in silence", failing)
    print(f"\nKinds above 1 % (or with any, where nothing is true): {failing} of {len(names)}.")


def marks(images: int) -> None:
    """What marks cost on ordinary images."""
    print("\n## Marks cost, ordinary images\n")
    print("| counts | true found | marked true (%) | F1 | unmarked false (%) | "
          "images with a warning |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    whole = Tally()
    said: list[str] = []
    for counts in (60, 300, 3000):
        total = Tally()
        for n in range(2 * images):
            rng = seed_of(f"marks {counts}", n)
            clean, places, _, spacing, _ = plain(
                rng, ORDINARY[n % 5], counts, float(np.exp(rng.uniform(np.log(8), np.log(25)))),
                side=256,
            )  # fmt: skip
            image = counted(scan_noise(clean, 0.03, rng), rng)
            total += measure(Scene(image, places, spacing))
        print(
            f"| {counts} | {total.hits} | {100 * total.marked_true / max(1, total.hits):.2f} | "
            f"{total.f1:.4f} | {total.silent:.2f} | {total.warned}/{2 * images} |",
            flush=True,
        )
        whole += total
        said += total.said
    figure("true atoms that carry a mark", 100 * whole.marked_true / max(1, whole.hits), "%")
    for sentence in sorted(set(said)):
        print(f"- said: {sentence}")


def calibration(images: int) -> None:
    """Expected calibration error and z over the dose."""
    print("\n## Probabilities and errors over the dose\n")
    print("| counts | atoms | false | false above 0.9 | ECE | z | F1 |")
    print("|---|---|---|---|---|---|---|")
    for counts in (20, 40, 60, 300, 3000):
        total = Tally()
        for n in range(2 * images):
            total += measure(dose_scene(counts, n))
        print(
            f"| {counts} | {int(total.bins[:, 0].sum())} | {total.false} | {total.unmarked} | "
            f"{total.ece:.4f} | {total.z_rms:.2f} | {total.f1:.4f} |",
            flush=True,
        )


def dose_scene(counts: int, n: int) -> Scene:
    """A lattice with vacancies, half of them with an edge to vacuum."""
    rng = seed_of(f"dose {counts}", n)
    clean, places, heights, spacing, sigma = plain(
        rng, ORDINARY[n % 5], counts, rng.uniform(9, 18), side=256
    )
    keep = rng.random(len(places)) > 0.02
    if n % 2:
        keep &= places[:, n // 2 % 2] < 190
    image = columns(clean.shape, places[keep], heights[keep], sigma)
    image = counted(image + clean.min(), rng)
    return Scene(image, places[keep], spacing)


def real(folder: Path) -> None:
    """Marks on real images: there is no truth, so the share of all atoms."""
    print("\n## Marks on real images\n")
    print("| file | atoms | marked (%) | fit not ok (%) | p <= 0.9 (%) | unfamiliar (%) | said |")
    print("|---|---|---|---|---|---|---|")
    files = [folder / name for name in FILES]
    files += sorted((folder / "graphene-si/library").glob("*/*.hdf5"))[::6]
    n, count, warned, used = 0, 0, 0, 0
    for path in files:
        try:
            image = al.read(path)[0]
            data = image.data[FILES.get(str(path.relative_to(folder)), 0)] \
                if image.data.ndim == 3 else image.data  # fmt: skip
            result = al.analyze(np.asarray(data), pixel_size_nm=_pixel(image))
        except AtomLensError as error:
            print(f"| {path.name} | - | - | - | - | - | {str(error)[:66]} |", flush=True)
            continue
        atoms, said = result.atoms, messages_by_frame(result)
        which = marked(atoms)
        odd = (
            atoms["unfamiliar"].to_numpy() > 0.5 if "unfamiliar" in atoms else np.zeros(len(atoms))
        )
        n, count, used = n + int(which.sum()), count + len(atoms), used + 1
        warned += bool(said)
        shares = [which.mean(), (~atoms["fit_ok"]).mean(), (atoms["probability"] <= 0.9).mean(),
                  odd.mean()]  # fmt: skip
        cells = " | ".join(f"{100 * s:.1f}" for s in shares)
        print(f"| {path.name} | {len(atoms)} | {cells} | {short(said, 1)} |", flush=True)
    figure("atoms of real images that carry a mark", 100 * n / max(count, 1), "%")
    print(f"\nOf {count} atoms {100 * n / max(count, 1):.1f} % carry a mark; something was said of "
          f"{warned} of {used} images.")  # fmt: skip


def _pixel(image: al.Image) -> tuple[float, float] | None:
    """Pixel size of what a file gave."""
    size = image.pixel_size_nm
    return None if size is None else tuple(size)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3, help="per kind (%(default)s)")
    parser.add_argument("--only", nargs="+", default=None, metavar="KIND",
                        help="kinds whose names begin or contain this")  # fmt: skip
    parser.add_argument("--part", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--real", type=Path, default=None, help="folder of real images")
    parser.add_argument("--quick", action="store_true", help="one image per kind, no other part")
    with Report("strange", parser) as report:
        args = report.args
        start = time.perf_counter()
        names = [k for k in KINDS if args.only is None or any(o in k for o in args.only)]
        if not names:
            parser.error(f"no kind is called {args.only}; there are {', '.join(KINDS)}")
        parts = args.part or (
            ["strange"] if args.only or args.quick else [p for p in PARTS if p != "real"]
        )
        if args.real is not None and "real" not in parts:
            parts.append("real")
        images = 1 if args.quick else args.images
        if "strange" in parts:
            strange(names, images)
        if "marks" in parts:
            marks(images)
        if "calibration" in parts:
            calibration(images)
        if "real" in parts and args.real is not None:
            real(args.real)
        print(f"\nTook {time.perf_counter() - start:.0f} s, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
