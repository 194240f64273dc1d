"""What the shell offers to complete, without importing what is named."""

from pathlib import Path

import click

import gradaudit


def diagnosers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The diagnosers whose names go on like this: each has the name of its file."""
    files = (Path(gradaudit.__file__).parent / "diagnosers").glob("[a-z]*.py")
    return sorted(file.stem for file in files if file.stem.startswith(incomplete))
