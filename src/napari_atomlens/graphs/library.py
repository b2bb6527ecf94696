"""A library of defects in one SQLite file that a group can share.

The file keeps the rollback journal of SQLite and not its write-ahead log: that needs memory
shared by all writers, which there is none of on a network drive, and leaves more than one
file. Every write is one transaction; a writer waits for another, and one that is killed
leaves what was there before.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from napari_atomlens.cards import Card
from napari_atomlens.errors import AtomLensError, FormatError, ParameterError
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.graphs.rules import Rules
from napari_atomlens.image import Pixels, as_stack
from napari_atomlens.params import number_between
from napari_atomlens.untrusted import open_hdf5, parse_json, path_of

if TYPE_CHECKING:
    import networkx as nx
    from numpy.typing import ArrayLike

    from napari_atomlens.graphs.bonds import BondGraph

#: "ALDL", so that another SQLite file is not taken for a library.
APPLICATION_ID = 0x414C444C
#: A writer waits so long for the others.
WAIT_S = 60.0
_BINS = 16
#: What damaged rows raise.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    OverflowError,
)

#: Each brings the file from one version to the next; never change one that was released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE defects (
            id INTEGER PRIMARY KEY,
            uid TEXT NOT NULL UNIQUE,
            created TEXT NOT NULL,
            formula TEXT NOT NULL,
            kind TEXT NOT NULL DEFAULT '',
            graph_hash TEXT NOT NULL,
            score REAL,
            source TEXT NOT NULL DEFAULT '',
            structure TEXT NOT NULL,
            patch BLOB,
            patch_shape TEXT,
            pixel_size_nm REAL,
            provenance TEXT NOT NULL DEFAULT '{}',
            instrument TEXT NOT NULL DEFAULT '{}',
            notes TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX defects_formula ON defects (formula)",
        "CREATE INDEX defects_hash ON defects (graph_hash)",
        """CREATE TABLE tags (
            defect_id INTEGER NOT NULL REFERENCES defects (id) ON DELETE CASCADE,
            tag TEXT NOT NULL, PRIMARY KEY (defect_id, tag)
        ) WITHOUT ROWID""",
        "CREATE INDEX tags_tag ON tags (tag)",
    ),
    (
        "ALTER TABLE defects ADD COLUMN descriptor BLOB",
        """CREATE TABLE properties (
            defect_id INTEGER NOT NULL REFERENCES defects (id) ON DELETE CASCADE,
            name TEXT NOT NULL, value REAL NOT NULL, unit TEXT NOT NULL DEFAULT '',
            method TEXT NOT NULL DEFAULT '', PRIMARY KEY (defect_id, name, method)
        ) WITHOUT ROWID""",
    ),
)


@dataclass
class Entry:
    """One defect of the library.

    Attributes
    ----------
    formula, kind, graph_hash : str
    species : list of str
        Of its atoms.
    places_nm : ndarray, shape (n, 2)
        (y, x) of its atoms, their mean at the origin.
    pairs : ndarray of int, shape (m, 2)
        Bonds among its atoms.
    score : float
        Of the defect when it was found, NaN where it is not known.
    patch : ndarray of float32 or None
        The image round it; the defect is in the middle.
    pixel_size_nm : float
        Of the patch, NaN where there is none.
    source : str
        Name of the image.
    provenance, instrument : dict
        What made the result, and what the microscope wrote.
    notes : str
    tags : tuple of str
    properties : dict of str to float
        Values such as an energy, by name.
    id : int
        Row in the library, -1 before it is in one.
    uid : str
        Unique in all libraries.
    created : str
        When it was added, ISO 8601, UTC.
    """

    formula: str
    kind: str
    graph_hash: str
    species: list[str]
    places_nm: np.ndarray
    pairs: np.ndarray
    score: float = float("nan")
    patch: np.ndarray | None = None
    pixel_size_nm: float = float("nan")
    source: str = ""
    provenance: dict[str, object] = field(default_factory=dict)
    instrument: dict[str, object] = field(default_factory=dict)
    notes: str = ""
    tags: tuple[str, ...] = ()
    properties: dict[str, float] = field(default_factory=dict)
    id: int = -1
    uid: str = ""
    created: str = ""

    def networkx(self) -> nx.Graph:
        """Return the graph of the defect; nodes carry ``species``, ``y_nm`` and ``x_nm``."""
        import networkx as nx

        graph = nx.Graph()
        for i, (s, (y, x)) in enumerate(zip(self.species, self.places_nm.tolist(), strict=True)):
            graph.add_node(i, species=s, y_nm=y, x_nm=x)
        for a, b in self.pairs.tolist():
            step = self.places_nm[a] - self.places_nm[b]
            graph.add_edge(a, b, length_nm=float(np.hypot(step[0], step[1])))
        return graph


def descriptor(species: Sequence[str], places_nm: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Vector of 64 numbers that does not change when a defect is turned, mirrored or renumbered.

    Histograms of the bond lengths (0.1 to 0.35 nm), of all distances (0.1 to 0.7 nm) and of
    the angles between bonds, each smoothed by a bin, and a random projection of the
    composition that is the same on every machine.
    """
    n = len(species)
    step = places_nm[:, None] - places_nm[None]
    distance = np.hypot(step[..., 0], step[..., 1])
    bonded = distance[pairs[:, 0], pairs[:, 1]] if len(pairs) else np.zeros(0)
    every = distance[np.triu_indices(n, 1)]
    directed = np.r_[pairs, pairs[:, ::-1]] if len(pairs) else np.zeros((0, 2), int)
    angles = []
    for a in range(n):
        ends = directed[directed[:, 0] == a, 1]
        v = places_nm[ends] - places_nm[a]
        way = np.arctan2(v[:, 0], v[:, 1])
        i, j = np.triu_indices(len(ends), 1)
        gap = np.abs(way[i] - way[j])
        angles.append(np.minimum(gap, 2 * np.pi - gap))
    angle = np.concatenate(angles) if angles else np.zeros(0)

    def smooth(values: np.ndarray, low: float, high: float) -> np.ndarray:
        centre = np.linspace(low, high, _BINS)
        width = (high - low) / _BINS
        total = np.exp(-0.5 * ((values[:, None] - centre) / width) ** 2).sum(axis=0)
        return np.asarray(total / np.sqrt(max(n, 1)))

    composition = np.zeros(_BINS)
    for s in species:
        seed = zlib.crc32(s.encode())
        composition += np.random.default_rng(seed).choice([-1.0, 1.0], _BINS)
    parts = (
        smooth(bonded, 0.1, 0.35), smooth(every, 0.1, 0.7), smooth(angle, 0.6, np.pi),
        composition / np.sqrt(_BINS),
    )  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


def entries_of(
    graph: BondGraph,
    defects: pd.DataFrame,
    image: ArrayLike | Pixels | None = None,
    *,
    patch_nm: float = 1.6,
    source: str = "",
    provenance: Mapping[str, object] | None = None,
    instrument: Mapping[str, object] | None = None,
    notes: str = "",
    tags: Sequence[str] = (),
) -> list[Entry]:
    """Turn defects of an image or movie into entries of a library.

    Parameters
    ----------
    graph : BondGraph
        In which the defects were found.
    defects : pandas.DataFrame
        Rows of its defects table.
    image : array-like, shape (H, W) or (T, H, W), optional
        Source of the patches.
    patch_nm : float
        Side of a patch.
    source, provenance, instrument, notes, tags
        The same for all.

    Raises
    ------
    ParameterError
        If an atom of a defect is not in the graph.
    """
    ids = graph.atoms["atom_id"].to_numpy(np.int64)
    order = np.argsort(ids)
    species = graph.atoms["species"].to_numpy(object)
    foreign = graph.foreign
    places_px = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    nm_per_px = _nm_per_px(places_px, graph.places_nm)
    entries = []
    stack = None if image is None else as_stack(image)
    rows_of: list[Any] = list(defects.itertuples())
    for row in rows_of:
        wanted = np.asarray(row.atom_ids, np.int64)
        at = np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)
        rows = order[at]
        if not np.array_equal(ids[rows], wanted):
            raise ParameterError("The defects are not those of this graph.")
        inside = np.isin(graph.pairs, rows).all(axis=1)
        touching = graph.pairs[inside]
        if foreign[rows].any():  # as the type was told: the bonds of the foreign atoms
            touching = touching[foreign[touching].any(axis=1)]
        local = np.full(len(ids), -1)
        local[rows] = np.arange(len(rows))
        patch = None
        if stack is not None:
            frame = stack[int(row.frame) if len(stack) > 1 else 0]
            patch = cut_patch(frame, (row.y_px, row.x_px), patch_nm / nm_per_px)
        entries.append(
            Entry(
                formula=str(row.formula), kind=str(row.kind), graph_hash=str(row.graph_hash),
                species=[str(s) for s in species[rows]],
                places_nm=graph.places_nm[rows] - graph.places_nm[rows].mean(axis=0),
                pairs=local[touching], score=float(row.score), patch=patch,
                pixel_size_nm=nm_per_px if patch is not None else float("nan"), source=source,
                provenance=dict(provenance or {}), instrument=dict(instrument or {}),
                notes=notes, tags=tuple(tags),
            )
        )  # fmt: skip
    return entries


def _nm_per_px(places_px: np.ndarray, places_nm: np.ndarray) -> float:
    span = float(np.ptp(places_px, axis=0).sum()) if len(places_px) else 0.0
    return float(np.ptp(places_nm, axis=0).sum()) / span if span > 0 else 1.0


def cut_patch(frame: np.ndarray, centre: tuple[float, float], side: float) -> np.ndarray:
    """Cut a square round `centre` (row, column), float32; what lies off the image is NaN."""
    half = max(int(np.ceil(side / 2)), 1)
    y, x = (round(c) for c in centre)
    padded = np.full((2 * half + 1, 2 * half + 1), np.nan, np.float32)
    rows = np.arange(max(y - half, 0), min(y + half + 1, frame.shape[0]))
    cols = np.arange(max(x - half, 0), min(x + half + 1, frame.shape[1]))
    if len(rows) and len(cols):
        padded[np.ix_(rows - y + half, cols - x + half)] = frame[np.ix_(rows, cols)]
    return padded


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _reads(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a method of a library that reads rows say in one sentence what is wrong with them."""

    @functools.wraps(method)
    def careful(*given: _P.args, **named: _P.kwargs) -> _T:
        library = given[0]
        assert isinstance(library, DefectLibrary)
        try:
            return method(*given, **named)
        except AtomLensError:
            raise
        except sqlite3.ProgrammingError as error:
            raise FormatError(f"{library.path.name} is closed ({error}).") from error
        except (sqlite3.Error, *_DAMAGE) as error:
            raise FormatError(
                f"{library.path.name} is damaged: {type(error).__name__}: {error}."
            ) from error

    return careful


def _takes(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a method that is given something say in one sentence that it cannot be taken."""

    @functools.wraps(method)
    def careful(*given: _P.args, **named: _P.kwargs) -> _T:
        try:
            return method(*given, **named)
        except AtomLensError:
            raise
        except _DAMAGE as error:
            raise ParameterError(
                f"A library of defects cannot take this: {type(error).__name__}: {error}."
            ) from error

    return careful


class DefectLibrary(Card):
    """A library in one SQLite file; made where there is none.

    Several processes may read and write at once. Use it as a context manager, or call
    :meth:`close`. An instance belongs to the thread that made it.

    Parameters
    ----------
    path : path
    create : bool
        Make the file where it is missing.

    Raises
    ------
    FormatError
        If the file is missing, no library, of a later version, or cannot be opened.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> with al.DefectLibrary("group.defects") as library:
    ...     print(library)
    Defect library 'group.defects'
      entries: 0 of 0 formulas
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = path_of(path)
        if not create and not self.path.exists():
            raise FormatError(f"There is no library {self.path.name}.")
        try:
            self._db = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA trusted_schema = OFF")  # nobody has signed the file
            # the end of the journal, too, is on the disk: a power cut takes no entry back
            self._db.execute("PRAGMA synchronous = EXTRA")
            self._refuse_programs()
            self._migrate()
        except (sqlite3.Error, *_DAMAGE) as error:
            with contextlib.suppress(AttributeError, sqlite3.Error):
                self._db.close()
            raise FormatError(f"{self.path.name} is no defect library: {error}.") from error
        except FormatError:
            self._db.close()
            raise

    def __enter__(self) -> DefectLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _refuse_programs(self) -> None:
        """Refuse a file whose views or triggers would run with every look at it."""
        (n,) = self._db.execute(
            "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') "
            "OR sql LIKE 'CREATE VIRTUAL%'"
        ).fetchone()
        if n:
            raise FormatError(f"{self.path.name} is no defect library: it holds more than tables.")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @property
    def version(self) -> int:
        """Version of the schema of the file."""
        return self._pragma("user_version")

    def _migrate(self) -> None:
        """Bring the file to the version that this program writes, in one transaction."""
        newest = len(MIGRATIONS)
        if self.version == newest and self._pragma("application_id") == APPLICATION_ID:
            return
        with self._writing():
            version = self.version  # another may have been faster
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if self._pragma("application_id") != APPLICATION_ID and tables:
                raise FormatError(f"{self.path.name} is no defect library.")
            if version > newest:
                raise FormatError(
                    f"{self.path.name} was written by a later version of napari-atomlens; "
                    "please update."
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self._db.execute(statement)
            if 0 < version < 2:
                self._describe_all()
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {newest}")

    def _describe_all(self) -> None:
        rows = self._db.execute("SELECT id, structure FROM defects").fetchall()
        self._db.executemany(
            "UPDATE defects SET descriptor = ? WHERE id = ?",
            [(descriptor(*_structure(text)).tobytes(), i) for i, text in rows],
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction that waits for its turn; all of it or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise FormatError(
                f"{self.path.name} cannot be written now: {error}. Try again."
            ) from error
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise FormatError(f"{self.path.name} could not be written: {error}.") from error
            raise

    def _title(self) -> str:
        return f"Defect library {self.path.name!r}"

    def _facts(self) -> dict[str, object]:
        try:
            n, formulas = len(self), self.formulas()
        except FormatError as error:
            return {"entries": "closed" if "is closed" in str(error) else str(error)}
        pairs = zip(formulas["formula"], formulas["count"], strict=True)
        return {
            "entries": f"{n:,} of {len(formulas):,} formulas",
            "most frequent": ", ".join(f"{k:,} {name}" for name, k in list(pairs)[:5]),
        }

    def _picture(self) -> np.ndarray | None:
        """Return the newest entry that has an image."""
        try:
            return self._newest_patch()
        except FormatError:
            return None

    @_reads
    def _newest_patch(self) -> np.ndarray | None:
        found = self._db.execute(
            "SELECT id FROM defects WHERE patch IS NOT NULL ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return self.get(found[0]).patch if found else None

    @_reads
    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM defects").fetchone()[0])

    # ------------------------------------------------------------------ write

    @_takes
    def add(self, entries: Iterable[Entry]) -> list[int]:
        """Add entries, all or none, and return their ids."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        rows = [(e, _row(e, e.uid or uuid.uuid4().hex, e.created or now)) for e in entries]
        ids = []
        with self._writing():
            for entry, values in rows:
                marks = ", ".join("?" * len(values))
                cursor = self._db.execute(
                    f"INSERT INTO defects ({', '.join(values)}) VALUES ({marks})",
                    list(values.values()),
                )
                number = int(cursor.lastrowid or 0)
                ids.append(number)
                self._db.executemany(
                    "INSERT OR IGNORE INTO tags VALUES (?, ?)", [(number, t) for t in entry.tags]
                )
                self._db.executemany(
                    "INSERT INTO properties (defect_id, name, value) VALUES (?, ?, ?)",
                    [(number, k, float(v)) for k, v in entry.properties.items()],
                )
        return ids

    @_takes
    def remove(self, ids: Sequence[int]) -> None:
        """Take entries out, with their tags and properties."""
        with self._writing():
            self._db.executemany("DELETE FROM defects WHERE id = ?", [(int(i),) for i in ids])

    @_takes
    def annotate(
        self, number: int, *, notes: str | None = None, tags: Sequence[str] | None = None
    ) -> None:
        """Set the notes or the tags of an entry."""
        self._must_exist(number)
        with self._writing():
            if notes is not None:
                self._db.execute("UPDATE defects SET notes = ? WHERE id = ?", (notes, number))
            if tags is not None:
                self._db.execute("DELETE FROM tags WHERE defect_id = ?", (number,))
                self._db.executemany(
                    "INSERT OR IGNORE INTO tags VALUES (?, ?)", [(number, t) for t in tags]
                )

    @_takes
    def set_property(
        self, number: int, name: str, value: float, *, unit: str = "", method: str = ""
    ) -> None:
        """Set a property of an entry, such as an energy in eV by DFT."""
        self._must_exist(number)
        if not np.isfinite(value):
            raise ParameterError(f"The property {name} is {value}, but must be a finite number.")
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO properties VALUES (?, ?, ?, ?, ?)",
                (number, name, float(value), unit, method),
            )

    @_reads
    def _must_exist(self, number: int) -> None:
        number_between("The number of a defect", number, 0, 2**62, whole=True)
        if not self._db.execute("SELECT 1 FROM defects WHERE id = ?", (number,)).fetchone():
            raise ParameterError(f"There is no defect {number} in this library.")

    # ----------------------------------------------------------------- search

    @_reads
    def get(self, number: int) -> Entry:
        """Return one entry.

        Raises
        ------
        ParameterError
            If there is none of that id.
        """
        self._must_exist(number)
        cursor = self._db.execute("SELECT * FROM defects WHERE id = ?", (number,))
        names = [d[0] for d in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
        species, places, pairs = _structure(row["structure"])
        patch = None
        if row["patch"] is not None:
            height, width, low, span = json.loads(row["patch_shape"])
            patch = np.frombuffer(row["patch"], np.float16).astype(np.float32)
            patch = patch.reshape(int(height), int(width)) * float(span) + float(low)
        tags = self._db.execute("SELECT tag FROM tags WHERE defect_id = ? ORDER BY tag", (number,))
        values = self._db.execute(
            "SELECT name, value FROM properties WHERE defect_id = ? ORDER BY name", (number,)
        )
        missing = float("nan")
        return Entry(
            row["formula"], row["kind"], row["graph_hash"], species, places, pairs,
            score=missing if row["score"] is None else row["score"], patch=patch,
            pixel_size_nm=missing if row["pixel_size_nm"] is None else row["pixel_size_nm"],
            source=row["source"], provenance=parse_json(row["provenance"], "The provenance"),
            instrument=parse_json(row["instrument"], "What the instrument wrote"),
            notes=row["notes"],
            tags=tuple(t for (t,) in tags), properties=dict(values.fetchall()),
            id=row["id"], uid=row["uid"], created=row["created"],
        )  # fmt: skip

    @_reads
    def table(
        self,
        *,
        formula: str = "",
        kind: str = "",
        tag: str = "",
        text: str = "",
        ids: Sequence[int] | None = None,
        limit: int = 100_000,
    ) -> pd.DataFrame:
        """List entries, newest first; every given condition must hold.

        Parameters
        ----------
        formula : str
            Exactly this, or a pattern with "*", such as "Si3*".
        kind, tag : str
            Exactly this.
        text : str
            Anywhere in notes or source.
        ids : sequence of int, optional
            Only among these, in their order.
        limit : int
            Most rows.

        Returns
        -------
        pandas.DataFrame
            ``id``, ``formula``, ``kind``, ``score``, ``source``, ``created``, ``notes``.
        """
        where, values = ["1"], []
        if formula:
            where.append("formula GLOB ?" if "*" in formula else "formula = ?")
            values.append(formula)
        if kind:
            where.append("kind = ?")
            values.append(kind)
        if tag:
            where.append("id IN (SELECT defect_id FROM tags WHERE tag = ?)")
            values.append(tag)
        if text:
            where.append("(instr(lower(notes), lower(?)) OR instr(lower(source), lower(?)))")
            values += [text, text]
        columns = ["id", "formula", "kind", "score", "source", "created", "notes"]
        rows = self._db.execute(
            f"SELECT {', '.join(columns)} FROM defects WHERE {' AND '.join(where)} "
            "ORDER BY id DESC LIMIT ?",
            [*values, int(limit)],
        ).fetchall()
        found = pd.DataFrame(rows, columns=columns)
        if ids is not None:
            found = found.set_index("id").reindex([i for i in ids if i in set(found["id"])])
            found = found.reset_index()[columns]
        return found

    @_reads
    def formulas(self) -> pd.DataFrame:
        """Count the entries of every formula, the most frequent first."""
        rows = self._db.execute(
            "SELECT formula, count(*) AS n FROM defects GROUP BY formula ORDER BY n DESC, formula"
        )
        return pd.DataFrame(rows.fetchall(), columns=["formula", "count"])

    @_reads
    def with_subgraph(self, pattern: nx.Graph) -> list[int]:
        """Ids of the entries whose graph holds `pattern`.

        Parameters
        ----------
        pattern : networkx.Graph
            Nodes may carry ``species``; one without, or with "*", fits any atom.
        """
        from networkx.algorithms.isomorphism import GraphMatcher

        def fits(there: dict[str, object], wanted: dict[str, object]) -> bool:
            return wanted.get("species", "*") in ("*", there["species"])

        # one graph for each type: there are few types
        found = []
        types = self._db.execute(
            "SELECT graph_hash, structure, min(id) FROM defects GROUP BY graph_hash"
        ).fetchall()
        for graph_hash, text, _ in types:
            species, places, pairs = _structure(text)
            if len(species) < len(pattern) or len(pairs) < pattern.number_of_edges():
                continue
            graph = Entry("", "", "", species, places, pairs).networkx()
            if GraphMatcher(graph, pattern, fits).subgraph_is_monomorphic():
                found.append(graph_hash)
        ids: list[int] = []
        for graph_hash in found:
            ids += [
                int(i)
                for (i,) in self._db.execute(
                    "SELECT id FROM defects WHERE graph_hash = ?", (graph_hash,)
                )
            ]
        return sorted(ids, reverse=True)

    @_reads
    def similar(self, entry: Entry, n: int = 10) -> pd.DataFrame:
        """Return the entries most like `entry`, with their ``distance`` (0 is equal).

        Parameters
        ----------
        entry : Entry
            One of this library (left out of the answer) or any other.
        n : int
            How many.
        """
        rows = self._db.execute(
            "SELECT id, descriptor FROM defects WHERE descriptor IS NOT NULL AND uid != ?",
            (entry.uid,),
        ).fetchall()
        if not rows:
            return self.table(limit=0).assign(distance=[])
        vectors = np.frombuffer(b"".join(r[1] for r in rows), np.float32).reshape(len(rows), -1)
        own = descriptor(entry.species, entry.places_nm, entry.pairs)
        distance = np.linalg.norm(vectors - own, axis=1)
        best = np.argsort(distance, kind="stable")[:n]
        ids = [int(rows[i][0]) for i in best]
        marks = ",".join("?" * len(ids))
        columns = ["id", "formula", "kind", "score", "source", "created", "notes"]
        found = self._db.execute(
            f"SELECT {', '.join(columns)} FROM defects WHERE id IN ({marks})", ids
        ).fetchall()
        table = pd.DataFrame(found, columns=columns).set_index("id").loc[ids].reset_index()
        return table.assign(distance=distance[best])

    # ----------------------------------------------------------------- import

    @_takes
    def import_published(
        self, paths: Iterable[str | Path], rules: Rules | str = "graphene-si"
    ) -> int:
        """Add the defects of files of the published HDF5 library; all of them or none.

        Parameters
        ----------
        paths : iterable of path
            Files with the data sets ``nn_input`` and ``defect_coord_0`` ... The label is the
            attribute ``defect type``, else the name of the folder.
        rules : Rules or str
            By which the stored atoms are bonded.

        Returns
        -------
        int
            How many defects were added.

        Raises
        ------
        FormatError
            If a file is of another format; nothing is added then.
        """
        entries: list[Entry] = []
        for path in paths:
            entries += read_published(path, rules)
        return len(self.add(entries))


def read_published(path: str | Path, rules: Rules | str = "graphene-si") -> list[Entry]:
    """Read the defects of one file of the published HDF5 library.

    Raises
    ------
    FormatError
        If the file is damaged or of another format.
    """
    source = path_of(path)
    entries = []
    try:
        with open_hdf5(source) as file:
            image = np.squeeze(file["nn_input"][()]).astype(np.float32)
            pixel_nm = float(file["nn_input"].attrs["scan size"]) / 1000 / image.shape[1]
            instrument = parse_json(file["nn_input"].attrs.get("metadata", "{}"), source.name)
            keys = sorted(k for k in file if k.startswith("defect_coord"))
            stored = [
                (str(file[k].attrs.get("defect type", source.parent.name)), file[k][()])
                for k in keys
            ]
        for label, rows in stored:
            # columns x, y, element, all as bytes
            atoms = pd.DataFrame(
                {
                    "y_px": [float(r[1]) for r in rows], "x_px": [float(r[0]) for r in rows],
                    "species": [r[2].decode() for r in rows],
                }
            )  # fmt: skip
            atoms["y_nm"], atoms["x_nm"] = atoms["y_px"] * pixel_nm, atoms["x_px"] * pixel_nm
            graph = bond(atoms, rules)
            found = find_defects(graph)
            # the file says that these atoms are one defect, whatever the rules make of them
            every: Any = [tuple(range(len(atoms)))]
            one = found.iloc[[0]].assign(
                formula=label, atom_ids=every, score=np.nan,
                y_px=atoms["y_px"].mean(), x_px=atoms["x_px"].mean(),
            )  # fmt: skip
            entries += entries_of(
                graph, one, image, source=f"{source.parent.name}/{source.name}",
                instrument=instrument, provenance={"imported": "published HDF5 library"},
                tags=("published",),
            )  # fmt: skip
    except (OSError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise FormatError(f"{source.name} is no file of the published library: {error}.") from error
    return entries


def _structure(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Species, places and bonds of an entry, which fit each other."""
    data = parse_json(text, "The structure of a defect")
    species = [str(s) for s in data["species"]]
    places = np.asarray(data["places_nm"], float).reshape(-1, 2)
    pairs = np.asarray(data["pairs"], int).reshape(-1, 2)
    if len(places) != len(species) or not np.isfinite(places).all():
        raise FormatError("The structure of a defect is damaged: its atoms have no places.")
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < len(species):
        raise FormatError("The structure of a defect is damaged: a bond has no atom.")
    return species, places, pairs


def _row(entry: Entry, uid: str, created: str) -> dict[str, object]:
    """Columns of an entry."""
    structure = {
        "species": list(entry.species),
        "places_nm": np.round(entry.places_nm, 6).tolist(),
        "pairs": np.asarray(entry.pairs, int).tolist(),
    }
    patch, shape = None, None
    if entry.patch is not None:
        # half precision of a patch scaled to 0-1: a thousandth of its contrast
        finite = entry.patch[np.isfinite(entry.patch)]
        low = float(finite.min()) if len(finite) else 0.0
        span = (float(finite.max()) - low if len(finite) else 0.0) or 1.0
        patch = ((entry.patch - low) / span).astype(np.float16).tobytes()
        shape = json.dumps([*entry.patch.shape, low, span])
    vector = descriptor(entry.species, np.asarray(entry.places_nm), np.asarray(entry.pairs))
    finite_or_none = lambda v: float(v) if np.isfinite(v) else None  # noqa: E731
    return {
        "uid": uid,
        "created": created,
        "formula": entry.formula,
        "kind": entry.kind,
        "graph_hash": entry.graph_hash,
        "score": finite_or_none(entry.score),
        "source": entry.source,
        "structure": json.dumps(structure, separators=(",", ":")),
        "patch": patch,
        "patch_shape": shape,
        "pixel_size_nm": finite_or_none(entry.pixel_size_nm),
        "provenance": json.dumps(entry.provenance, default=str),
        "instrument": json.dumps(entry.instrument, default=str),
        "notes": entry.notes,
        "descriptor": vector.tobytes(),
    }
