"""A threshold that the user changes holds wherever a rule goes by it."""

import ast
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers import all_diagnosers
from gradaudit.reading.run import load
from gradaudit.signals.thresholds import threshold
from tests.samples import FOLDER

SIGNALS = Path(__file__).parents[2] / "gradaudit" / "signals"
THRESHOLDS = {f"{item.name}.{name}": value for item in all_diagnosers() for name, value in item.thresholds.items()}


@pytest.mark.parametrize("value", [8.0, 0.0])
def test_a_threshold_is_its_default_unless_the_user_changed_it(value):
    run = load(FOLDER / "divergence" / "run")
    changed = replace(run, thresholds={"vanishing_gradient.decades": value})
    assert [threshold(one, "vanishing_gradient.decades", 3.0) for one in (run, changed)] == [3.0, value]
    assert threshold(changed, "exploding_gradient.decades", 3.0) == 3.0
    assert threshold(changed, "decades", 3.0) == 3.0


def asked_for():
    """(module, name, default) of each threshold that a signal asks for by a literal name."""
    for file in sorted(SIGNALS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "threshold":
                _, name, default = node.args
                if isinstance(name, ast.Constant):
                    module = ".".join(file.relative_to(SIGNALS.parents[1]).with_suffix("").parts)
                    yield module, name.value, ast.unparse(default)


@pytest.mark.parametrize(("module", "name", "default"), list(asked_for()), ids=[name for _, name, _ in asked_for()])
def test_the_default_of_a_signal_is_that_of_the_diagnoser(module, name, default):
    assert name in THRESHOLDS
    assert eval(default, vars(import_module(module))) == THRESHOLDS[name]


def test_signals_ask_for_what_several_rules_go_by():
    assert {name for _, name, _ in asked_for()} >= {
        "vanishing_gradient.decades", "exploding_gradient.decades", "divergence.doubled", "unstable_loss.lost",
        "learning_rate_schedule.risen", "learning_rate_too_high.with_symptom", "premature_plateau.unfinished",
        "frozen_parameter.backbone",
    }  # fmt: skip


def outcomes(sample, **thresholds):
    changed = {name.replace("__", "."): value for name, value in thresholds.items()}
    return {one.diagnoser: one for one in analyze(load(FOLDER / sample / "run"), thresholds=changed).outcomes}


def test_what_is_not_steep_for_one_rule_is_not_for_another():
    """The fade of this sample is 13 million-fold."""
    before, after = outcomes("vanishing_gradient"), outcomes("vanishing_gradient", vanishing_gradient__decades=8)
    assert (before["vanishing_gradient"].status, after["vanishing_gradient"].status) == ("found", "clean")
    assert "vanishing_gradient" in before["dead_relu"].result.text
    assert "vanishing_gradient" not in after["dead_relu"].result.text
    assert before["layer_imbalance"].result != after["layer_imbalance"].result


def test_a_divergence_that_the_user_tolerates_silences_no_other_rule():
    before, after = outcomes("divergence"), outcomes("divergence", divergence__doubled=1e9, divergence__worse=1e9)
    assert (before["divergence"].status, after["divergence"].status) == ("found", "clean")
    changed = {name for name, one in before.items() if one.status != after[name].status}
    assert changed > {"divergence"}, "rules that step back before a divergence look at the run themselves"


def test_an_unknown_rise_of_the_validation_loss_is_judged_by_the_thresholds_of_overfitting():
    """`no_signal` asks whether the validation loss rises, as `overfitting` says."""
    from gradaudit.signals.evaluation.generalisation import RiseLimits, rise_limits

    run = load(FOLDER / "overfitting" / "run")
    assert rise_limits(run) == RiseLimits(
        **{name: THRESHOLDS[f"overfitting.{name}"] for name in RiseLimits.__struct_fields__}
    )
