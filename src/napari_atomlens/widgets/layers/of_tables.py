"""What layers that show tables of a session have in common: they follow it, docks or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from psygnal import Signal

if TYPE_CHECKING:
    from napari_atomlens.session.session import Session
    from napari_atomlens.widgets.layers.layer_set import LayerSet


class LayersOfTables:
    """Draws tables of a session, and hears when somebody else makes them anew.

    Parameters
    ----------
    layers : LayerSet
        Of the layer of atoms.

    Notes
    -----
    Signal: ``changed`` (the tables are others now, and so are the layers).
    """

    changed = Signal()

    def __init__(self, layers: LayerSet) -> None:
        self._layers = layers
        self._session: Session | None = None
        self._own = False

    def close(self) -> None:
        """Let go of the session; the layers stay."""
        self._follow(None)

    def _follow(self, session: Session | None) -> None:
        """Hear of the tables of a session, and of no other."""
        old, self._session = self._session, session
        if old is session:
            return
        if old is not None:
            old.table_changed.disconnect(self._on_table_changed, missing_ok=True)
        if session is not None:
            session.table_changed.connect(self._on_table_changed)

    @contextlib.contextmanager
    def _own_tables(self) -> Iterator[None]:
        """Tables that are put inside are of our own making."""
        self._own = True
        try:
            yield
        finally:
            self._own = False

    def _draw_in_steps(
        self, draws: Iterable[Callable[[], object]], is_latest: Callable[[], bool]
    ) -> Iterator[None]:
        """Draw one layer a step, with a pause before each; what another has replaced is left."""
        yield
        for draw in draws:
            if not is_latest():
                return
            with self._layers.own_changes():
                draw()
            yield
        self.changed.emit()

    def _on_table_changed(self, name: str) -> None:
        """Draw what somebody else has made anew."""
        raise NotImplementedError
