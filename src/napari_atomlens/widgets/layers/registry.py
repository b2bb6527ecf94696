"""Which set of layers is whose: one of each source in each viewer, for as long as they live."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from napari_atomlens.errors import ParameterError
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.layers import placing
from napari_atomlens.widgets.layers.layer_set import LayerSet
from napari_atomlens.widgets.layers.roles import entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import LayerList, ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event


def layers_of(viewer: napari.viewer.Viewer | ViewerModel, source: Layer) -> LayerSet:
    """Our layers of one source, the same set for everybody who asks.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    source : napari.layers.Layer
        Image or layer of atoms.
    """
    return _window_of(viewer).of(inspect.unwrap(source))


def all_layers(viewer: napari.viewer.Viewer | ViewerModel) -> list[LayerSet]:
    """Every set of layers of a viewer that there is."""
    return list(_window_of(viewer).sets.values())


def session_of(layer: Layer) -> Session:
    """Session of an image: its atoms with every edit, its tables, and what is stale.

    Parameters
    ----------
    layer : napari.layers.Layer
        The image, or any layer that was made from it; a proxy of one as well.

    Returns
    -------
    Session
        The one that the window shows: what is edited in it is seen at once.

    Raises
    ------
    ParameterError
        If nothing was found in this image yet.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_atomlens.session.edits import actions
    >>> from napari_atomlens.widgets.layers.registry import layers_of
    >>> viewer = ViewerModel()
    >>> image = viewer.add_image(np.zeros((8, 8)), name="gold")
    >>> _ = layers_of(viewer, image)  # as the docks do when they open
    >>> session = al.session_of(image)
    >>> _ = session.edit(actions.add, 0, 3.0, 4.0, "Au")
    >>> session.table("atoms")["species"].tolist()
    ['Au']
    """
    layer = inspect.unwrap(layer)
    if not hasattr(layer, "unique_id"):
        raise ParameterError(f"A layer of napari is needed, not {type(layer).__name__}.")
    for key in (str(layer.unique_id), str(entry(layer).get("source_id", ""))):
        found = SESSIONS.get(key)
        if found is not None:
            return found
    raise ParameterError(f"No atoms are known of {layer.name} yet: find them first.")


def sessions(viewer: napari.viewer.Viewer | ViewerModel) -> list[Session]:
    """Every session of a viewer, in the order of the images.

    Parameters
    ----------
    viewer : napari.viewer.Viewer

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_atomlens.widgets.layers.registry import layers_of
    >>> viewer = ViewerModel()
    >>> for name in ("gold", "silver", "not analysed"):
    ...     image = viewer.add_image(np.zeros((8, 8)), name=name)
    ...     _ = layers_of(viewer, image) if name != "not analysed" else None
    >>> [session.name for session in al.sessions(viewer)]
    ['gold', 'silver']
    """
    if not hasattr(viewer, "layers"):
        raise ParameterError(f"A viewer of napari is needed, not {type(viewer).__name__}.")
    found: list[Session] = []
    for layer in viewer.layers:
        with contextlib.suppress(ParameterError):
            session = session_of(layer)
            if all(session is not other for other in found):
                found.append(session)
    return found


class Window:
    """The sets of the layers of one viewer.

    Parameters
    ----------
    layers : napari.components.LayerList
        Of the viewer.

    Attributes
    ----------
    sets : dict
        By the id of the source.
    """

    def __init__(self, layers: LayerList) -> None:
        self.sets: dict[str, LayerSet] = {}
        self._list = ref(layers)
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)

    def of(self, source: Layer) -> LayerSet:
        """Set of the layers of one source."""
        key = str(source.unique_id)
        known = self.sets.get(key)
        if known is None:
            layers = self._list()
            assert layers is not None  # somebody just had it
            known = self.sets[key] = LayerSet(layers, source)
        return known

    def _on_inserted(self, event: Event) -> None:
        """Let layers of an earlier session lie directly above their image again."""
        layers, new = self._list(), event.value
        if layers is None or any(s.is_busy for s in self.sets.values()):
            return
        if entry(new):
            twin = any(
                entry(x).get("role") == entry(new).get("role")
                and entry(x).get("source_id") == entry(new).get("source_id")
                for x in layers
                if x is not new
            )
            if not twin:  # a copy lies where the user put it
                placing.raise_above(layers, new)
            source = placing.source_of(new, layers)
            if source is not None and not twin:  # marked when stale, whoever drew it
                self.of(source).layer(str(entry(new).get("role")))
            return
        for layer in [x for x in layers if entry(x) and placing.image_of(x, layers) is new]:
            placing.raise_above(layers, layer)

    def _on_removed(self, event: Event) -> None:
        """Let go of what has neither source nor layers any more."""
        layers, gone = self._list(), event.value
        for one in list(self.sets.values()):
            one.on_removed(gone)
        for key, one in list(self.sets.items()):
            there = layers is not None and (
                one.source in layers or any(one.owns(x) for x in layers)
            )
            if not there:
                del self.sets[key]
                one.close()


_WINDOWS: WeakKeyDictionary[LayerList, Window] = WeakKeyDictionary()


def _window_of(viewer: napari.viewer.Viewer | ViewerModel) -> Window:
    layers: LayerList = inspect.unwrap(viewer.layers)
    known = _WINDOWS.get(layers)
    if known is None:
        known = _WINDOWS[layers] = Window(layers)
    return known
