"""Figures of a benchmark as JSON, beside what it prints.

    parser = argparse.ArgumentParser(description=__doc__)
    with Report("fit", parser) as report:  # adds --json and reads the command line
        print_tables(report.args.columns)
        figure("steps", 400)  # what stands in a sentence, not in a table

Every Markdown table that is printed becomes figures: the heading above it, the name of a row
(its first words, and numbers as far as they tell rows apart), the head of a column, the number,
and its unit, which stands behind the number or in brackets in the head. A column "target" holds
the target of its row. The file is ``out/benchmarks/NAME.json`` or that of ``--json``; it is
written also when the benchmark breaks off. Needs nothing but the standard library, and imports
nothing that is timed.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TextIO

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("out/benchmarks")
NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:[eE][+-]?\d+)?"
#: A number, what it is of or its error, its unit, and a remark in brackets.
CELL = re.compile(
    rf"\**(?P<value>{NUMBER})(?:\s*(?P<how>of|/|\+-|±)\s*(?P<other>{NUMBER}))?"
    r"\s*(?P<unit>%|[a-zA-Zµ²2/]{1,8})?\**\s*(?:\(.*\))?"
)
UNITS = [
    "px",
    "pm",
    "nm",
    "px2",
    "nm2/s",
    "s",
    "ms",
    "min",
    "h",
    "%",
    "MB",
    "GB",
    "deg",
    "mrad",
    "rad",
    "GFLOP",
    "GFLOP/s",
    "MB/s",
]
UNIT = re.compile(rf"\(({'|'.join(map(re.escape, UNITS))})\)")


def number(text: str) -> float:
    """Value of a number as it is printed."""
    return float(text.replace(",", ""))


def cell(text: str) -> dict | None:
    """What a cell of a table says, None where that is no number."""
    if not (found := CELL.fullmatch(text.strip())):
        return None
    out: dict = {"value": number(found["value"])}
    if found["other"]:
        out["of" if found["how"] in ("of", "/") else "error"] = number(found["other"])
    return out | ({"unit": found["unit"]} if found["unit"] else {})


def cells(line: str) -> list[str]:
    """Cells of a row of a table."""
    return [c.replace("\\|", "|").strip() for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def tables(text: str) -> list[dict]:
    """Tables of a Markdown text: the heading above each, its columns and its rows."""
    out, section, lines = [], "", text.splitlines()
    table: dict | None = None
    for k, line in enumerate(lines):
        if line.startswith("#"):
            section = line.lstrip("#").strip()
        if not line.startswith("|"):
            # a line between the rows, as a word about progress, does not end a table
            table = table if line.strip() and not line.startswith("#") else None
        elif k + 1 < len(lines) and re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", lines[k + 1].strip()):
            table = {"section": section, "columns": cells(line), "rows": []}
            out.append(table)
        elif table is not None and not re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", line.strip()):
            table["rows"].append(cells(line))
    return out


def n_labels(table: dict) -> int:
    """How many columns, from the left, name a row: all of words alone, and until none is alike."""
    rows = table["rows"]
    most = len(table["columns"])
    n = 1
    while n < most and not any(cell(row[n]) for row in rows if n < len(row)):
        n += 1
    while n < most and len({tuple(row[:n]) for row in rows}) < len(rows):
        n += 1
    return n


def figures(table: dict) -> list[dict]:
    """Numbers of a table, each with the name of its row and the head of its column."""
    out = []
    columns, n = table["columns"], n_labels(table)
    for row in table["rows"]:
        target = row[columns.index("target")] if "target" in columns[: len(row)] else ""
        for column, value in list(zip(columns, row, strict=False))[n:]:
            if column == "target" or not (one := cell(value)):
                continue
            if "unit" not in one and (unit := UNIT.search(column)):
                one["unit"] = unit[1]
            name = {"section": table["section"], "row": ", ".join(c for c in row[:n] if c)}
            name["name"] = column or "value"
            out.append(name | one | ({"target": target} if target else {}))
    return out


class Both(io.TextIOBase):
    """Writes what is printed where it belongs, and keeps it."""

    def __init__(self, shown: TextIO) -> None:
        self.shown, self.kept = shown, io.StringIO()

    def write(self, text: str) -> int:
        """Write and keep."""
        self.kept.write(text)
        return self.shown.write(text)

    def flush(self) -> None:
        """Let what is shown be seen."""
        self.shown.flush()


def commit() -> str:
    """Commit of the tree, with a + where files were changed since; empty outside git."""
    try:
        asked = [
            subprocess.run(
                ["git", "-C", str(ROOT), *command],
                capture_output=True, text=True, timeout=20, check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        ]  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked[0] + ("+" if asked[1] else "")


def machine() -> dict:
    """What the figures were measured on; torch is asked only where it is loaded already."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):  # not Linux, or a processor without a name
        pass
    torch = sys.modules.get("torch")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch_threads": torch.get_num_threads() if torch else os.environ.get("OMP_NUM_THREADS"),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the package and of what its figures hang on."""
    out = {}
    for name in ("napari-atomlens", "numpy", "scipy", "torch", "napari"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def figure(name: str, value: float, unit: str = "", target: str = "", section: str = "") -> None:
    """Record a figure that stands in no table, in the report that is being made, if any."""
    if Report.active is not None:
        Report.active.figure(name, value, unit, target, section)


class Report:
    """Records the figures of one benchmark while it prints them."""

    active: ClassVar[Report | None] = None

    def __init__(self, name: str, parser: argparse.ArgumentParser | None = None) -> None:
        self.name = name
        self.explicit: list[dict] = []
        self.args = argparse.Namespace()
        self.path = FOLDER / f"{name}.json"
        if parser is not None:
            parser.add_argument(
                "--json", type=Path, default=self.path, help="file of the figures (%(default)s)"
            )
            self.args = parser.parse_args()
            self.path = self.args.json
        if "ATOMLENS_AUTOSAVE" not in os.environ:  # nothing goes to the folder of the user
            self.unsaved = tempfile.TemporaryDirectory(prefix="atomlens-benchmark-")
            os.environ["ATOMLENS_AUTOSAVE"] = self.unsaved.name

    def figure(
        self, name: str, value: float, unit: str = "", target: str = "", section: str = ""
    ) -> None:
        """Record a figure that stands in no table."""
        one = {"section": section, "row": "", "name": name, "value": value}
        self.explicit.append(
            one | ({"unit": unit} if unit else {}) | ({"target": target} if target else {})
        )

    def __enter__(self) -> Self:
        self._begun, self._load = time.perf_counter(), machine()["load"]
        self._both = Both(sys.stdout)
        self._redirect = redirect_stdout(self._both)
        self._redirect.__enter__()
        Report.active = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        Report.active = None
        self._redirect.__exit__(kind, error, trace)
        text = self._both.kept.getvalue()
        found = tables(text)
        content = {
            "name": self.name,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
            "commit": commit(),
            "versions": versions(),
            "machine": machine() | {"load": self._load},
            "seconds": round(time.perf_counter() - self._begun, 3),
            "failed": repr(error) if error is not None else None,
            "figures": self.explicit + [f for table in found for f in figures(table)],
            "tables": found,
            "text": [
                line for line in text.splitlines() if line.strip() and not line.startswith("|")
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".part")
        fresh.write_text(json.dumps(finite(content), indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.path)


def finite(content: object) -> object:
    """The same with None for what is no number: JSON knows neither NaN nor infinity."""
    if isinstance(content, dict):
        return {k: finite(v) for k, v in content.items()}
    if isinstance(content, list):
        return [finite(v) for v in content]
    if hasattr(content, "item"):  # a number of numpy
        content = content.item()
    if isinstance(content, float) and (content != content or abs(content) == float("inf")):
        return None
    return content
