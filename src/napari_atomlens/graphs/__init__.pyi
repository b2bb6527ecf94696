from .bonds import (
    BondGraph,
    bond,
)
from .choose import (
    choose_rules,
    learn_bounds,
)
from .defects import (
    DefectParams,
    find_defects,
)
from .library import DefectLibrary
from .occupancy import occupy_sites
from .rings import trace_rings
from .rules import (
    Rules,
    preset,
)
from .types import count_types
from .update import rebuild_frames

__all__ = [
    "BondGraph",
    "DefectLibrary",
    "DefectParams",
    "Rules",
    "bond",
    "choose_rules",
    "occupy_sites",
    "count_types",
    "find_defects",
    "learn_bounds",
    "preset",
    "rebuild_frames",
    "trace_rings",
]
