"""Of several trainings each verdict says whose it is, and one that looked speaks for those that could not."""

import msgspec
import numpy
import pandas

from gradaudit.evidence.each_training import each_training
from gradaudit.findings import Clean, Confidence, Finding, NotApplicable, Severity, Skipped, Span, Verdict
from gradaudit.reading.run import Run, load
from gradaudit.schema import OptimizerFacts
from gradaudit.training import Training
from tests.build import build_run, write_table
from tests.diagnosers.runs import falling

FOUND = Finding(
    severity=Severity.NOTE,
    confidence=Confidence.LOW,
    headline="It falls 3 times",
    explanation=".",
    span=Span(first=0, last=1),
)


def several(path, count: int) -> Run:
    """So many optimizers that take turns; the first is called fast, the others have no facts."""
    run = build_run(path, loss=falling(10))
    frames = [run.steps.assign(optimizer=i, global_step=count * numpy.arange(10) + i) for i in range(count)]
    write_table(path / "rank00000", "steps", pandas.concat(frames))
    facts = OptimizerFacts(id=0, optimizer_class="SGD", label="fast")
    (path / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(run.meta, optimizers=[facts])))
    return load(path)


def said(run: Run, verdicts: dict[int, Verdict]) -> list[Verdict]:
    """What becomes of these verdicts, by optimizer."""
    return each_training(run, lambda training: [verdicts[training.id]])


def test_one_training_is_not_named(tmp_path):
    assert said(several(tmp_path, 1), {0: FOUND}) == [FOUND]


def test_what_is_found_and_what_is_clean_name_their_optimizer(tmp_path):
    found, clean = said(several(tmp_path, 2), {0: FOUND, 1: Clean(measured="3 of 4 fall")})
    assert isinstance(found, Finding)
    assert found.headline == "It falls 3 times (optimizer fast, SGD)"
    assert found.span == FOUND.span
    assert clean == Clean(measured="3 of 4 fall (optimizer 1)")


def test_reasons_not_to_look_count_where_nobody_could(tmp_path):
    run = several(tmp_path, 3)
    short, none = Skipped(reason="too short", enable="train"), NotApplicable(reason="no table")
    assert said(run, {0: short, 1: none, 2: short}) == [short, none, short]
    assert said(run, {0: short, 1: Clean(measured="1"), 2: none}) == [Clean(measured="1 (optimizer 1)")]


def test_each_training_is_judged_once(tmp_path):
    run, judged = several(tmp_path, 3), []

    def judge(training: Training):
        judged.append(training)
        return []

    assert each_training(run, judge) == []
    assert judged == list(run.trainings)
