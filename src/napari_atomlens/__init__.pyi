__version__: str
from .atoms.find import find_atoms
from .atoms.refine import FitParams
from .contours.anomalies import AnomalyParams, find_anomalies
from .contours.classes import ClassParams, classify_sites
from .contours.descriptors import DescribeParams, describe_contours
from .contours.evidence import EvidenceParams, describe_sites
from .contours.tracing import outline
from .errors import (
    AtomLensError,
    CalibrationError,
    FormatError,
    ImageError,
    MatchError,
    ModelError,
    ParameterError,
    TableError,
)
from .graphs.bonds import BondGraph, bond
from .graphs.choose import choose_rules
from .graphs.crystal_match import CrystalMatch, MatchParams
from .graphs.defects import DefectParams, find_defects
from .graphs.library import DefectLibrary
from .graphs.match import match_crystal
from .graphs.populations import Population, PopulationParams, describe_population
from .graphs.rules import Rules, preset
from .image import Image
from .io.export.structures import write_atoms
from .io.formats.readers import read
from .io.projects.atoms import read_atoms
from .lattice.lattice import Lattice, LatticeParams
from .lattice.measure import measure_lattice
from .lattice.shrink import shrink_positions
from .progress import Progress
from .runs.analysis import analyze
from .runs.batch import run_batch
from .runs.frame import analyze_frames
from .runs.movie import analyze_movie, follow_folder, read_table
from .runs.own import refine_atoms
from .runs.params import AnalysisParams, BatchParams, WatchParams
from .runs.result import Result, load
from .runs.stream import stream
from .runs.surface import find_on_surface
from .runs.watch import watch_folder
from .segmentation.choose import segment
from .segmentation.probabilities import Probabilities
from .segmentation.scale import find_spacing
from .segmentation.zoo import ModelInfo, list_models
from .session.edits.corrections import Corrections
from .simulation.scenes import Scene, simulate
from .simulation.silicon import SiliconParams, simulate_silicon
from .stm.assessment import Verdict, assess
from .stm.groups import GroupParams, group_defects
from .stm.levelling import LevelParams, level
from .stm.molecules import Film, MoleculeParams, read_film
from .stm.params import SiliconAnalysisParams
from .stm.silicon import SiliconResult, analyze_silicon
from .tracking.changes import ChangeParams, find_changes
from .tracking.defects import DefectTracks, follow_defects
from .tracking.dumbbells import measure_dumbbells
from .tracking.following import MovieResult, follow
from .tracking.foreign import follow_foreign
from .tracking.hopping import hop_rates
from .tracking.linking import link
from .tracking.params import DumbbellParams, LinkParams, MovingDefectParams
from .training.adaptation import Adapted, adapt
from .training.labelled import label_frame
from .training.loop import train
from .training.params import (
    AdaptParams,
    AssessTrainParams,
    CrystalParams,
    FourierParams,
    SiliconAdaptParams,
    SiliconTrainParams,
    TrainParams,
)
from .widgets.layers.registry import session_of, sessions

__all__ = [
    "AdaptParams",
    "Adapted",
    "AnalysisParams",
    "AnomalyParams",
    "AssessTrainParams",
    "AtomLensError",
    "BatchParams",
    "BondGraph",
    "CalibrationError",
    "ChangeParams",
    "ClassParams",
    "Corrections",
    "CrystalMatch",
    "CrystalParams",
    "DefectLibrary",
    "DefectParams",
    "DefectTracks",
    "DescribeParams",
    "DumbbellParams",
    "EvidenceParams",
    "Film",
    "FitParams",
    "MovieResult",
    "MovingDefectParams",
    "FormatError",
    "FourierParams",
    "GroupParams",
    "Image",
    "ImageError",
    "Lattice",
    "LatticeParams",
    "LevelParams",
    "LinkParams",
    "MatchError",
    "MatchParams",
    "ModelError",
    "ModelInfo",
    "MoleculeParams",
    "ParameterError",
    "Population",
    "PopulationParams",
    "Probabilities",
    "Progress",
    "Result",
    "Rules",
    "Scene",
    "SiliconAdaptParams",
    "SiliconAnalysisParams",
    "SiliconParams",
    "SiliconResult",
    "SiliconTrainParams",
    "TableError",
    "TrainParams",
    "Verdict",
    "WatchParams",
    "adapt",
    "analyze",
    "analyze_frames",
    "analyze_movie",
    "analyze_silicon",
    "assess",
    "bond",
    "choose_rules",
    "classify_sites",
    "describe_contours",
    "describe_population",
    "describe_sites",
    "find_anomalies",
    "find_atoms",
    "find_changes",
    "find_defects",
    "find_on_surface",
    "find_spacing",
    "follow",
    "follow_defects",
    "follow_folder",
    "follow_foreign",
    "hop_rates",
    "group_defects",
    "label_frame",
    "level",
    "link",
    "list_models",
    "load",
    "match_crystal",
    "measure_dumbbells",
    "measure_lattice",
    "outline",
    "preset",
    "read",
    "read_atoms",
    "read_table",
    "read_film",
    "refine_atoms",
    "run_batch",
    "segment",
    "session_of",
    "sessions",
    "shrink_positions",
    "simulate",
    "simulate_silicon",
    "stream",
    "train",
    "watch_folder",
    "write_atoms",
]
