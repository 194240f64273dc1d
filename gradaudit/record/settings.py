"""What a recording was asked for: handed from the command to the recorded interpreter."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `gradaudit record` and of `Recorder`."""

    directory: str
    name: str = ""
    every: int | None = None  # record tensor statistics at every n-th step; None: as the budget allows
    budget: float = 1.0  # percent of a step's time that recording may take, after the first steps
    quiet: bool = False
    host: bool = True  # keep host, user, folder and command line in the record
    command: list[str] = []
    ignored: str = ""  # the option by which the command's Python ignores the recorder
    activations: bool = False  # sample the model's input and the outputs of its activation modules
    explicit: bool = False  # started by Recorder, not by the command
