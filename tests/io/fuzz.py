"""Damaged files for the readers: mutations of small true ones, read in a process of its own.

    python tests/io/fuzz.py [FOLDER...] [--own] [-n 2000] [--per-file-seconds 10]

Takes every file of the folders (with --own also small ones that it writes itself), mutates its
first bytes, its length and single bits, and reads the result. Prints a Markdown table: what was
read, what gave a sentence, and what must not be: other errors, crashes, hangs, too much memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

#: Bytes in which headers live.
HEAD = 4096
LEAST_MEMORY = 500 << 20


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one of five ways."""
    data = bytearray(raw)
    head = max(1, min(HEAD, len(data)))
    way = rng.integers(5)
    if way == 0:  # some bytes of the header
        for at in rng.integers(0, head, rng.integers(1, 9)):
            data[at] = rng.integers(256)
    elif way == 1:  # a number of the header becomes extreme
        at = int(rng.integers(0, max(1, head - 4)))
        value = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"]
        data[at : at + 4] = value[rng.integers(4)]
    elif way == 2:  # cut
        del data[int(rng.integers(0, len(data))) :]
    elif way == 3:  # a piece is missing
        at = int(rng.integers(0, head))
        del data[at : at + int(rng.integers(1, 64))]
    else:  # bits anywhere
        for at in rng.integers(0, len(data), 16):
            data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def allowed(path: Path) -> int:
    """Memory that a file may take: four times its decoded size."""
    from napari_atomlens.errors import FormatError
    from napari_atomlens.io import read

    try:
        size = sum(int(np.prod(i.data.shape)) * i.data.dtype.itemsize for i in read(path))
    except FormatError:
        size = path.stat().st_size
    return max(LEAST_MEMORY, 4 * size)


def worker(pipe: Any) -> None:
    """Read the files whose names come through the pipe; answer with what happened."""
    warnings.simplefilter("ignore")
    from napari_atomlens.errors import FormatError
    from napari_atomlens.io import read

    for library in ("rsciio.digitalmicrograph", "rsciio.tia", "rsciio.emd", "tifffile", "mrcfile"):
        try:  # what the libraries need themselves does not count
            __import__(library)
        except ImportError:
            continue
    while (job := pipe.recv()) is not None:
        path, room = job
        before = rss()
        soft = vm() + room
        resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
        try:
            for image in read(path):
                np.asarray(image.data[0] if image.axes == "tyx" else image.data)
            what = "read"
        except FormatError as error:
            text = str(error)
            fine = Path(path).name in text and "\n" not in text and text.endswith(".")
            what = "sentence" if fine else f"bad sentence: {text!r}"
            if "does not fit into the memory" in text:
                what = "memory, said so"
        except MemoryError:
            what = "memory"
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:80]}"
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send((what, rss() - before))


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def vm() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def fuzz(path: Path, n: int, limit_s: float, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Read `n` mutations of a file; (how many of each outcome, what must not be)."""
    rng = np.random.default_rng([seed, sum(path.name.encode())])
    raw, room = path.read_bytes(), allowed(path)
    context = mp.get_context("spawn")
    outcomes: Counter[str] = Counter()
    bad: list[str] = []
    child = ours = None

    def begin() -> tuple[Any, Any]:
        mine, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    with tempfile.TemporaryDirectory() as name:
        for beside in path.parent.glob(f"{path.stem.rpartition('_')[0] or path.stem}*"):
            if beside.is_file() and beside != path and beside.stat().st_size < 1 << 20:
                shutil.copy(beside, name)  # .emi needs its .ser
        for k in range(n):
            target = Path(name) / path.name
            target.write_bytes(mutate(raw, rng))
            if child is None or ours is None:
                child, ours = begin()
            begun = time.monotonic()
            ours.send((str(target), room))
            # the first answer of a process also pays for its imports
            patience = limit_s if outcomes else limit_s + 60
            what = "hang"
            try:
                if ours.poll(patience):
                    what, _ = ours.recv()
            except EOFError:
                what = "crash"
            if what in ("hang", "crash"):
                child.kill()
                child.join()
                child = ours = None
            outcomes[what if what in ("read", "sentence", "memory, said so") else "bad"] += 1
            if what not in ("read", "sentence", "memory, said so"):
                bad.append(f"{path.name} #{k}: {what} after {time.monotonic() - begun:.1f} s")
        if child is not None and ours is not None:
            ours.send(None)
            child.join(5)
    return outcomes, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--own", action="store_true", help="small files of every format of our own")
    parser.add_argument("--only", default="", help="part of the names of files")
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--per-file-seconds", type=float, default=10.0)
    options = parser.parse_args()
    from napari_atomlens.io.formats.kinds import named

    with tempfile.TemporaryDirectory() as name:
        folders = list(options.folders)
        if options.own:
            from test_fuzz import own

            own(Path(name))
            folders.append(Path(name))
        files = [p for f in folders for p in sorted(f.rglob("*")) if named(p)]
        _report([p for p in files if options.only in p.name], options)


def _report(files: list[Path], options: argparse.Namespace) -> None:
    print("| file | mutated | read | sentence | too large, said so | must not be |")
    print("|---|---|---|---|---|---|")
    every: list[str] = []
    for path in files:
        found, bad = fuzz(path, options.n, options.per_file_seconds)
        every += bad
        print(f"| {path.name} | {sum(found.values())} | {found['read']} | {found['sentence']} "
              f"| {found['memory, said so']} | {found['bad']} |", flush=True)  # fmt: skip
    print(json.dumps(every, indent=1) if every else "\nNothing that must not be.")
    sys.exit(bool(every))


if __name__ == "__main__":
    main()
