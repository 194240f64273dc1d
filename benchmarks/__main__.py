"""`make bench`: what recording costs, how it grows, what it weighs and what start-up takes; Markdown on stdout."""

import os
import platform
from datetime import UTC, datetime

import click
import torch

from benchmarks import files, growth, overhead

if __name__ == "__main__":
    click.echo(
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores of {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f} at the start, Python {platform.python_version()}, torch {torch.__version__}, "
        "one thread.\n"
    )
    overhead.main()
    growth.main()
    click.echo()
    files.main()
