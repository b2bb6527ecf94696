"""What every group of our layers needs: found again, placed, updated in place, marked stale."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from napari.layers import Image, Layer
from psygnal import Signal

from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.layers import placing
from napari_atomlens.widgets.layers.roles import KEY, STALE, TABLE_OF, entry, kind_of, plain_name

if TYPE_CHECKING:
    from napari.components import LayerList

L = TypeVar("L", bound=Layer)
#: Layers of these kinds cannot be empty, or cannot be filled again.
NEVER_EMPTY = ("Vectors", "Tracks")


class Part(Protocol):
    """What follows the layers of one source for as long as they live, see `LayerSet.part`."""

    def close(self) -> None:
        """Let go of the layers, which stay."""


P = TypeVar("P", bound=Part)


class LayerSet:
    """Our layers that belong to one source: an image, or a layer of atoms.

    There is one of each source; :func:`napari_atomlens.widgets.layers.registry.layers_of` gives
    it to every dock. It lives as long as the layers do, not as long as a dock.

    A layer is made once and updated in place afterwards, so the user's colours, its visibility
    and its place among the others stay. It lies directly above its image, in the order of
    :data:`~napari_atomlens.widgets.layers.roles.ORDER`; it follows the source when that is
    scaled, moved, turned or given other units; and it bears a mark in its name when what it
    shows no longer follows from the atoms of the session.

    Parameters
    ----------
    layers : napari.components.LayerList
        Of the viewer. Only a weak reference is kept.
    source : napari.layers.Layer

    Attributes
    ----------
    source : napari.layers.Layer
    source_id, source_name : str

    Notes
    -----
    Signals: ``found`` (role, layer; a layer is known from now on, new or of an earlier session)
    and ``lost`` (role, layer; it is no longer there, whoever removed it), ``session_changed``.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari.layers import Points
    >>> from napari_atomlens.widgets.layers.registry import layers_of
    >>> viewer = ViewerModel()
    >>> image = viewer.add_image(np.zeros((8, 8)), name="gold", scale=(0.1, 0.1))
    >>> layers = layers_of(viewer, image)
    >>> points = layers.show("vacancies", Points, [[1, 2]], style={"symbol": "x"}, size=3)
    >>> points.name, points.scale.tolist()
    ('vacancies · gold', [0.1, 0.1])
    >>> layers.show("vacancies", Points, [[1, 2], [3, 4]]) is points
    True
    >>> layers.remove("vacancies")
    >>> [layer.name for layer in viewer.layers]
    ['gold']
    """

    found = Signal(str, object)
    lost = Signal(str, object)
    session_changed = Signal()

    def __init__(self, layers: LayerList, source: Layer) -> None:
        self._list = weakref.ref(layers)
        self.source = source
        self.source_id, self.source_name = str(source.unique_id), plain_name(source)
        self._layers: dict[str, Layer] = {}
        self._drawn: dict[str, int] = {}
        self._left_stale: set[str] = set()  # as their project was saved, and not drawn since
        self._tables: dict[str, str] = {}
        self._parts: dict[type, Part] = {}
        self._session: Session | None = None
        self._busy = 0
        self._connect(True)
        if isinstance(source, Image):
            self.session = SESSIONS.of(self.source_id, self.source_name)

    def _connect(self, on: bool) -> None:
        events = self.source.events
        for name in (*placing.PLACE, "name"):
            emitter = getattr(events, name)
            what = self._on_renamed if name == "name" else self._on_placed
            if on:
                emitter.connect(what)
            else:
                emitter.disconnect(what)

    def close(self) -> None:
        """Let go of source, layers and session; the layers stay."""
        parts, self._parts = self._parts, {}
        for part in parts.values():
            part.close()
        self._connect(False)
        self.session = None
        for role in list(self._layers):
            self._forget(role)

    @property
    def viewer_layers(self) -> LayerList:
        """All layers of the viewer."""
        layers = self._list()
        if layers is None:
            raise RuntimeError("the viewer of these layers is gone")
        return layers

    def part(self, kind: type[P]) -> P:
        """What draws some of these layers and follows them, made once for all docks.

        Parameters
        ----------
        kind : type
            Made as ``kind(layers)``, where `layers` is this set; closed with it.
        """
        part = self._parts.get(kind)
        if part is None:
            part = self._parts[kind] = kind(self)  # type: ignore[call-arg]
        assert isinstance(part, kind)
        return part

    # -------------------------------------------------------------------- finding

    def layer(self, role: str) -> Any:
        """Our layer with this role for this source, None where there is none (any more)."""
        layers = self.viewer_layers
        known = self._layers.get(role)
        if known is not None:
            if known in layers and entry(known).get("source_id") == self.source_id:
                return known
            self._forget(role)
        ids = {str(layer.unique_id) for layer in layers}
        for layer in layers:
            mine = entry(layer)
            if mine.get("role") != role:
                continue
            by_id = mine.get("source_id") == self.source_id
            if by_id or (
                mine.get("source_id") not in ids and mine.get("source_name") == self.source_name
            ):
                self._adopt(role, layer)
                return layer
        return None

    def roles(self) -> tuple[str, ...]:
        """Roles of the layers that there are, from below to above."""
        mine = [x for x in self.viewer_layers if self.owns(x)]
        return tuple(dict.fromkeys(str(entry(x).get("role")) for x in mine))

    def owns(self, layer: Layer) -> bool:
        """Whether a layer was made from this source."""
        return entry(layer).get("source_id") == self.source_id

    def _adopt(self, role: str, layer: Layer) -> None:
        self._layers[role] = layer
        if entry(layer).get("stale"):
            self._left_stale.add(role)
        if not self.owns(layer):  # of an earlier session: it has an owner again
            self.note(role, source_id=self.source_id, source_name=self.source_name)
        self._lay(layer)
        self.found.emit(role, layer)
        self.mark()

    def _forget(self, role: str) -> None:
        layer = self._layers.pop(role, None)
        self._drawn.pop(role, None)
        self._left_stale.discard(role)
        if layer is not None:
            self.lost.emit(role, layer)

    def on_removed(self, layer: Layer) -> None:
        """Hear that a layer left the list."""
        for role in [r for r, known in self._layers.items() if known is layer]:
            self._forget(role)

    # --------------------------------------------------------------- new and updated

    def show(
        self,
        role: str,
        kind: type[L],
        data: Any,
        *,
        ndim: int | None = None,
        name: str = "",
        features: pd.DataFrame | None = None,
        style: Mapping[str, Any] | None = None,
        note: Mapping[str, Any] | None = None,
        table: str = "",
        zoom: int = 1,
        free: bool = False,
        **attributes: Any,
    ) -> L | None:
        """Make a layer once, update it in place afterwards.

        With nothing to show none is made; one that is there becomes empty (Vectors and Tracks
        are removed: napari cannot fill them again). A layer of another kind is replaced.

        Parameters
        ----------
        role : str
            One of :mod:`napari_atomlens.widgets.layers.roles`, or another.
        kind : type
            Class of the layer, as ``napari.layers.Points``.
        data : array-like or list
            Of the layer, in pixels of the source.
        ndim : int, optional
            Axes of the layer, the last ones of the source; as many as that has by default.
        name : str, optional
            Of the layer, in place of ``role · name of the image``.
        features, style, note : DataFrame or mapping, optional
            Features; arguments for a new layer only, which are the user's afterwards; more for
            our entry in the metadata.
        table : str, optional
            Table of the session that the layer shows, put there before; by default the role's.
        zoom : int, optional
            How many times finer than the source the pixels of the data are.
        free : bool, optional
            The layer has a place of its own, not that of the source.
        **attributes
            Set every time, as ``size`` or ``edge_color``.
        """
        nothing = not issubclass(kind, Image) and len(data) == 0
        layer = self._fillable(role, kind, nothing)
        if layer is None and nothing:
            return None
        self._tables[role] = table or TABLE_OF.get(role, "")
        note = {**(note or {}), "zoom": zoom, "free": free}
        if layer is None:
            more = _needed(kind, self.source.ndim if ndim is None else ndim, features)
            common = self.common(role, ndim=ndim, name=name, **note)
            layer = kind(data, **{**common, **more, **(style or {}), **attributes})
            self.add(role, layer)
        else:
            self._refill(role, layer, data, features, attributes, note, name)
        self.drawn(role)
        return layer

    def _refill(
        self,
        role: str,
        layer: Layer,
        data: Any,
        features: pd.DataFrame | None,
        attributes: Mapping[str, Any],
        note: Mapping[str, Any],
        name: str,
    ) -> None:
        """Give a layer other data."""
        with self.own_changes():
            _update(layer, data, features, attributes)
            self.note(role, **note)
            self._lay(layer)
            if name:
                self.rename(role, name)

    def _fillable(self, role: str, kind: type[Layer], nothing: bool) -> Any:
        """Our layer of a role where it can take new data; one that cannot is removed."""
        layer = self.layer(role)
        wrong = layer is not None and kind_of(layer) != kind.__name__
        if layer is not None and (wrong or (nothing and kind.__name__ in NEVER_EMPTY)):
            self.remove(role)
            return None
        return layer

    def common(
        self, role: str, *, ndim: int | None = None, name: str = "", **note: Any
    ) -> dict[str, Any]:
        """Arguments that every new layer of ours has: name, place in the world, entry.

        Parameters
        ----------
        role : str
        ndim : int, optional
            Axes of the layer, the last ones of the source.
        name : str, optional
            In place of ``role · name of the image``.
        **note
            More for our entry; ``zoom``: how many times finer than the source the layer is.
        """
        free = bool(note.get("free"))
        place = {} if free else placing.place_of(self.source, ndim, int(note.get("zoom", 1)))
        mine = {"role": role, "source_id": self.source_id, "source_name": self.source_name}
        return {
            "name": name or f"{role} · {self.image_name}",
            **place,
            "metadata": {KEY: {**mine, **note}},
        }

    @property
    def image_name(self) -> str:
        """Name of the image that everything here is of, as far as it is known."""
        image = placing.image_of(self.source, self.viewer_layers)
        return str(entry(image).get("source_name") or plain_name(image))

    def add(self, role: str, layer: Layer) -> None:
        """Add a layer that is there already, directly above its image; the active one stays."""
        layers = self.viewer_layers
        active = layers.selection.active
        with self.own_changes():
            layers.insert(placing.index_above(layers, self.source, layer), layer)
            if active is not None and active in layers and layers.selection.active is not active:
                layers.selection.active = active
        self._tables.setdefault(role, TABLE_OF.get(role, ""))
        self._adopt(role, layer)

    def remove(self, *roles: str) -> None:
        """Take layers out of the viewer."""
        for role in roles:
            layer = self.layer(role)
            if layer is not None:
                with self.own_changes():
                    self.viewer_layers.remove(layer)
                self._forget(role)

    def note(self, role: str, **more: Any) -> None:
        """Write into our entry of a layer."""
        layer = self._layers.get(role)
        if layer is not None:
            # a new one: a copy of the layer shares the metadata
            layer.metadata[KEY] = {**entry(layer), **more}

    def rename(self, role: str, name: str) -> None:
        """Give a layer another name; its mark stays."""
        layer = self.layer(role)
        if layer is not None and plain_name(layer) != name:
            layer.name = name + (STALE if str(layer.name).endswith(STALE) else "")

    def set_visible(self, on: bool, *roles: str) -> None:
        """Show or hide layers."""
        for role in roles:
            layer = self.layer(role)
            if layer is not None and bool(layer.visible) != on:
                layer.visible = on

    @contextlib.contextmanager
    def own_changes(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
        if not self._busy:
            self.mark()

    @property
    def is_busy(self) -> bool:
        """Whether layers are being changed by us, not by the user."""
        return self._busy > 0

    # ------------------------------------------------------------------ the source

    def _lay(self, layer: Layer) -> None:
        mine = entry(layer)
        if not mine.get("free"):
            place = placing.place_of(self.source, layer.ndim, int(mine.get("zoom", 1)))
            placing.lay_onto(layer, place)

    def _on_placed(self, event: object = None) -> None:
        """Follow the source's place in the world."""
        with self.own_changes():
            for layer in list(self._layers.values()):
                self._lay(layer)

    def _on_renamed(self, event: object = None) -> None:
        """Note the new name of the source, by which its layers are known in a later session."""
        self.source_name = plain_name(self.source)
        for role in self._layers:
            if entry(self._layers[role]).get("source_name") != self.source_name:
                self.note(role, source_name=self.source_name)

    # ----------------------------------------------------------------- the session

    @property
    def session(self) -> Session | None:
        """Session of the source, None where there is none: a layer of atoms not edited yet."""
        if self._session is None and not isinstance(self.source, Image):
            self.session = SESSIONS.get(self.source_id)
        return self._session

    @session.setter
    def session(self, session: Session | None) -> None:
        """Follow another session: what it calls stale is marked."""
        if session is self._session:
            return
        if self._session is not None:
            self._session.stale_changed.disconnect(self._on_stale, missing_ok=True)
            self._session.table_changed.disconnect(self._on_stale, missing_ok=True)
        self._session = session
        if session is not None:
            session.stale_changed.connect(self._on_stale)
            session.table_changed.connect(self._on_stale)
            self.mark()
        self.session_changed.emit()

    @property
    def image_session(self) -> Session:
        """Session of an image, which always has one."""
        session = self.session
        assert session is not None
        return session

    def drawn(self, role: str) -> None:
        """Say that a layer shows the table of the session as it is now."""
        session = self.session
        if session is not None:
            self._drawn[role] = session.revision
            self._left_stale.discard(role)
            self.mark()

    def is_stale(self, role: str) -> bool:
        """Whether what a layer shows no longer follows from the atoms that there are."""
        if role in self._left_stale:
            return True
        session = self.session
        table = self._tables.get(role, TABLE_OF.get(role, ""))
        if session is None or not table:
            return False
        drawn = self._drawn.get(role)
        newer = drawn is not None and session.made_at(table) > drawn  # somebody made it anew
        return newer or (session.is_stale(table) and not session.is_waiting(table))

    def _on_stale(self, what: object = None) -> None:
        self.mark()

    def mark(self) -> None:
        """Mark the layers that are stale in their names, the others no longer."""
        if self._busy:  # tables come first, their layers follow
            return
        for role, layer in list(self._layers.items()):
            stale, marked = self.is_stale(role), str(layer.name).endswith(STALE)
            if stale != marked:
                layer.name = plain_name(layer) + (STALE if stale else "")
            if stale != bool(entry(layer).get("stale")):
                self.note(role, stale=stale)


def _needed(kind: type[Layer], ndim: int, features: pd.DataFrame | None) -> dict[str, Any]:
    """Arguments that a new layer of a kind needs."""
    more: dict[str, Any] = {} if features is None else {"features": features}
    if kind.__name__ in ("Points", "Shapes", "Vectors"):
        more["ndim"] = ndim
    if kind.__name__ == "Shapes":
        more["shape_type"] = "polygon"
    return more


def _update(
    layer: Any, data: Any, features: pd.DataFrame | None, attributes: Mapping[str, Any]
) -> None:
    """Give a layer other data, features and attributes."""
    kind = kind_of(layer)
    if kind in ("Points", "Shapes") and layer.selected_data:
        layer.selected_data = set()
    if kind == "Shapes":
        set_shapes(layer, data, attributes)
        attributes = {}
    elif kind in ("Image", "Labels") and np.may_share_memory(np.asarray(layer.data), data):
        layer.refresh()
    else:
        layer.data = data
    if features is not None:
        layer.features = features
    for name, value in attributes.items():
        setattr(layer, name, value)
    if features is not None and kind in ("Points", "Vectors"):
        layer.refresh_colors()


def set_shapes(layer: Any, data: list[np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Give a Shapes layer other shapes, with the attributes of each."""
    layer.data = []
    if len(data):
        layer.add(data, **{"shape_type": "polygon", **attributes})
        layer.selected_data = set()
