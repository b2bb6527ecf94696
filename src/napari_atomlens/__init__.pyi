__version__: str
from .analysis import (
    AnalysisParams,
    Result,
    analyze,
    analyze_frames,
    load,
)
from .atoms.find import find_atoms
from .batch import (
    BatchParams,
    read_batch,
    run_batch,
)
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
from .segmentation.predict import segment
from .segmentation.scale import find_spacing
from .segmentation.zoo import list_models
from .simulation.scenes import simulate
from .stm.assessment import assess
from .stm.silicon import analyze_silicon
from .streaming import (
    follow_stream,
    load_stream,
    stream_movie,
)
from .tracking.defects import follow_defects
from .tracking.dumbbells import measure_dumbbells
from .tracking.linking import link
from .watch import (
    stream,
    watch_folder,
)

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
