"""Which session belongs to what."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakValueDictionary

from napari_atomlens.session.session import Session


class Sessions:
    """Sessions by the ids of what they belong to: an image, the layer of its atoms.

    Several ids may lead to one session. A session is kept by whoever shows it; what nobody
    shows any more goes by itself.
    """

    def __init__(self) -> None:
        self._of: WeakValueDictionary[str, Session] = WeakValueDictionary()

    def add(self, key: str, session: Session) -> Session:
        """Let an id lead to a session; returns it."""
        self._of[key] = session
        return session

    def get(self, key: str) -> Session | None:
        """Session of an id, None where there is none."""
        return self._of.get(key)

    def of(self, key: str, name: str = "") -> Session:
        """Session of an id, made where there is none; the caller keeps it."""
        found = self._of.get(key)
        return self.add(key, Session(name)) if found is None else found

    def remove(self, key: str) -> None:
        """Let an id lead nowhere."""
        self._of.pop(key, None)

    def all(self) -> list[Session]:
        """Every session once."""
        return list({id(s): s for s in self._of.values()}.values())

    def __iter__(self) -> Iterator[Session]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())


#: Those of this process.
SESSIONS = Sessions()
