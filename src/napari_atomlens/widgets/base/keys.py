"""One table of shortcuts: what is bound, what it does, what the window says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from napari.layers import Points

T = TypeVar("T")


@dataclass(frozen=True)
class Shortcut:
    """Keys of a command.

    Attributes
    ----------
    command : str
        Name of the command.
    keys : tuple of str
        As napari writes them.
    text : str
        What it does.
    """

    command: str
    keys: tuple[str, ...]
    text: str


#: Of Correct mode; bound on the atoms layer alone, and only while the mode is on.
CORRECT = (
    Shortcut("undo", ("Control-Z",), "Undo"),
    Shortcut("redo", ("Control-Shift-Z",), "Redo"),
    Shortcut("delete", ("Delete", "Backspace"), "Delete the selected atoms"),
    Shortcut("accept", ("Y",), "Accept: the atom is there"),
    Shortcut("reject", ("X",), "Reject: the atom is not there"),
    Shortcut("merge", ("M",), "Merge the selected atoms"),
    Shortcut("split", ("B",), "Split the selected atom"),
    Shortcut("next", ("N",), "Next doubtful atom"),
    Shortcut("seen", ("E",), "Frame seen, go to the next"),
)
N_SPECIES = 9


def bind(layer: Points, run: Callable[[str], None], species: Callable[[int], None]) -> None:
    """Bind the shortcuts of Correct mode on a layer.

    Parameters
    ----------
    layer : napari.layers.Points
    run : callable
        Called with the name of a command.
    species : callable
        Called with the number of a species, from 0.
    """
    for shortcut in CORRECT:
        for key in shortcut.keys:
            layer.bind_key(key, _call(run, shortcut.command), overwrite=True)
    for k in range(N_SPECIES):
        layer.bind_key(str(k + 1), _call(species, k), overwrite=True)


def unbind(layer: Points) -> None:
    """Take the shortcuts off again: the keys are napari's as before."""
    for key in (*(k for s in CORRECT for k in s.keys), *(str(k + 1) for k in range(N_SPECIES))):
        layer.bind_key(key, None)


def _call(function: Callable[[T], None], argument: T) -> Callable[[Points], None]:
    def pressed(layer: Points) -> None:
        function(argument)

    return pressed
