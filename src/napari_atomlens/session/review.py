"""Looking through the atoms frame by frame: how many are doubtful, which frames were seen."""

from __future__ import annotations

from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.edits.doubt import doubt

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
