"""Functions of the user that are called with every event of a watch."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_atomlens.errors import ParameterError
from napari_atomlens.runs.scan import ScanResult

#: Entry points of this group are called with every event.
HOOK_GROUP = "napari_atomlens.watch"


@dataclass(frozen=True)
class Event:
    """What happened to a file or frame.

    Attributes
    ----------
    event : str
        "analysed", "skipped" (unreadable, tried again later), "failed" (given up until it
        changes), "repeated" (the same content was analysed before), "rejected" (score too low).
    name : str
    message : str
    score, label : float, str
        Of the assessment.
    counts : dict of str to int
        Rows by table.
    seconds : dict of str to float
        By stage: wait (from complete to noticed), read, assess, analyse, store; total.
    folder : str
        Where the results are.
    result : ScanResult or None
        What was computed (image, verdict, tables), in this process only.
    """

    event: str
    name: str
    message: str = ""
    score: float = float("nan")
    label: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    folder: str = ""
    result: ScanResult | None = None

    def as_json(self) -> str:
        """Return one line of JSON, without the result."""
        plain = {
            "event": self.event, "name": self.name, "message": self.message,
            "score": round(self.score, 4) if self.score == self.score else None,
            "label": self.label, "counts": self.counts,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()}, "folder": self.folder,
        }  # fmt: skip
        return json.dumps(plain, ensure_ascii=False)


def find_hooks(name: str = "") -> list[Callable[[Event], object]]:
    """Functions to call with every event: entry points of `HOOK_GROUP`, and `module:function`.

    Raises
    ------
    ParameterError
        If `name` cannot be imported or called.
    """
    from importlib.metadata import entry_points

    hooks: list[Callable[[Event], object]] = [p.load() for p in entry_points(group=HOOK_GROUP)]
    if name:
        module, _, attribute = name.partition(":")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ParameterError(f"The hook {name!r} cannot be imported ({error}).") from None
        if not callable(function):
            raise ParameterError(f"The hook {name!r} cannot be called.")
        hooks.append(function)
    return hooks


def call_hooks(hooks: list[Callable[[Event], object]], event: Event) -> None:
    """Call hooks; one that fails is said in the log of Python and does not end the watch."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # code of others: whatever it raises, the next file counts
            logging.getLogger(__name__).exception("A hook failed at %s", event.name)
