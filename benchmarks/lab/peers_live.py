"""Runs one training under another tool, as its documentation says, and prints what the tool found as a line of JSON.

    python peers_live.py TOOL train.py SEED

Runs in an environment of its own, so it imports nothing of gradaudit. The tool is started where the script prints its
first line, when the model and the optimizer exist.
"""

import json
import logging
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

Found = list[tuple[str, str]]  # rule, severity in the tool's own word
START = re.compile(r"^(?=print\(f?\"constant)", re.MULTILINE)
AUDIT_EVERY = 10  # steps; torch-audit's default of 1,000 would look at the first step of these runs only


def model_of(names: dict[str, Any]) -> torch.nn.Module:
    """The model that the script trains; of a GAN both networks as one."""
    for name in ("model", "policy", "student"):
        if name in names:
            return names[name]
    return torch.nn.ModuleDict({"generator": names["generator"], "discriminator": names["discriminator"]})


def optimizer_of(names: dict[str, Any]) -> torch.optim.Optimizer:
    """The script's optimizer; the first where there are several."""
    return names.get("optimizer") or names["optimizer_d"]


def loss_of(names: dict[str, Any]) -> float:
    """The training loss of this step."""
    return float(names["loss"] if "loss" in names else names["loss_d"])


def torchmortem(names: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], Found]]:
    """`with Autopsy(model, optimizer)`, and its step() after every optimizer step."""
    from torchmortem import Autopsy

    autopsy = Autopsy(model_of(names), optimizer=optimizer_of(names))
    autopsy.attach()

    def finish() -> Found:
        autopsy.detach()
        return [(f"{item.category}: {item.title.partition(' in ')[0]}", item.severity.name)
                for item in autopsy.get_report().findings]  # fmt: skip

    return lambda: autopsy.step(loss=loss_of(names)), finish


def torch_audit(names: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], Found]]:
    """`autopatch(model, optimizer)`, its way without edits of the loop."""
    from torch_audit.runtime import autopatch

    auditor = autopatch(model_of(names), optimizer=optimizer_of(names), every_n_steps=AUDIT_EVERY)
    return lambda: None, lambda: [(item.rule_id, item.severity.value) for item in auditor.finish().findings]


def neural_observatory(names: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], Found]]:
    """`Observatory(model).watch()`, and its step() in every step."""
    from neural_observatory import Observatory

    observatory = Observatory(model_of(names))
    observatory.watch()

    def finish() -> Found:
        observatory.stop()
        found = observatory.report().results
        return [(item.analyzer_name, item.status.value) for item in found if item.status.value != "healthy"]

    return observatory.step, finish


TOOLS = {"torchmortem": torchmortem, "torch-audit": torch_audit, "neural-observatory": neural_observatory}


def main(tool: str, script: str, seed: str) -> None:
    """Train, and print {"version", "found"} at the end, after the script's own lines."""
    logging.disable(logging.WARNING)
    names: dict[str, Any] = {"__name__": "__main__"}
    running: list[Callable[[], Found]] = []

    def start() -> None:
        step, finish = TOOLS[tool](names)
        running.append(finish)
        watched = optimizer_of(names)
        # A tool looks only at the optimizer that it was given.
        register_optimizer_step_post_hook(lambda optimizer, *_: step() if optimizer is watched else None)

    text = START.sub("_start_the_tool()\n", Path(script).read_text(encoding="utf-8"), count=1)
    names["_start_the_tool"] = start
    sys.argv = [script, seed]
    exec(compile(text, script, "exec"), names)
    # A tool says the same of many layers; a rule counts once.
    print(json.dumps({"version": version(tool), "found": sorted(set(running[0]()))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
