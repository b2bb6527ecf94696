"""What a button of a dock starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from napari_atomlens.progress import Progress

if TYPE_CHECKING:
    from napari.layers import Layer

R = TypeVar("R")


@dataclass(frozen=True)
class Task(Generic[R]):
    """What a button starts.

    Attributes
    ----------
    work : callable
        Called in a thread with a :class:`~napari_atomlens.progress.Progress`; the iterator that
        it returns yields the results. It touches neither viewer nor layers.
    show : callable
        Called in the window with the list of results that came since the last time. It may
        return an iterator: then each of its steps is done in an event of its own, so that the
        window can paint between two layers. A step leaves nothing half done.
    done : callable
        Returns the sentence of the status line once all results are shown.
    saying : str
        Status line meanwhile.
    total : int
        Number of steps, 0 or 1 where they cannot be counted.
    noun : str
        What the steps are.
    sources : sequence of Layer
        The work stops when one of these is removed.
    needs_torch : bool
    after_cancel : str
        Sentence for the status line after a cancel, as how to go on.
    """

    work: Callable[[Progress], Iterator[R]]
    show: Callable[[list[R]], object]
    done: Callable[[], str]
    saying: str = "Working…"
    total: int = 0
    noun: str = "frames"
    sources: Sequence[Layer] = ()
    needs_torch: bool = False
    after_cancel: str = ""
