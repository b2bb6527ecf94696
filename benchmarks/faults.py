"""Kills, power cuts and full disks: nothing is lost or doubled, nothing ends or hangs.

    python benchmarks/faults.py                 # everything; power cuts on a disk need root
    python benchmarks/faults.py --small         # what the tests do
    python benchmarks/faults.py --case project --kills 40 --cuts 0 --full 0

Projects, the journal of edits, the defect library, adapted models, long movies, batches and the
results of a watch are written by a process that is killed (at any moment, and before the nth change of the disk), loses
its power (the file system is copied as it is on the disk, or what was not synchronised is dropped)
or finds the disk full. What a call had returned from must be there afterwards, once, and the work
must go on. Prints one Markdown table; fails where anything was lost.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import tempfile
from pathlib import Path

from report import Report

sys.path.insert(0, str(Path(__file__).parent))
#: What the cases need.
NEEDED = ("pyarrow.dataset", "pyarrow.parquet", "zarr", *(f"napari_atomlens.{m}" for m in (
    "graphs.library", "runs.batch", "runs.movie", "runs.watch", "session.autosave",
    "session.project", "training.keeping", "training.adaptation")))  # fmt: skip
HEAD = ("attack", "tries", "steps that held", "lost or doubled", "ended or hung")


def parser() -> argparse.ArgumentParser:
    """Read the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--small", action="store_true", help="a few of each, in a minute")
    made.add_argument("--case", action="append", help="only this case; may be given again")
    made.add_argument("--kills", type=int, help="kills of each case")
    made.add_argument("--cuts", type=int, help="power cuts of each case, in the midst of the work")
    made.add_argument("--full", type=int, help="full disks of each case")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--simulate", action="store_true", help="simulate power cuts, as without root"
    )
    return made


def load_all() -> None:
    """Import what the cases need once: each process is a copy of this one."""
    from fault import cases

    for name in NEEDED:
        importlib.import_module(name)
    with cases.without_network():
        pass


def main() -> int:
    """Attack, print the table, and say how often anything was lost."""
    with (
        Report("faults", parser()) as report,
        tempfile.TemporaryDirectory(
            dir=memory if (memory := Path("/dev/shm")).is_dir() else None
        ) as temporary,
    ):
        args = report.args
        os.environ["ATOMLENS_AUTOSAVE"] = str(Path(temporary) / "unused")
        os.environ["FAULT_INPUTS"] = str(Path(temporary) / "inputs")
        load_all()
        from fault import attacks
        from fault.cases import CASES
        from fault.cuts import can_mount

        place, chance = Path(temporary), random.Random(args.seed)
        few = args.small
        n_kills = (2 if few else 40) if args.kills is None else args.kills
        n_cuts = (1 if few else 3) if args.cuts is None else args.cuts
        n_full = (1 if few else 5) if args.full is None else args.full
        real = not (few or args.simulate) and can_mount(place / "try")
        tallies: list[attacks.Tally] = []

        def note(tally: attacks.Tally) -> None:
            tallies.append(tally)
            print(f"{tally.case}, {tally.attack}: {tally.n}", file=sys.stderr, flush=True)
            for line in (*tally.lost, *tally.ended):
                print(f"    {line}", file=sys.stderr, flush=True)

        for case in CASES:
            if args.case and case.name not in args.case:
                continue
            if n_kills:
                note(attacks.kills(case, place, n_kills, chance))
            if n_cuts and real:
                note(attacks.cuts_on_a_disk(case, place, n_cuts, chance))
            elif n_cuts:
                note(attacks.cuts_of_what_was_synced(case, place, n_cuts, chance))
            if n_full:
                note(attacks.full_disks(case, place, attacks.LIMITS[:n_full]))
        rows = [(f"{t.case}, {t.attack}", t.n, t.told, len(t.lost), len(t.ended)) for t in tallies]
        rows.append(("all", *(sum(r[k] for r in rows) for k in range(1, 5))))
        print(f"## Faults\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        for row in rows:
            print(f"| {' | '.join(map(str, row))} |")
        return min(1, rows[-1][3] + rows[-1][4])


if __name__ == "__main__":
    sys.exit(main())
