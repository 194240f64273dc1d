"""When the steps are made that the user asked to look at closely, and what is kept of them."""

import threading
from collections.abc import Callable

from gradaudit.record.observe.activations import compiled_already
from gradaudit.record.observe.operations import Operations, Trace, is_open, put_below, take_away
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.observers import OPERATION_TRACE, Observers
from gradaudit.record.settings import Settings


class CloseLook:
    """Opens a trace in each training thread before the first step of the stretch, and closes it after the last."""

    def __init__(
        self,
        settings: Settings,
        table: TensorTable,
        observers: Observers,
        event: Callable[[str, str], None],
        coming: Callable[[], int],
    ) -> None:
        self.wanted = settings.closely is not None
        self.first, self.last = settings.closely or (0, -1)
        self.table, self.observers, self.event, self._host = table, observers, event, settings.host
        self._coming = coming  # the global step
        self._traces: dict[int, Trace] = {}  # by thread
        self._over = False

    def due(self, global_step: int) -> bool:
        """Whether a step is in the stretch."""
        return self.first <= global_step <= self.last

    def arrange(self, updating: bool) -> None:
        """Open or close the trace of this thread, as the step that comes wants it; outside of `unseen`.

        While the optimizer is `updating` the weights the trace rests: `tensors` has what that comes to.
        """
        self.observers.call(OPERATION_TRACE, self._arrange, updating)

    def _arrange(self, updating: bool) -> None:
        thread = threading.get_ident()
        trace = self._traces.get(thread)
        due = self.due(self._coming()) and not self._over
        if trace is not None and not due:
            take_away(trace)
            del self._traces[thread]
        elif trace is None and due:
            self._open()
        elif trace is not None and not is_open(trace):
            put_below(trace)
        if thread in self._traces:
            self._traces[thread].resting = updating

    def _open(self) -> None:
        if any(compiled_already(root) for root in self.table.living_roots()):
            self._end("operations are not recorded: torch.compile leaves no place to look without breaking its graphs")
            return
        trace = Trace(self._host)
        if put_below(trace):
            self._traces[threading.get_ident()] = trace
        else:
            self._end("operations are not recorded: this torch has no dispatch modes")

    def take(self) -> Operations | None:
        """What this thread's trace found since its last step."""
        found: Operations | None = self.observers.call(OPERATION_TRACE, self._take)
        return found

    def _take(self) -> Operations | None:
        trace = self._traces.get(threading.get_ident())
        if trace is None:
            return None
        if trace.error is not None:
            raise trace.error
        found = trace.take()
        if found is not None:
            found.modules = self.table.numbers_of_modules()
        if trace.room <= 0 and not self._over:
            self._end("the close look ended: it has more operations than are kept")
        return found

    def on_compiling(self) -> None:
        """Something is about to be compiled."""
        if self.wanted and not self._over:
            self._end("operations are no longer recorded: torch.compile leaves no place to look")

    def detach(self) -> None:
        """Close the trace of this thread; the others find out at their next hook."""
        self._over = True
        for trace in self._traces.values():
            take_away(trace)

    def _end(self, message: str) -> None:
        self._over = True
        self.event("operations", message)
