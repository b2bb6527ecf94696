"""Whatever is edited, undone and run again: the table is the journal over the model's output."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from session_scene import SIZE, result, session_of

from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.edits.columns import same
from napari_atomlens.session.edits.corrections import Change

FRAMES = st.integers(0, 1)
PICK = st.integers(0, 1000)
PLACE = st.tuples(st.floats(1, 48), st.floats(1, 48))
EMPTY = pd.DataFrame({"frame": []})


class Owner(RuleBasedStateMachine):
    """A user at work, a model that runs again, docks that make tables now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.session = session_of(frames=2)
        self.session.put("bonds", EMPTY)
        self.stale = False
        self.view: dict[int, tuple[object, ...]] = {}
        self.session.edited.connect(self.patch)
        self.session.atoms_reset.connect(self.show_all)
        self.show_all()
        self.note()

    # a view that only follows what it is told
    def show_all(self) -> None:
        c = self.session.corrections
        ids = [int(i) for i in c.atoms()["atom_id"]]
        self.view = dict(zip(ids, c.rows(ids), strict=True))

    def patch(self, change: Change) -> None:
        for i in change.gone:
            del self.view[i]
        for r in change.rows:
            self.view[int(self.session.corrections.value(r, "atom_id"))] = r
        self.stale = self.stale or bool(change.frames)

    def note(self) -> None:
        """Measure every atom: the value tells on which one, and where."""
        atoms = self.session.atoms()
        value = atoms["atom_id"] + 1e-3 * atoms["y_px"]
        self.session.measured.note(atoms[["atom_id"]].assign(moment=value), atoms)

    def some(self, frame: int, pick: int) -> int:
        ids = self.session.corrections.columns(frame).ids
        return int(ids[pick % len(ids)]) if len(ids) else -1

    @rule(frame=FRAMES, place=PLACE)
    def add(self, frame: int, place: tuple[float, float]) -> None:
        self.session.edit(actions.add, frame, *place, "column")

    @rule(frame=FRAMES, pick=PICK)
    def delete(self, frame: int, pick: int) -> None:
        self.session.edit(actions.delete, [self.some(frame, pick)])

    @rule(frame=FRAMES, pick=PICK, place=PLACE)
    def move(self, frame: int, pick: int, place: tuple[float, float]) -> None:
        self.session.edit(actions.move, [self.some(frame, pick)], [place])

    @rule(frame=FRAMES, pick=PICK, name=st.sampled_from(["column", "Si"]))
    def species(self, frame: int, pick: int, name: str) -> None:
        self.session.edit(actions.set_species, [self.some(frame, pick)], name)

    @rule(frame=FRAMES, pick=PICK)
    def merge(self, frame: int, pick: int) -> None:
        self.session.edit(actions.merge, [self.some(frame, pick), self.some(frame, pick + 1)])

    @rule(frame=FRAMES, pick=PICK, place=PLACE)
    def split(self, frame: int, pick: int, place: tuple[float, float]) -> None:
        self.session.edit(actions.split, self.some(frame, pick), [place, (place[0] + 1, place[1])])

    @rule(place=PLACE)
    def exclude(self, place: tuple[float, float]) -> None:
        corners = np.array([[-6, -6], [-6, 6], [6, 6], [6, -6]]) + place
        self.session.edit(actions.exclude, corners)

    @rule()
    def undo(self) -> None:
        self.session.undo()

    @rule()
    def redo(self) -> None:
        self.session.redo()

    @rule(frame=FRAMES, shift=st.floats(-1, 1), drop=st.sets(st.integers(0, 24), max_size=4))
    def take(self, frame: int, shift: float, drop: set[int]) -> None:
        run = self.session.begin((2, SIZE, SIZE), {"started": str(shift)})
        self.session.take(result(frame, shift, sorted(drop)), run)
        self.stale = True

    @rule()
    def put(self) -> None:
        self.session.put("bonds", EMPTY, revision=self.session.revision)
        self.stale = False

    @rule()
    def measure(self) -> None:
        self.note()

    @invariant()
    def the_table_is_the_journal_over_the_machine(self) -> None:
        c = self.session.corrections
        entries = [json.loads(json.dumps(e)) for e in c.journal.entries()]
        again = Corrections.restore(c.machine(), entries, "me", c.spacing_px)
        pd.testing.assert_frame_equal(again.atoms(), c.atoms())

    @invariant()
    def ids_are_unique(self) -> None:
        assert self.session.atoms()["atom_id"].is_unique

    @invariant()
    def a_view_that_follows_shows_the_same(self) -> None:
        c = self.session.corrections
        ids = [int(i) for i in c.atoms()["atom_id"]]
        assert sorted(self.view) == sorted(ids)
        for i, row in zip(ids, c.rows(ids), strict=True):
            assert all(map(same, row, self.view[i]))

    @invariant()
    def stale_is_what_was_made_before_a_change(self) -> None:
        assert self.session.is_stale("bonds") == self.stale
        assert self.session.state("atoms") == "fresh"

    @invariant()
    def outlines_are_of_atoms_that_are_there(self) -> None:
        if self.session.is_stale("contours"):
            return
        for f in (0, 1):
            ids = set(self.session.outlines.by_atom(f))
            assert ids == set(self.session.corrections.columns(f).ids.tolist())

    @invariant()
    def what_is_measured_is_of_this_atom_at_this_place(self) -> None:
        now = self.session.features()
        known = now["moment"].notna()
        true = now["atom_id"] + 1e-3 * now["y_px"]
        np.testing.assert_array_equal(now["moment"][known], true[known])


Owner.TestCase.settings = settings(
    max_examples=10, stateful_step_count=15, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestOwner = Owner.TestCase
