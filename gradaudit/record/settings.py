"""What a recording was asked for: handed from the command to the recorded interpreter."""

import msgspec

MOST_ARGUMENTS = 100_000  # of the command that are kept


def in_utf8(text: str) -> str:
    """Text that a file can hold: in paths and arguments, bytes that are no UTF-8 become escapes."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `gradaudit record` and of `Recorder`."""

    directory: str
    name: str = ""
    every: int | None = None  # record tensor statistics at every n-th step; None: as the budget allows
    budget: float = 1.0  # percent of a step's time that recording may take, after the first steps
    quiet: bool = False
    host: bool = True  # keep host, user, folder and command line in the record
    command: list[str] = []  # in launch.json only: it may be longer than what an environment variable holds
    ignored: str = ""  # the option by which the command's Python ignores the recorder
    data: bool = True  # look at what batches hold
    activations: bool = False  # sample the model's input and the outputs of its activation modules
    closely: tuple[int, int] | None = None  # global steps, both included, of which everything is recorded
    explicit: bool = False  # started by Recorder, not by the command
    awaited: bool = False  # by the command, which makes Parquet files of the rows when everything has ended

    @property
    def samples_activations(self) -> bool:
        """Whether activations are sampled: asked for, or as a part of a close look."""
        return self.activations or self.closely is not None
