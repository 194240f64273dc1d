"""The one place where what went wrong becomes one line on stderr and an exit code."""

import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from gradaudit.schema import UserError

COULD_NOT = 2
INTERRUPTED = 128 + 2  # as a shell reports SIGINT
PIPE_CLOSED = 128 + 13  # as a shell reports SIGPIPE: 1 would say that findings failed the build


class Program(click.Group):
    """A group whose every failure is one line: the user's mistakes, the system's refusals, Ctrl-C."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the program's own options."""
        with one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run a subcommand."""
        with one_line():
            if isinstance(sys.stdout, io.TextIOWrapper):
                # A path that the terminal's encoding cannot show is shown as escapes; it must not stop the report.
                sys.stdout.reconfigure(errors="backslashreplace")
            if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
                ctx.color = False
            return super().invoke(ctx)


def complain(message: str) -> None:
    """Write ``gradaudit: message`` to stderr as one line."""
    from gradaudit.report.text import logged, visible

    click.echo(f"gradaudit: {logged(visible(' '.join(message.split())))}", err=True)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn a failure of the block into one line and an exit code; a bug keeps its traceback above the line."""
    try:
        yield
    except UserError as error:
        complain(str(error))
        sys.exit(COULD_NOT)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "gradaudit"
        complain(f"{error.format_message().rstrip('.')}; see {command} --help")
        sys.exit(COULD_NOT)
    except BrokenPipeError:
        # Python flushes stdout once more at exit; that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
        sys.exit(COULD_NOT)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception:
        traceback.print_exc()
        complain("this is a bug in gradaudit; please report it with the lines above")
        sys.exit(COULD_NOT)
