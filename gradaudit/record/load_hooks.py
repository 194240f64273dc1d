"""The hook of checkpoints that are loaded, called through `session.guarded` like all of `hooks`."""

from typing import Any

from torch import nn

from gradaudit.record.hook_observers import observer
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.recording import Recording


@observer(MODEL_STATE)
def on_load(recording: Recording, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], told: Any) -> None:
    """`module.load_state_dict`, called with `args` and `kwargs`, has `told` which keys it found nothing for."""
    recording.gathered.model_state.loads.on_load(module, args[0] if args else kwargs["state_dict"], told)
