__version__: str
from .atoms.find import find_atoms
from .contours.anomalies import find_anomalies
from .contours.classes import classify_sites
from .contours.descriptors import describe_contours
from .contours.evidence import describe_sites
from .contours.tracing import outline
from .graphs.bonds import bond
from .graphs.defects import find_defects
from .graphs.library import DefectLibrary
from .io.formats.readers import read
from .lattice.lattice import LatticeParams
from .lattice.measure import measure_lattice
from .lattice.shrink import shrink_positions
from .runs.analysis import analyze
from .runs.batch import read_batch, run_batch
from .runs.frame import analyze_frames
from .runs.movie import follow_stream, load_stream, stream_movie
from .runs.params import AnalysisParams, BatchParams
from .runs.result import Result
from .runs.watch import stream, watch_folder
from .segmentation.predict import segment
from .segmentation.scale import find_spacing
from .segmentation.zoo import list_models
from .session.project import load
from .simulation.scenes import simulate
from .stm.assessment import assess
from .stm.silicon import analyze_silicon
from .tracking.defects import follow_defects
from .tracking.dumbbells import measure_dumbbells
from .tracking.linking import link

__all__ = [
    "AnalysisParams",
    "BatchParams",
    "DefectLibrary",
    "LatticeParams",
    "Result",
    "analyze",
    "analyze_frames",
    "analyze_silicon",
    "assess",
    "bond",
    "classify_sites",
    "describe_contours",
    "describe_sites",
    "find_anomalies",
    "find_atoms",
    "find_defects",
    "find_spacing",
    "follow_defects",
    "follow_stream",
    "link",
    "list_models",
    "load",
    "load_stream",
    "measure_dumbbells",
    "measure_lattice",
    "outline",
    "read",
    "read_batch",
    "run_batch",
    "segment",
    "shrink_positions",
    "simulate",
    "stream",
    "stream_movie",
    "watch_folder",
]
