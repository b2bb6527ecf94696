from .bonds import (
    BondGraph,
    bond,
)
from .choose import (
    choose_rules,
    learn_bounds,
)
from .crystal_match import CrystalMatch, MatchParams
from .crystals import UnitCell, build_crystal, list_crystals
from .defects import (
    DefectParams,
    find_defects,
)
from .library import DefectLibrary
from .match import match_crystal
from .occupancy import occupy_sites
from .populations import Population, PopulationParams, describe_population
from .rings import trace_rings
from .rules import (
    Rules,
    preset,
)
from .types import count_types
from .update import rebuild_frames

__all__ = [
    "BondGraph",
    "CrystalMatch",
    "DefectLibrary",
    "DefectParams",
    "MatchParams",
    "Population",
    "PopulationParams",
    "Rules",
    "UnitCell",
    "bond",
    "build_crystal",
    "choose_rules",
    "occupy_sites",
    "count_types",
    "describe_population",
    "find_defects",
    "learn_bounds",
    "list_crystals",
    "match_crystal",
    "preset",
    "rebuild_frames",
    "trace_rings",
]
