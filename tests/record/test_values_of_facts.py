"""Options and weights that are NaN or infinite become nulls in run.json, and such a run is read like any other."""

import json
import math

import torch
from torch.nn import functional

from gradaudit.audit.differences import changes
from gradaudit.audit.runner import analyze
from gradaudit.report import json_file
from gradaudit.signals.loss.constant_predictor import constant_loss
from tests.record.training import batch, classifier, recorded, run_of


class Bounded(torch.optim.SGD):
    """An optimizer with options that are no numbers to JSON."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.01)
        self.defaults |= {"most": math.inf, "unknown": math.nan, "betas": (0.9, math.inf), "eps": math.nan}


def test_a_run_of_values_that_json_has_not_is_read(tmp_path):
    x, y = batch()
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = Bounded(model.parameters())
        for step in range(6):
            optimizer.zero_grad()
            weights = torch.tensor([1.0, math.nan, math.inf])
            functional.cross_entropy(model(x), y, weight=weights).backward()
            target = torch.full((8,), math.nan if step else 1.0)
            functional.mse_loss(model(x)[:, 0], target).backward()
            functional.binary_cross_entropy_with_logits(model(x)[:, 1], target).backward()
            optimizer.step()
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert written["losses"][0]["class_weights"] == [1.0, None, None]
    assert written["optimizers"][0]["defaults"]["betas"] == [0.9, None]
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 6
    assert run.meta.losses[0].class_weights == [1.0, None, None]
    assert run.meta.optimizers[0].defaults["most"] is None
    assert math.isnan(constant_loss(run.meta.losses[0], "classification"))
    audit = analyze(run)
    assert [outcome.result for outcome in audit.with_status("failed")] == []
    assert list(changes([audit, audit])) == []
    (tmp_path / "audit.json").write_text(json_file.render(audit))
    assert json_file.read(tmp_path / "audit.json") == audit
