"""Tables in parts on disk: Parquet, each part all or nothing, of one source or of many.

``ROOT/atoms/part-00000000.parquet`` is what pandas, polars, DuckDB and Arrow open as one data
set. Where a folder holds many files their parts stand in ``ROOT/atoms/file=movie.dm4/`` and the
data set has a column ``file``. A part counts once its rows stand in the table ``frames``, which is
written last. The frames of a part that is being made may be parts of their own
(``part-00000003-012.parquet``); they count until the whole part does. Nothing is lost and nothing
is there twice, whatever was killed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import pandas as pd

from napari_atomlens import tables
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import UNFINISHED, digest_of_text, make_folder
from napari_atomlens.io.export.tables import write_table

#: Written last: a part is done when its rows are in this table.
LAST = "frames"
#: How long the name of a partition may be in a path, in bytes: something is added to it.
LONGEST_NAME = 150
#: Where damaged parts are kept.
ASIDE = "damaged"
#: Files that a killed writer left: ours, and those of zarr.
_LEFT = re.compile(rf"\.part-.*{re.escape(UNFINISHED)}|.*\.[0-9a-f]{{32}}(\.partial|\.tmp)")


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
        if len(quote(safe, safe=" +")) > LONGEST_NAME:  # a folder and files are called so
            start, ending = safe, f"-{digest_of_text(name)[:16]}{Path(safe).suffix[:16]}"
            while len(quote(start + ending, safe=" +")) > LONGEST_NAME:
                start = start[:-1]
            safe = start + ending
        unique, n = safe, 1
        while unique.lower() in taken:  # some file systems do not tell A from a
            n += 1
            unique = f"{Path(safe).stem}-{n}{Path(safe).suffix}"
        taken.add(unique.lower())
        out.append(unique)
    return out


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet table with texts as objects, as our tables have them."""
    return with_objects(pd.read_parquet(path))


def with_objects(table: pd.DataFrame) -> pd.DataFrame:
    """Turn columns of text into columns of objects (pandas 3 reads text as a type of its own)."""
    for column in table.columns:
        if table[column].dtype == "str":
            table[column] = table[column].astype(object)
    return table


def _is_parquet(path: Path) -> bool:
    """Whether a file begins and ends as Parquet does: it was written to its end."""
    mark = b"PAR1"
    with path.open("rb") as file:
        if file.read(4) != mark or file.seek(0, os.SEEK_END) < 12:
            return False
        file.seek(-4, os.SEEK_END)
        return file.read() == mark


class Parts:
    """The tables of a source.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    file : str
        Name of the partition, where the folder holds many files; "" is the folder as a whole.
    """

    def __init__(self, root: Path, file: str = "") -> None:
        self.root, self.file = root, file

    def of(self, file: str) -> Parts:
        """Return the parts of one of many files."""
        return Parts(self.root, file)

    def folder(self, table: str) -> Path:
        """Where the parts of a table are."""
        place = self.root / table
        return place / f"file={quote(self.file, safe=' +')}" if self.file else place

    def path(self, table: str, part: str) -> Path:
        """Where a part is, or will be."""
        return self.folder(table) / f"part-{part}.parquet"

    def write(self, part: str, parts: dict[str, pd.DataFrame]) -> None:
        """Write a part of several tables, that of `LAST` last; tables without rows are left out.

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written.
        """
        for table in sorted(parts, key=lambda t: t == LAST):
            if len(parts[table]) or table == LAST:
                write_table(self.path(table, part), parts[table])

    def write_one(self, part: str, index: int, parts: dict[str, pd.DataFrame]) -> None:
        """Write one frame of a part that is not complete."""
        self.write(f"{part}-{index:04d}", parts)

    def close(self, part: str, names: Sequence[str]) -> None:
        """Join the frames of a part that were written one by one.

        Parameters
        ----------
        part : str
        names : sequence of str
            Tables that it may have.
        """
        ones = sorted(k for k in self._keys(self.folder(LAST)) if k.startswith(f"{part}-"))
        whole = {}
        for table in (*names, LAST):
            found = [self.path(table, k) for k in ones]
            full = [read_parquet(p) for p in found if p.exists()]
            if full:
                whole[table] = pd.concat(full, ignore_index=True)
        self.write(part, whole)
        for table in (LAST, *names):
            for k in ones:
                self.path(table, k).unlink(missing_ok=True)

    def done(self) -> set[str]:
        """Names of the parts that are complete."""
        return {k for k in self._keys(self.folder(LAST)) if "-" not in k}

    def ones(self) -> set[tuple[str, int]]:
        """Part and index of the frames that were written one by one and still count."""
        keys = [k.split("-") for k in self._valid(self.folder(LAST)) if "-" in k]
        return {(part, int(one)) for part, one in keys}

    def files(self) -> list[str]:
        """Names of the partitions."""
        found = (p.name for p in (self.root / LAST).glob("file=*"))
        return sorted(unquote(n.removeprefix("file=")) for n in found)

    @staticmethod
    def _keys(folder: Path) -> set[str]:
        names = (p.name for p in folder.glob("part-*.parquet"))
        return {n.removeprefix("part-").removesuffix(".parquet") for n in names}

    def _valid(self, folder: Path) -> set[str]:
        """Keys that count: whole parts, and frames whose part is not whole."""
        keys = self._keys(folder)
        return {k for k in keys if k.split("-")[0] not in keys or "-" not in k}

    def forget(self, part: str = "") -> None:
        """Remove one part or all, the marks that they are complete first."""
        for table in (LAST, *self._tables()):
            for path in self.folder(table).glob(f"part-{part or '*'}.parquet"):
                path.unlink(missing_ok=True)

    def sweep(self) -> list[str]:
        """Set damaged parts aside, to be made anew, and remove what killed writers left behind.

        Those are half-written files, and parts that are not done.

        Returns
        -------
        list of str
            What was set aside, a sentence for each part.
        """
        for path in self.root.rglob("*"):
            if _LEFT.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)
        said = self._set_damaged_aside()
        for table in (*self._tables(), LAST):
            for folder in (self.root / table, *(self.root / table).glob("file=*")):
                counts = self._valid(self.root / LAST / folder.relative_to(self.root / table))
                for key in self._keys(folder) - counts:
                    (folder / f"part-{key}.parquet").unlink(missing_ok=True)
        return said

    def _set_damaged_aside(self) -> list[str]:
        """Move parts of which a table is damaged (a power cut, a bad disk) out of the way."""
        said, names = [], [*self._tables(), LAST]
        for place in (self.root / LAST, *sorted((self.root / LAST).glob("file=*"))):
            below = place.relative_to(self.root / LAST)
            for key in sorted(self._valid(place)):
                paths = [self.root / t / below / f"part-{key}.parquet" for t in names]
                there = [p for p in paths if p.is_file()]
                if all(map(_is_parquet, there)):
                    continue
                for path in reversed(there):  # the mark that it is complete first
                    aside = self.root / ASIDE / path.relative_to(self.root)
                    make_folder(aside.parent)
                    path.replace(aside)
                file = f" of {unquote(below.name.removeprefix('file='))}" if below.name else ""
                said.append(
                    f"Part {key}{file} is damaged: it was moved to {ASIDE}, its frames are "
                    "analysed again."
                )
        return said

    def _tables(self) -> list[str]:
        places = [*self.root.glob("*/part-*.parquet"), *self.root.glob("*/file=*/part-*.parquet")]
        found = {p.relative_to(self.root).parts[0] for p in places}
        return sorted(found - {LAST})

    def _paths(self, table: str) -> list[Path]:
        here = self.folder(table)
        folders = [here, *([] if self.file else sorted(here.glob("file=*")))]
        paths = []
        for folder in folders:
            counts = self._valid(self.root / LAST / folder.relative_to(self.root / table))
            paths += [folder / f"part-{k}.parquet" for k in sorted(self._keys(folder) & counts)]
        return paths

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table.

        Parameters
        ----------
        table : str
        columns : sequence of str, optional
            Only these; a few columns of a long movie take little memory.

        Returns
        -------
        pandas.DataFrame
            In the order of the frames and, within a frame, of the rows; of many files with the
            column ``file`` first.

        Raises
        ------
        FormatError
            If a part is damaged.
        ParameterError
            If there is no such column.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        paths = self._paths(table)
        many = not self.file and any(p.parent.name.startswith("file=") for p in paths)
        if not paths:
            nothing = tables.empty(table) if table in tables.TABLES else pd.DataFrame()
            if self.files() and not self.file:
                nothing.insert(0, "file", pd.Series(dtype="object"))
            return nothing if columns is None else nothing.reindex(columns=list(columns))
        hive = ds.partitioning(pa.schema([("file", pa.string())]), flavor="hive")
        try:
            data = ds.dataset(
                [str(p) for p in paths], format="parquet",
                partition_base_dir=str(self.root / table), partitioning=hive if many else None,
            )  # fmt: skip
            if unknown := set(columns or ()) - set(data.schema.names):
                raise ParameterError(f"The table {table} has no column {sorted(unknown)[0]}.")
            found = data.to_table(columns=None if columns is None else list(columns)).to_pandas()
        except (OSError, KeyError, pa.ArrowException) as error:
            first = (str(error).splitlines() or [""])[0][:150].rstrip(".")
            raise FormatError(
                f"The table {table} of {self.root.name} is damaged: {first}. Run the same again: "
                "damaged parts are set aside and made anew."
            ) from error
        found = with_objects(found)
        keys = [k for k in ("file", "frame") if k in found]
        if keys:  # rows of one frame keep their order, which is that of the analysis
            found = found.sort_values(keys, kind="stable", ignore_index=True)
        if not many or "file" not in found:
            return found
        return found[["file", *(c for c in found.columns if c != "file")]]
