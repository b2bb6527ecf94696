"""Lattice-specific models against the universal one, on the same held-out scenes.

    python benchmarks/models.py [--images 60] [--materials graphene tmd perovskite] [--choice]

Scenes of the material (defects, holes, contamination, all doses and faults of training) with seeds
that no training has seen. A column is right within a quarter of the spacing. "Foreign" are the Si
and heavier atoms of graphene: to be called so by the graphene model, "bright column" by the
universal one. With ``--choice`` also: which model ``auto`` takes for images of every kind.
"""

from __future__ import annotations

import argparse

from report import Report, figure

from napari_atomlens import simulate
from napari_atomlens.segmentation import find_model
from napari_atomlens.segmentation.choose import choose_model
from napari_atomlens.training.held_out import Figures, held_out
from napari_atomlens.training.materials import material

FOREIGN = {"Si", "heavy", "bright column"}
#: Lattice, distance of nearest columns in nm, what else, and the right model.
KINDS = [
    ("graphene", "honeycomb", 0.142, {}, "graphene"),
    ("graphene with Si and vacancies", "honeycomb", 0.142, {"dopants": 0.02, "vacancies": 0.01},
     "graphene"),
    ("grain boundary of graphene", "honeycomb", 0.142, {"boundary": True}, "graphene"),
    ("MoS2", "tmd", 0.1825, {"chalcogen": 0.387}, "tmd"),
    ("WSe2 with vacancies", "tmd", 0.1894, {"chalcogen": 0.53, "vacancies": 0.02}, "tmd"),
    ("SrTiO3", "perovskite", 0.2761, {"b_weight": 0.46}, "perovskite"),
    ("PbTiO3", "perovskite", 0.2793, {"b_weight": 0.2}, "perovskite"),
    ("silicene", "honeycomb", 0.225, {}, "universal"),
    ("BN", "tmd", 0.145, {"chalcogen": 0.56}, "universal"),
    ("Si <110>", "dumbbell", 0.1358, {}, "universal"),
    ("close-packed metal", "hexagonal", 0.25, {}, "universal"),
    ("simple cubic", "square", 0.276, {}, "universal"),
    ("H-Si(100) dimers", "dimer_rows", 0.384, {}, "universal"),
    ("Si(111) 7x7", "seven_by_seven", 0.77, {}, "universal"),
]  # fmt: skip


def foreign_f1(figures: Figures) -> float:
    """F1 of the foreign atoms: found, in place, and called foreign."""
    c = figures.confusion
    hit = sum(n for (a, b), n in c.items() if a in FOREIGN and b in FOREIGN)
    there = sum(n for (a, _), n in c.items() if a in FOREIGN)
    said = sum(n for (_, b), n in c.items() if b in FOREIGN)
    return 2 * hit / max(there + said, 1)


def models(materials: list[str], n_images: int) -> None:
    """Print the figures of every model beside those of the universal one."""
    print("| material | model | images | F1, all columns | F1 by species: found and called so |")
    print("|---|---|---|---|---|")
    for name in materials:
        goal = material(name)
        for model in ("universal", name):
            f = held_out(find_model(model), goal, n_images)
            if model == name:
                told = ", ".join(f"{k} {v:.3f}" for k, v in f.species_f1().items())
            else:
                told = ""
            if name == "graphene":
                told = f"foreign {foreign_f1(f):.4f}" + (f"; {told}" if told else "")
            print(f"| {name} | {model} | {n_images} | {f.f1:.4f} | {told or '-'} |", flush=True)


def choices(n_images: int) -> None:
    """Print which model is chosen for simulated images of every kind."""
    print("| image | right | chosen, at 300, 1,000 and 5,000 counts per column |")
    print("|---|---|---|")
    right = total = 0
    for title, lattice, nm, more, wanted in KINDS:
        said = []
        for counts in (300, 1000, 5000):
            for i in range(n_images):
                image, _ = simulate(
                    lattice, (256, 256), 11.0, counts=counts, seed=900 + i,
                    rotation_deg=31 * i, **more,  # type: ignore[arg-type]
                )  # fmt: skip
                said.append(choose_model(image, (nm / 11.0, nm / 11.0)).info.name)
        right += said.count(wanted)
        total += len(said)
        listed = ", ".join(f"{k} {said.count(k)}" for k in dict.fromkeys(said))
        print(f"| {title} | {wanted} | {listed} |", flush=True)
    figure("right model chosen", 100 * right / total, "%", section="choice")
    print(f"\nRight: {right} of {total}.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--materials", nargs="*", default=["graphene", "tmd", "perovskite"])
    parser.add_argument("--choice", action="store_true")
    with Report("models", parser) as report:
        args = report.args
        models(args.materials, args.images)
        if args.choice:
            print()
            choices(4)


if __name__ == "__main__":
    main()
