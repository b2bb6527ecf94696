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
from .tracing import (
    describe,
    label_image,
    outline,
)

__all__ = [
    "AnomalyParams",
    "ClassBook",
    "ClassParams",
    "DescribeParams",
    "classify_sites",
    "describe",
    "describe_contours",
    "describe_sites",
    "find_anomalies",
    "label_image",
    "outline",
]
