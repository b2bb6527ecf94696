"""Whatever a user does in whatever order: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from conftest_edits import SPACING, machine_atoms
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_atomlens.points import inside_polygon
from napari_atomlens.session.edits import Corrections, actions

FRAMES = st.integers(0, 2)
PICK = st.integers(0, 1000)
PLACE = st.tuples(st.floats(1, 40), st.floats(1, 40))


def entries_of(c: Corrections) -> list[dict[str, Any]]:
    """The journal as it comes back from a file."""
    return [json.loads(json.dumps(e)) for e in c.journal.entries()]


class Session(RuleBasedStateMachine):
    """A user at work, and a model that runs again now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.c = Corrections(machine_atoms(), "me", SPACING)
        self.counts: dict[int, int] = {}
        self.watch()
        self.seed = 0

    def watch(self) -> None:
        """Derive something from the atoms: how many there are in each frame."""
        self.counts = {f: len(self.c.table(f)) for f in range(3)}

        def count(frames: frozenset[int]) -> None:
            for f in frames:
                self.counts[f] = len(self.c.table(f))

        self.c.derived.subscribe("counts", count)
        self.c.derived.subscribe("slow")

    def some(self, frame: int, pick: int) -> int | None:
        ids = self.c.columns(frame).ids
        return int(ids[pick % len(ids)]) if len(ids) else None

    @rule(frame=FRAMES, place=PLACE)
    def add(self, frame: int, place: tuple[float, float]) -> None:
        actions.add(self.c, frame, *place, "column", (0.1, 0.1))

    @rule(frame=FRAMES, pick=PICK)
    def delete(self, frame: int, pick: int) -> None:
        if (i := self.some(frame, pick)) is not None:
            actions.delete(self.c, [i])

    @rule(frame=FRAMES, pick=PICK, place=PLACE)
    def move(self, frame: int, pick: int, place: tuple[float, float]) -> None:
        if (i := self.some(frame, pick)) is not None:
            actions.move(self.c, [i], [place])

    @rule(frame=FRAMES, pick=PICK, name=st.sampled_from(["column", "bright column", "Si"]))
    def species(self, frame: int, pick: int, name: str) -> None:
        if (i := self.some(frame, pick)) is not None:
            actions.set_species(self.c, [i], name)

    @rule(frame=FRAMES, pick=PICK, ok=st.booleans())
    def judge(self, frame: int, pick: int, ok: bool) -> None:
        if (i := self.some(frame, pick)) is not None:
            (actions.accept if ok else actions.reject)(self.c, [i])

    @rule(frame=FRAMES, pick=PICK)
    def merge(self, frame: int, pick: int) -> None:
        a, b = self.some(frame, pick), self.some(frame, pick + 1)
        if a is not None and a != b:
            actions.merge(self.c, [a, b])

    @rule(frame=FRAMES, pick=PICK)
    def split(self, frame: int, pick: int) -> None:
        if (i := self.some(frame, pick)) is not None:
            at = self.c.columns(frame).positions[self.c.columns(frame).index(i)]
            actions.split(self.c, i, [at - 2, at + 2])

    @rule(frame=st.one_of(st.none(), FRAMES), place=PLACE)
    def exclude(self, frame: int | None, place: tuple[float, float]) -> None:
        corners = np.array([[-6, -6], [-6, 6], [6, 6], [6, -6]]) + place
        actions.exclude(self.c, corners, frame)

    @rule(frame=FRAMES, on=st.booleans())
    def seen(self, frame: int, on: bool) -> None:
        actions.mark_seen(self.c, frame, on)

    @rule()
    def undo(self) -> None:
        self.c.undo()

    @rule()
    def redo(self) -> None:
        self.c.redo()

    @precondition(lambda self: self.c.journal.done)
    @rule()
    def there_and_back(self) -> None:
        before, n = self.c.atoms(), len(self.c.journal.done)
        for _ in range(n):
            assert self.c.undo() is not None
        pd.testing.assert_frame_equal(self.c.atoms(), self.c.machine())
        for _ in range(n):
            assert self.c.redo() is not None
        pd.testing.assert_frame_equal(self.c.atoms(), before)

    @rule(frames=st.sets(FRAMES, min_size=1), seed=st.integers(0, 50))
    def rerun(self, frames: set[int], seed: int) -> None:
        old = self.c.atoms()
        new = machine_atoms(seed=seed)
        conflicts = self.c.rerun(new[new["frame"].isin(frames)], frames, SPACING)
        now = self.c.atoms()
        mine = old[(old["source"] == "user") & np.isnan(old["probability"])]
        kept = mine.merge(now, on="atom_id", suffixes=("", "_now"))
        # what the user placed stays where it was put, unless a region excludes it
        for row in mine[~mine["atom_id"].isin(kept["atom_id"])].itertuples():
            assert any(
                inside_polygon(np.array([[row.y_px, row.x_px]]), p).any()
                for p in self.c.regions(int(row.frame))
            )
        np.testing.assert_array_equal(kept[["y_px", "x_px"]], kept[["y_px_now", "x_px_now"]])
        assert all(x.frame in frames for x in conflicts)

    @rule()
    def save_and_load(self) -> None:
        c = Corrections.restore(self.c.machine(), entries_of(self.c), "me", SPACING)
        pd.testing.assert_frame_equal(c.atoms(), self.c.atoms())
        pd.testing.assert_frame_equal(c.machine(), self.c.machine())
        assert (c.journal.done, c.journal.undone) == (self.c.journal.done, self.c.journal.undone)
        assert c.seen() == self.c.seen()
        self.c = c
        self.watch()

    @invariant()
    def ids_are_unique(self) -> None:
        atoms = self.c.atoms()
        assert atoms["atom_id"].is_unique
        assert (atoms["atom_id"] // 10_000_000 == atoms["frame"]).all()

    @invariant()
    def regions_are_empty_of_the_models_atoms(self) -> None:
        for f in range(3):
            t = self.c.table(f)
            model = t[~t["edited"]]
            for polygon in self.c.regions(f):
                assert not inside_polygon(model[["y_px", "x_px"]].to_numpy(), polygon).any()

    @invariant()
    def derived_tables_follow(self) -> None:
        stale = self.c.derived.stale().get("counts", frozenset())
        for f in range(3):
            assert f in stale or self.counts[f] == len(self.c.table(f))


Session.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestSession = Session.TestCase
