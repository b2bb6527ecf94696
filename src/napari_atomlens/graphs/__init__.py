"""Chemistry on a graph: rules, bonds, rings, defects and the defect library."""

from importlib import import_module
from typing import Any

_WHERE = {
    "bond": "bonds",
    "BondGraph": "bonds",
    "Rules": "rules",
    "choose_rules": "choose",
    "preset": "rules",
    "find_defects": "defects",
    "DefectParams": "defects",
    "count_types": "types",
    "trace_rings": "rings",
    "rebuild_frames": "update",
    "classify_sites": "occupancy",
    "learn_bounds": "choose",
    "DefectLibrary": "library",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
