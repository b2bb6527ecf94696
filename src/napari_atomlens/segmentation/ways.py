"""Choices that a user may name, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: Whether columns are brighter or darker than what lies between them; auto decides by evidence.
Contrast: TypeAlias = Literal["auto", "bright", "dark"]
