"""Training of the second stage: a run that was ended goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_atomlens.atoms.evidence import NAMES
from napari_atomlens.training import trust
from napari_atomlens.training.trust_scenes import Shown


class Ended(Exception):
    """The run was ended from outside."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Two kinds of small images, judged without a network; what was judged, in order."""
    log: list[float] = []

    def make(rng: np.random.Generator) -> Shown:
        return Shown(rng.normal(size=(4, 4)))

    def judged(shown: Shown) -> tuple[np.ndarray, np.ndarray]:
        log.append(float(shown.image[0, 0]))
        return np.resize(shown.image, (3, len(NAMES))), shown.image[0, :3] > 0

    monkeypatch.setattr(trust, "KINDS", {"even": make, "odd": make})
    monkeypatch.setattr(trust, "judged", judged)
    return log


def test_a_training_that_was_ended_goes_on_and_finds_the_same(
    seen: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = trust.samples(range(3))
    every = seen.copy()
    assert len(set(every)) == 6
    whole = trust.judged

    def ends(shown: Shown) -> tuple[np.ndarray, np.ndarray]:
        if len(seen) == 4:
            raise Ended
        return whole(shown)

    seen.clear()
    monkeypatch.setattr(trust, "judged", ends)
    with pytest.raises(Ended):
        trust.samples(range(3), tmp_path / "kept")
    monkeypatch.setattr(trust, "judged", whole)
    again = trust.samples(range(3), tmp_path / "kept")
    assert seen == every  # none twice
    assert set(again) == set(at_once)
    for key, values in at_once.items():
        assert np.array_equal(again[key], values), key


def test_other_evidence_than_todays_is_gathered_anew(
    seen: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.samples(range(1), tmp_path)
    with monkeypatch.context() as other:
        other.setattr(trust, "NAMES", (*NAMES[:-1], "something else"))
        trust.samples(range(1), tmp_path)
        assert len(seen) == 4
        trust.samples(range(1), tmp_path)
        assert len(seen) == 4
    trust.samples(range(1), tmp_path)
    assert len(seen) == 6 and len(list(tmp_path.iterdir())) == 2
