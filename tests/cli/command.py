"""Runs a command as a user does."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from napari_atomlens.cli import app

runner = CliRunner()


def run(*arguments: Any, code: int = 0) -> Any:
    """Run ``atomlens`` with arguments; it must end with an exit code."""
    done = runner.invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done
