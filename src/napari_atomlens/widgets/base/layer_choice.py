"""The choice of a layer: napari's own types, the visible one on top first, hidden ones marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from magicgui.widgets import ComboBox, create_widget
from napari.layers import Layer
from psygnal import Signal
from qtpy.QtCore import Qt

from napari_atomlens.widgets.base.fields import OF_LAYERS, before_opening, groomed

if TYPE_CHECKING:
    import napari.viewer

L = TypeVar("L", bound=Layer)
#: Behind the name of a layer that is not visible.
HIDDEN = " (hidden)"


class LayerChoice(Generic[L]):
    """A list of the layers of one type of a viewer.

    It starts with the active layer where that one is offered and visible, else with the visible
    one on top; until the user has chosen, it goes with the layers that come.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    kind : type
        ``napari.layers.Image``, ``Points`` ...
    name, label : str
        Name of the widget, and what stands before it.
    accepts : callable, optional
        Says whether a layer is offered.
    prefers : callable, optional
        Says which layers come first: those that one wants, most likely.
    none : str
        Entry for no layer, which is the first then; "" where a layer must be chosen.
    starts : callable, optional
        Says of the layers offered with which one it starts, visible or not.
    tip : str

    Attributes
    ----------
    widget : magicgui.widgets.ComboBox
    changed : Signal(Layer or None)
        Another layer is chosen.
    """

    changed = Signal(object)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        kind: type[L],
        name: str,
        label: str,
        *,
        accepts: Callable[[Layer], bool] | None = None,
        prefers: Callable[[Layer], bool] | None = None,
        none: str = "",
        starts: Callable[[list[L]], L] | None = None,
        tip: str = "",
    ) -> None:
        self._viewer, self._kind, self._none = viewer, kind, none
        self._starts = starts
        self._accepts, self._prefers = accepts, prefers
        self._listing = self._by_hand = False
        self._told: str | None = None
        self._listed: list[tuple[str, L]] = []
        self._known: set[str | None] = set()
        made = create_widget(
            annotation=kind, name=name, label=label,
            options={"choices": self._entries, "tooltip": tip},
        )  # fmt: skip
        self.widget = cast(ComboBox, made)
        groomed(self.widget)
        self.widget.native.setProperty(OF_LAYERS, True)
        before_opening(self.widget, self.reset_choices)  # visibility has no event of its own
        self.widget.changed.connect(self._on_changed)
        self.reset_choices()

    # ------------------------------------------------------------------ the list

    def offered(self) -> list[L]:
        """Layers to choose from, the one on top first."""
        found = [
            x for x in reversed(self._viewer.layers)
            if isinstance(x, self._kind) and (self._accepts is None or self._accepts(x))
        ]  # fmt: skip
        if self._prefers is not None:
            found.sort(key=lambda x: not self._prefers(x))  # type: ignore[misc]
        return found

    def reset_choices(self, event: object = None) -> None:
        """List the layers anew; napari calls it when layers come, go, move or are renamed."""
        layers = self.offered()
        self._listed = [(x.name + ("" if x.visible else HIDDEN), x) for x in layers]
        wanted = self._wanted(layers)
        qt = self.widget.native
        self._listing = True
        try:
            self.widget.reset_choices()
            places = [_id(qt.itemData(k)) for k in range(qt.count())]
            order = [_id(x) for _, x in self._entries()]
            if places != order:  # magicgui puts what is new last
                qt.clear()
                self.widget.reset_choices()
                places = order
            for k in range(qt.count()):  # the whole name where the list cuts it
                qt.setItemData(k, qt.itemText(k), Qt.ItemDataRole.ToolTipRole)
            if wanted in places:
                qt.setCurrentIndex(places.index(wanted))
        finally:
            self._listing = False
        self._tell()

    def _entries(self, widget: object = None) -> list[tuple[str, L | None]]:
        entries: list[tuple[str, L | None]] = [(self._none, None)] if self._none else []
        return entries + self._listed

    def _is_worse(self, layer: L, chosen: L | None) -> bool:
        """Whether what is chosen is preferred to a layer: bonds and defects come after atoms."""
        prefers = self._prefers
        return (
            prefers is not None and chosen is not None and chosen.visible
            and prefers(chosen) and not prefers(layer)
        )  # fmt: skip

    def _wanted(self, layers: list[L]) -> str | None:
        """Id of the layer to choose now."""
        by_id = {_id(x): x for x in layers}
        chosen = by_id.get(self._told)
        fresh = [
            i for i, x in by_id.items()
            if x.visible and self._known and i not in self._known and not self._is_worse(x, chosen)
        ]  # fmt: skip
        self._known = set(by_id)
        if self._by_hand and (chosen is not None or (self._none and self._told is None)):
            return self._told
        self._by_hand = False
        if self._none or not layers:
            return self._told if chosen is not None else None
        if self._starts is not None:
            return _id(self._starts(layers))
        if fresh:
            return fresh[0]
        if chosen is not None and chosen.visible:
            return self._told
        active = _id(self._viewer.layers.selection.active)
        if active in by_id and by_id[active].visible:
            return active
        return _id(next((x for x in layers if x.visible), layers[0]))

    # ---------------------------------------------------------------- the choice

    @property
    def layer(self) -> L | None:
        """The layer that is chosen, None where there is none."""
        if self._told is None:
            return None
        return next((x for x in self.offered() if _id(x) == self._told), None)

    @property
    def key(self) -> str | None:
        """Id of the layer that is chosen."""
        return self._told

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer, as if by hand."""
        self.reset_choices()
        qt = self.widget.native
        for k in range(qt.count()):
            if _id(qt.itemData(k)) == _id(layer):
                qt.setCurrentIndex(k)
        self._by_hand = True

    def _on_changed(self, layer: object) -> None:
        if self._listing:
            return
        self._by_hand = True
        self._tell()

    def _tell(self) -> None:
        layer = self.widget.native.currentData()
        if _id(layer) != self._told:
            self._told = _id(layer)
            self.changed.emit(layer)

    def close(self) -> None:
        """Let go of the layers."""
        self._listing = True
        self.changed.disconnect()
        self.widget.changed.disconnect()


def _id(layer: Layer | None) -> str | None:
    return None if layer is None else str(layer.unique_id)
