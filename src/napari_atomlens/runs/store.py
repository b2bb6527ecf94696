"""Where results are kept: maps, and tables in parts."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import FormatError
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.runs.frame import FrameResult


class MapStore:
    """Probability and unfamiliar maps of many frames: in memory while small, else on disk.

    On disk they are zarr arrays, one chunk per frame, in a temporary folder that goes
    when the store is no longer used.
    """

    in_memory_bytes = 256 << 20

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.probabilities: Any = None
        self.unfamiliar: Any = None

    def _open(self, result: FrameResult) -> None:
        shapes = [(self.n_frames, *m.shape) for m in (result.probabilities, result.unfamiliar)]
        if 2 * np.prod(shapes[0]) <= self.in_memory_bytes:
            self.probabilities, self.unfamiliar = (np.zeros(s, np.float16) for s in shapes)
            return
        import tempfile

        import zarr

        folder = tempfile.TemporaryDirectory(prefix="atomlens-", ignore_cleanup_errors=True)
        self._folder = folder
        self.probabilities, self.unfamiliar = (
            zarr.create_array(f"{folder.name}/{n}", shape=s, chunks=(1, *s[1:]), dtype="float16")
            for n, s in zip(("probabilities", "unfamiliar"), shapes, strict=True)
        )
        # the folder must live as long as the arrays that read it
        weakref.finalize(self.probabilities, folder.cleanup)

    def put(self, index: int, result: FrameResult) -> None:
        """Store the maps of one frame."""
        if self.probabilities is None:
            self._open(result)
        self.probabilities[index] = result.probabilities
        self.unfamiliar[index] = result.unfamiliar

    def ordered(self, order: list[int]) -> tuple[Any, Any]:
        """Maps of the finished frames in the given order."""
        if order == list(range(self.n_frames)):
            return self.probabilities, self.unfamiliar
        return np.asarray(self.probabilities)[order], np.asarray(self.unfamiliar)[order]


#: Written last: a part is done when its rows are in this table.
LAST = "frames"


def partition_names(names: Iterable[str]) -> list[str]:
    """Return names for partitions: unique, safe in a path, and never read as a number.

    Parameters
    ----------
    names : iterable of str
        File names.

    Returns
    -------
    list of str
    """
    taken: set[str] = set()
    out = []
    for name in names:
        safe = re.sub(r"[^\w.+ -]", "_", name).strip() or "file"
        if re.fullmatch(r"[\d._+-]*(e\d+)?|nan|inf|null|true|false", safe, re.IGNORECASE):
            safe = f"file {safe}"
        unique, n = safe, 1
        while unique.lower() in taken:  # some file systems do not tell A from a
            n += 1
            unique = f"{Path(safe).stem}-{n}{Path(safe).suffix}"
        taken.add(unique.lower())
        out.append(unique)
    return out


class Parts:
    """The parts of the tables of a batch.

    Parameters
    ----------
    root : pathlib.Path
        Folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: str, file: str, part: str) -> Path:
        """Where a part is, or will be."""
        return self.root / table / f"file={quote(file, safe=' +')}" / f"part-{part}.parquet"

    def write(self, file: str, part: str, parts: dict[str, pd.DataFrame]) -> None:
        """Write a part of several tables, that of `LAST` last; tables without rows are left out.

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written.
        """
        for table in sorted(parts, key=lambda t: t == LAST):
            if len(parts[table]) or table == LAST:
                write_table(self.path(table, file, part), parts[table])

    def done(self, file: str) -> set[str]:
        """Names of the parts of a file that are complete."""
        folder = self.path(LAST, file, "").parent
        return {
            p.name.removeprefix("part-").removesuffix(".parquet")
            for p in folder.glob("part-*.parquet")
        }

    def forget(self, file: str) -> None:
        """Remove all parts of a file, the marks that they are complete first."""
        for table in (LAST, *self._tables()):
            for path in self.path(table, file, "").parent.glob("*.parquet"):
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed writers left behind: half-written files, parts that are not done."""
        for path in self.root.rglob(".*.tmp"):
            path.unlink(missing_ok=True)
        for table in self._tables():
            for path in (self.root / table).glob("file=*/part-*.parquet"):
                if not (self.root / LAST / path.parent.name / path.name).exists():
                    path.unlink(missing_ok=True)

    def _tables(self) -> list[str]:
        found = {p.parent.name for p in self.root.glob("*/file=*")}
        return sorted(found - {LAST})

    def read(self, table: str, file: str | None = None) -> pd.DataFrame:
        """Read a table of all files, or of one.

        Returns
        -------
        pandas.DataFrame
            With the column ``file`` first, in the order of file, frame and row.

        Raises
        ------
        FormatError
            If a part is damaged.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        folder = self.root / table
        parts = sorted(folder.glob("file=*/part-*.parquet"))
        if file is not None:
            parts = [p for p in parts if p.parent == self.path(table, file, "").parent]
        if not parts:
            nothing = tables.empty(table) if table in tables.TABLES else pd.DataFrame()
            nothing.insert(0, "file", pd.Series(dtype="object"))
            return nothing
        try:
            found = ds.dataset(
                [str(p) for p in parts], format="parquet", partition_base_dir=str(folder),
                partitioning=ds.partitioning(pa.schema([("file", pa.string())]), flavor="hive"),
            ).to_table().to_pandas()  # fmt: skip
        except (OSError, pa.ArrowException) as error:
            raise FormatError(
                f"The table {table} of {self.root.name} is damaged: {error}"
            ) from error
        for column in found.columns:
            if found[column].dtype == "str":  # pandas 3 reads text back as its own type
                found[column] = found[column].astype(object)
        keys = [k for k in ("file", "frame") if k in found]
        # rows of one frame keep their order, which is that of the analysis
        found = found.sort_values(keys, kind="stable", ignore_index=True)
        return found[["file", *(c for c in found.columns if c != "file")]]
