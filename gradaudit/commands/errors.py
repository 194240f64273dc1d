"""The one place where what went wrong becomes one line on stderr and an exit code."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from gradaudit.commands.ends import ENDED, INTERRUPTED, unwinding
from gradaudit.schema import UserError

COULD_NOT = 2
PIPE_CLOSED = 128 + 13  # as a shell reports SIGPIPE: 1 would say that findings failed the build

T = TypeVar("T")


class Program(click.Group):
    """A group whose every failure is one line: the user's mistakes, the system's refusals, Ctrl-C."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the program's own options."""
        with report_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run a subcommand."""
        with report_errors(), unwinding():
            if isinstance(sys.stdout, io.TextIOWrapper):
                # A path that the terminal's encoding cannot show is shown as escapes; it must not stop the report.
                sys.stdout.reconfigure(errors="backslashreplace")
            if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
                ctx.color = False
            return super().invoke(ctx)


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of one task: its value, or None; with what went to stderr and the exit code."""

    value: T | None
    complaint: str = ""
    code: int = 0


def attempt(task: Callable[[], T]) -> Done[T]:
    """Do `task`; a failure becomes the line that a command would write. Only who is told to end does end."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), report_errors():
            return Done(task())
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else COULD_NOT
        if code in ENDED:
            click.echo(said.getvalue(), nl=False, err=True)
            raise
        return Done(None, said.getvalue(), code)


def complain(message: str) -> None:
    """Write ``gradaudit: message`` to stderr as one line."""
    from gradaudit.report.text import logged, visible

    click.echo(f"gradaudit: {logged(visible(' '.join(message.split())))}", err=True)


@contextmanager
def report_errors() -> Iterator[None]:
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
    except Exception as error:
        if out_of_memory(error):
            complain("there is not enough memory for this here")
            sys.exit(COULD_NOT)
        traceback.print_exc()
        complain("this is a bug in gradaudit; please report it with the lines above")
        sys.exit(COULD_NOT)


def out_of_memory(error: BaseException) -> bool:
    """Whether this was for want of memory; a library that finds none to be loaded into is an ImportError."""
    return isinstance(error, MemoryError) or (isinstance(error, ImportError) and "failed to map segment" in str(error))
