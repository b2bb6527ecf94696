"""What a window says of the atoms: how many, how doubtful, what a run gave, what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from napari_atomlens.atoms.quality import Quality, mean_quality
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.segmentation.zoo import role_of
from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.edits.doubt import doubt
from napari_atomlens.session.results import Taken

#: In larger tables the doubtful atoms of the frame alone are counted while one edits.
MANY_ATOMS = 50_000


def doubtful_text(c: Corrections, frame: int, certain: float, n_atoms: int, movie: bool) -> str:
    """Say how many atoms are doubtful in a frame and, where that is quick, in all.

    Parameters
    ----------
    c : Corrections
    frame : int
        Frame that is shown.
    certain : float
        Atoms below this probability are doubtful.
    n_atoms : int
        Atoms in all frames.
    movie : bool
        Whether there are other frames.
    """
    least = 1 - certain + 1e-12
    text = f"{int((doubt(c.table(frame)) > least).sum())} doubtful here"
    if movie and n_atoms <= MANY_ATOMS:
        text += f", {int((doubt(c.atoms()) > least).sum())} in all frames"
    return text


def n_seen(c: Corrections, n_frames: int) -> int:
    """How many frames of a movie were seen."""
    return sum(0 <= f < n_frames for f in c.seen())


def stale_text(stale: dict[str, frozenset[int]]) -> str:
    """Name what the button that updates would make anew; "" where there is nothing."""
    if not stale:
        return ""
    frames = len(frozenset().union(*stale.values()))
    return f"Update {', '.join(sorted(stale))} ({frames} frame{'' if frames == 1 else 's'})"


def atom_text(c: Corrections, atom_id: int) -> str:
    """Say what an atom is and how probable."""
    row = c.rows([atom_id])[0]
    p = float(c.value(row, "probability"))
    chance = f", probability {p:.2f}" if p == p else ""
    return f"{c.value(row, 'species') or 'Atom'} {atom_id}{chance}."


def species_counts(c: Corrections, frame: int, classes: Iterable[str] = ()) -> dict[str, int]:
    """Count the atoms of a frame by species, without those in unfamiliar neighbourhoods.

    Parameters
    ----------
    c : Corrections
    frame : int
    classes : iterable of str
        Classes of the model: those that are atoms are named also where there are none.
    """
    atoms = c.table(frame)
    here = Counter(str(s) for s in atoms["species"][~is_unfamiliar(atoms)])
    names = dict.fromkeys([*(n for n in classes if n), *sorted(here)])
    return {n: here[n] for n in names if role_of(n) == "column"}


@dataclass
class Tally:
    """Counts what a run gives, for the sentence at its end.

    Attributes
    ----------
    many : bool
        Whether there are several frames.
    keeps : bool
        Whether the session takes the atoms; else those of the run are counted.
    model, reason : str
        The model, and why it was chosen.
    """

    many: bool
    keeps: bool = True
    model: str = ""
    reason: str = ""
    _n_atoms: int = 0
    _n_frames: int = 0
    _kept: str = ""
    _notes: tuple[str, ...] = ()
    _messages: list[str] = field(default_factory=list)
    _quality: list[Quality] = field(default_factory=list)

    def take(self, results: Sequence[FrameResult], taken: Taken) -> None:
        """Count the results of some frames, and what became of them."""
        self._n_atoms += taken.n_atoms if self.keeps else sum(len(r.atoms) for r in results)
        self._kept = taken.kept if self.keeps else ""
        self._n_frames += len(results)
        for r in results:
            self.model, self.reason = r.model, r.model_reason
            if r.quality is not None:
                self._quality.append(r.quality)
            if r.plan is not None:
                self._notes = r.plan.notes
            if r.message:
                self._messages.append(f"Frame {r.frame}: {r.message}" if self.many else r.message)

    def sentence(self, seconds: float) -> str:
        """Say what there is now, in how many seconds."""
        n, said = self._n_atoms, []
        # why it was chosen is in the tool tip; that it was not the usual one is said at once
        if self.reason and self.model != "universal":
            said.append(f"model {self.model}")
        said.append(f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min")
        kept = f"; {self._kept}" if self._kept else ""
        where = f" in {self._n_frames} frames" if self.many else ""
        text = f"{n:,} atom{'' if n == 1 else 's'}{where}, {', '.join(said)}{kept}." if n else ""
        if n:
            text = " ".join([text, *self._notes])
            if good := mean_quality(self._quality):
                text += f" {good.sentence()}"
        if self._messages:
            text += f" {self._messages[0]}"
            if len(self._messages) > 1:
                rest = len(self._messages) - 1
                text += f" ({rest} more frame{'' if rest == 1 else 's'} with a message.)"
        return text.strip() or "No atom was found."
