"""The explicit API, for notebooks and for loops that `gradaudit record` cannot see."""

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from gradaudit.record import hooks, install, session
from gradaudit.record.patches import optimizer as optimizer_seam
from gradaudit.record.settings import Settings


class Recorder:
    """Records `model` while `optimizers` train it, until closed.

        >>> with gradaudit.Recorder(model, optimizer, directory="runs/mine") as recorder:
        ...     for inputs, targets in batches:
        ...         loss = nn.CrossEntropyLoss()(model(inputs), targets)
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...     recorder.log(loss=validation_loss(), split="validation")

    `directory` defaults to ``runs/<name>-<UTC time>`` and must not hold a run yet; `every` records
    tensor statistics at every n-th step instead of as often as `budget` allows: the percentage of a
    step's time that recording may take after the first 100 steps; `activations` also samples the
    model's input and the outputs of its activation modules, through forward hooks; `closely`
    is the first and the last step of a stretch of which everything is recorded, every operation
    included; `data` False records nothing of what batches hold. Under
    ``gradaudit record`` it adds nothing but its `log` calls to the recording that is going on, and
    `directory` is that of the recording.
    A recorder that is still open is closed by the next one. Raises FileExistsError when `directory`
    is not empty, TypeError when an optimizer is not torch's, and ValueError when `budget` is not above
    0 and up to 100, or the last step of `closely` lies before the first.
    """

    def __init__(  # noqa: PLR0913 -- options, each by its name
        self,
        model: nn.Module,
        *optimizers: torch.optim.Optimizer,
        directory: str | Path | None = None,
        name: str = "recorder",
        every: int | None = None,
        budget: float = 1.0,
        quiet: bool = False,
        activations: bool = False,
        closely: tuple[int, int] | None = None,
        data: bool = True,
    ) -> None:
        for optimizer in optimizers:
            if not isinstance(optimizer, torch.optim.Optimizer):
                raise TypeError(f"Recorder(model, *optimizers) takes torch optimizers, not {type(optimizer).__name__}")
        if not 0 < budget <= 100:
            raise ValueError(f"budget={budget!r} is not a percentage above 0 and up to 100")
        if closely is not None and not 0 <= closely[0] <= closely[1]:
            raise ValueError(f"closely={closely!r} is not a first step and a last one")
        current = session.current()
        self._joined = current is not None and not current.settings.explicit
        if current is not None and self._joined:
            self.directory = Path(current.settings.directory)
            return
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        self.directory = Path(directory) if directory is not None else Path("runs") / f"{name}-{stamp}"
        if self.directory.exists() and any(self.directory.iterdir()):
            raise FileExistsError(f"{self.directory} is not empty; give another directory")
        # A notebook's cell that is run again makes a new recorder and leaves the old one open.
        session.stop("finished")
        settings = Settings(
            directory=str(self.directory.absolute()),
            every=every,
            budget=budget,
            quiet=quiet,
            activations=activations,
            closely=closely,
            data=data,
            explicit=True,
        )
        install.install(activations=settings.samples_activations)
        self._recording = session.start(settings, [model], optimizers or None)
        session.guarded(hooks.attach_activations, list(model.parameters()))
        optimizer_seam.arm()

    def log(self, *, loss: float | torch.Tensor, split: str | None = None, count: int = 1) -> None:
        """Record a loss: of the coming training step, or with `split` ("validation", "test", ...) of an evaluation.

        `count` weighs the loss when several are logged for one split between two steps.

            >>> recorder.log(loss=0.31, split="validation")
        """
        session.guarded(hooks.on_logged_loss, loss, split, count)

    def close(self, state: str = "finished") -> None:
        """Write what is left. Safe to call twice.

        >>> recorder.close()
        """
        if not self._joined and session.current() is self._recording:
            session.stop(state)
            install.uninstall()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        state = "interrupted" if kind is KeyboardInterrupt else "failed" if kind is not None else "finished"
        self.close(state)
