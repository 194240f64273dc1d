"""fastai: an Optimizer of its own, whose options have their own names, and one loop for training and validation."""

import functools
from typing import Any

from gradaudit.record.frameworks.optimizer import watch_steps
from gradaudit.record.internals import private
from gradaudit.record.observe.evaluation.splits import told
from gradaudit.record.patches import Patch, leave_out_of, replace

# The last callback of an optimizer is its rule.
_CLASSES = {
    "sgd_step": "SGD",
    "momentum_step": "SGD",
    "rms_prop_step": "RMSprop",
    "adam_step": "Adam",
    "radam_step": "RAdam",
    "qhadam_step": "QHAdam",
    "larc_step": "Larc",
    "lamb_step": "Lamb",
}


def install(module: Any) -> list[Patch]:
    """Wrap Optimizer.step of the module fastai.optimizer; OptimWrapper steps a torch optimizer, which has its hooks."""
    return [watch_steps(module.Optimizer, "step", groups=_groups, class_of=_class_of)]


def install_evaluation(module: Any) -> list[Patch]:
    """Wrap Learner._do_epoch_validate of the module fastai.learner, which runs the same functions as the training."""
    original = private(module.Learner, "_do_epoch_validate")
    if original is None:
        return []

    @functools.wraps(original)
    def _do_epoch_validate(self: Any, ds_idx: int = 1, dl: Any = None) -> Any:
        with told("validation" if dl is None and ds_idx == 1 else "evaluation"):
            try:
                return original(self, ds_idx, dl)
            except BaseException as error:
                leave_out_of(error)
                raise

    return [replace(module.Learner, "_do_epoch_validate", _do_epoch_validate)]


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {
            "params": list(parameters),
            "lr": options.get("lr"),
            "momentum": options.get("mom", 0.0),
            "weight_decay": options.get("wd", 0.0),
        }
        for parameters, options in zip(optimizer.param_lists, optimizer.hypers, strict=True)
    ]


def _class_of(optimizer: Any) -> str:
    rules = [getattr(callback, "func", callback) for callback in optimizer.cbs]
    return _CLASSES.get(getattr(rules[-1], "__name__", ""), "Optimizer") if rules else "Optimizer"
