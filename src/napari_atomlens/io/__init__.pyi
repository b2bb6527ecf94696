from .project import (
    load_tables,
    save_tables,
)
from .readers import read
from .workspace import (
    load_workspace,
    save_workspace,
)

__all__ = [
    "load_tables",
    "load_workspace",
    "read",
    "save_tables",
    "save_workspace",
]
