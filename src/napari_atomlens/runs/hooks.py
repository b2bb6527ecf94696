"""Functions of the user that are called with every event of a watch, in a process of their own."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_atomlens.errors import AtomLensError, ParameterError, printable
from napari_atomlens.files import Json
from napari_atomlens.runs.apart import Apart, LostError, TimeLimitError

if TYPE_CHECKING:  # the process of the hooks starts without what made them
    from napari_atomlens.runs.params import WatchParams
    from napari_atomlens.runs.scan import ScanResult

#: Entry points of this group are hooks that can be named.
HOOK_GROUP = "napari_atomlens.watch"
#: Seconds that importing a hook may take.
IMPORT_S = 60.0
#: How often an event is given to a hook that raises an error.
TRIES = 3
#: A hook that hung or exited so often, one event after the other, is not called any more.
MOST_HANGS = 3


@dataclass(frozen=True)
class Event:
    """What happened to a file or frame.

    Attributes
    ----------
    event : str
        "analysed", "skipped" (it failed, and is tried again later), "failed" (given up until it
        changes), "repeated" (the same content was analysed before), "rejected" (score too low).
    name : str
        Of the file, with its folder where that is one in the folder.
    message : str
    score, label : float, str
        Of the assessment.
    counts : dict of str to int
        Rows by table.
    seconds : dict of str to float
        By stage: wait (from first seen to taken), read, assess, analyse, store; total (from first
        seen to stored).
    folder : str
        Where the results are.
    behind : int
        Files that waited meanwhile.
    id : str
        The same whenever this event is told again after a crash; "" of a stream.
    result : ScanResult or None
        What was computed (image, verdict, tables); None where an event is told again.
    """

    event: str
    name: str
    message: str = ""
    score: float = float("nan")
    label: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    folder: str = ""
    behind: int = 0
    id: str = ""
    result: ScanResult | None = None

    def plain(self) -> Json:
        """Return the event without the result, as JSON can hold it."""
        return {
            "id": self.id, "event": self.event, "name": self.name, "message": self.message,
            "score": round(self.score, 4) if self.score == self.score else None,
            "label": self.label, "counts": self.counts,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()}, "folder": self.folder,
            "behind": self.behind,
        }  # fmt: skip

    def as_json(self) -> str:
        """Return one line of JSON, without the result."""
        return printable(json.dumps(self.plain(), ensure_ascii=False))


def event_from(plain: Json, event_id: str) -> Event:
    """Return the event that :meth:`Event.plain` gave."""
    score = plain["score"]
    return Event(**{**plain, "id": event_id, "score": float("nan") if score is None else score})


def event_of(
    name: str,
    scan: ScanResult,
    params: WatchParams,
    seconds: dict[str, float],
    folder: str = "",
) -> Event:
    """What is told of a scan that was analysed, or rejected for its low score."""
    low = scan.verdict.score < params.min_score
    return Event(
        "rejected" if low else "analysed", name, printable(" ".join(scan.messages)),
        scan.verdict.score, scan.verdict.label, {k: len(v) for k, v in scan.tables.items()},
        seconds, folder, result=scan,
    )  # fmt: skip


class Hooks:
    """The hooks of a watch; whatever they do, the watch goes on.

    Parameters
    ----------
    names : str
        ``module:function``, or the name of an entry point of `HOOK_GROUP`; several with commas.
        Modules of the current folder are found, after all others.
    limit_s : float
        Seconds that a hook may take for an event.

    Raises
    ------
    ParameterError
        If one cannot be imported or called.
    """

    def __init__(self, names: str, limit_s: float) -> None:
        self.names = [name.strip() for name in names.split(",") if name.strip()]
        self.limit_s = limit_s
        self._process, self._closed = Apart(), False
        self._hangs = dict.fromkeys(self.names, 0)
        self._folder = os.getcwd() if self.names else ""
        for name in self.names:
            try:
                self._process.call(IMPORT_S, _check, name, self._folder)
            except ParameterError:
                self.close()
                raise
            except AtomLensError as error:
                self.close()
                raise ParameterError(f"The hook {name!r} cannot be imported ({error}).") from None

    def __bool__(self) -> bool:
        return bool(self.names)

    def tell(self, event: Event) -> None:
        """Call every hook with an event; what fails is said in the log of Python."""
        for name in self.names:
            if not self._closed and self._hangs[name] < MOST_HANGS:
                self._tell(name, event)

    def _tell(self, name: str, event: Event) -> None:
        log = logging.getLogger(__name__)
        for left in reversed(range(TRIES)):
            if self._closed:
                return
            try:
                self._process.call(self.limit_s, _call, name, self._folder, event)
            except (TimeLimitError, LostError) as error:
                self._hangs[name] += 1
                last = self._hangs[name] == MOST_HANGS
                then = " It is not called any more." if last else ""
                log.error("The hook %s at %s: %s%s", name, event.name, error, then)
                return
            except Exception as error:  # an event that cannot be sent is no reason to end, either
                if not left and not self._closed:
                    log.error("The hook %s failed at %s: %s", name, event.name, error)
            else:
                self._hangs[name] = 0
                return

    def close(self) -> None:
        """End the process of the hooks, whatever they do."""
        self._closed = True
        self._process.close()

    def reopen(self) -> None:
        """Call them again from now on."""
        self._process, self._closed = Apart(), False


@lru_cache(maxsize=64)
def _hook(name: str, folder: str) -> Callable[[Event], object]:
    """Import a hook; in the process of the hooks."""
    from importlib.metadata import entry_points

    if folder not in sys.path:
        sys.path.append(folder)  # last: nothing that lies there takes the place of a library
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            found = getattr(importlib.import_module(module), attribute)
        else:
            named = {point.name: point for point in entry_points(group=HOOK_GROUP)}
            if name not in named:
                there = ", ".join(sorted(named)) or "none"
                raise ParameterError(
                    f"The hook {name!r} is neither module:function nor one of the installed hooks "
                    f"({there})."
                )
            found = named[name].load()
    except AtomLensError:
        raise
    except Exception as error:  # code of others
        raise ParameterError(f"The hook {name!r} cannot be imported ({error}).") from None
    if not callable(found):
        raise ParameterError(f"The hook {name!r} cannot be called.")
    hook: Callable[[Event], object] = found
    return hook


def _check(name: str, folder: str) -> None:
    _hook(name, folder)


def _call(name: str, folder: str, event: Event) -> None:
    _hook(name, folder)(event)
