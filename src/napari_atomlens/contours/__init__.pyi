from .anomalies import (
    AnomalyParams,
    find_anomalies,
)
from .classbook import ClassBook
from .classes import (
    ClassParams,
    classify_sites,
)
from .descriptors import (
    DescribeParams,
    describe_contours,
)
from .evidence import describe_sites
from .tracing import label_image, outline, outline_shapes

__all__ = [
    "AnomalyParams",
    "ClassBook",
    "ClassParams",
    "DescribeParams",
    "classify_sites",
    "outline_shapes",
    "describe_contours",
    "describe_sites",
    "find_anomalies",
    "label_image",
    "outline",
]
