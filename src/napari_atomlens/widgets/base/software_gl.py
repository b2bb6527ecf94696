"""A guard against a fault of Mesa's software renderer that ends the process.

Mesa 22 with llvmpipe (what Debian 12 draws with where there is no graphics card, as on many
remote desktops) dies in ``glDrawArrays`` of a paint soon after a program of shaders was deleted,
as happens when a layer is removed, with napari alone as well. There, and nowhere else, programs
are kept, at the price of some memory for each layer that is removed.
"""

from __future__ import annotations

import re
from typing import Protocol

FAULTY = re.compile(r"\bMesa 22\.")


class _Program(Protocol):
    def delete(self) -> None: ...


_guarded = False


def is_faulty(renderer: str, version: str) -> bool:
    """Whether OpenGL calls itself the renderer that dies.

    Parameters
    ----------
    renderer, version : str
        As OpenGL tells them (``GL_RENDERER``, ``GL_VERSION``).
    """
    return "llvmpipe" in renderer and FAULTY.search(version) is not None


def guard() -> None:
    """Let vispy delete no program of the renderer that dies of it; once per process."""
    global _guarded
    if _guarded:
        return
    _guarded = True
    from vispy.gloo import gl, glir

    delete = glir.GlirProgram.delete
    faulty: list[bool] = []

    def keep(program: _Program) -> None:
        if not faulty:  # asked here: a context is current
            told = (gl.glGetParameter(x) for x in (gl.GL_RENDERER, gl.GL_VERSION))
            faulty.append(is_faulty(*(str(x) for x in told)))
        if not faulty[0]:
            delete(program)

    glir.GlirProgram.delete = keep
