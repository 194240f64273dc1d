"""What every diagnoser must keep to; a failure names the diagnoser and what to change."""

import ast
import functools
import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import pyarrow.parquet
import pytest

from gradaudit.audit.runner import examine
from gradaudit.chart_data import Lines
from gradaudit.diagnoser import SECTIONS, Diagnoser, Judged
from gradaudit.diagnosers import all_diagnosers
from gradaudit.findings import Confidence, Finding, Measure, Severity
from gradaudit.reading.run import Run, load
from gradaudit.schema import TABLES, LossFacts, TensorFacts
from gradaudit.training import Training
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import HEALTHY_WITH, embedding_rows, falling, healthy
from tests.diagnosers.sick import SICK, sick_run
from tests.diagnosers.sick_precision import histogram, in_half
from tests.diagnosers.sick_replicas import replicas
from tests.diagnosers.verbs import changed
from tests.thin import thin

ROOT = Path(__file__).parent.parent
DIAGNOSERS = all_diagnosers()
every = pytest.mark.parametrize("diagnoser", DIAGNOSERS, ids=lambda item: item.name)
HEALTHY_BY = {
    "rank_divergence": lambda path: replicas(path / "run"),
    "fp16_underflow": lambda path: in_half(path / "run", scale=65536.0),
}
THRESHOLDS = [(item, option) for item in DIAGNOSERS for option in item.thresholds]


@every
def test_one_word_names_the_file_the_function_and_the_test(diagnoser: Diagnoser):
    module = import_module(f"gradaudit.diagnosers.{diagnoser.name}")
    assert getattr(module, diagnoser.name) is diagnoser
    assert diagnoser.check.__module__ == module.__name__
    assert (ROOT / "tests" / "diagnosers" / f"test_{diagnoser.name}.py").exists()
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z]+)*", diagnoser.name)


@every
def test_its_page_has_a_failing_sentence_and_four_sections_in_order(diagnoser: Diagnoser):
    page = diagnoser.documentation
    assert re.fullmatch(r"[A-Z][^\n]*\.", page.headline), page.headline
    assert tuple(page.sections) == SECTIONS
    assert all(page.sections.values())


@every
def test_every_threshold_is_named_on_its_page_and_has_a_reason(diagnoser: Diagnoser):
    source = diagnoser.limits_source
    text = " ".join(diagnoser.documentation.sections.values())
    for option, default in diagnoser.thresholds.items():
        assert f"`{option}`" in text, f"{option} is not named in the docstring of {diagnoser.name}"
        assert isinstance(default, int | float), option
        assert re.search(rf"^ +{option}: float = [^#\n]+  # .+$", source, re.MULTILINE), (
            f"{option} needs a comment with the reason or the source of its default"
        )


@every
def test_what_it_explains_exists(diagnoser: Diagnoser):
    assert set(diagnoser.explains) <= {item.name for item in DIAGNOSERS} - {diagnoser.name}


@every
def test_it_is_a_generator_over_a_run_or_a_training_and_its_limits(diagnoser: Diagnoser):
    assert inspect.isgeneratorfunction(diagnoser.check)
    first, *rest = inspect.signature(diagnoser.check).parameters.values()
    assert (first.name, first.annotation) == (diagnoser.per, {"run": Run, "training": Training}[diagnoser.per])
    assert [parameter.name for parameter in rest] in ([], ["limits"])


@every
def test_it_judges_in_numbers_and_tells_in_words(diagnoser: Diagnoser):
    """Above the first tell no text is made of numbers, and below it nothing is worked out."""
    source = (ROOT / "gradaudit" / "diagnosers" / f"{diagnoser.name}.py").read_text()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    tells = [node.lineno for node in functions if f"{diagnoser.name}.tell" in map(ast.unparse, node.decorator_list)]
    assert tells, f"{diagnoser.name} tells nothing: what its check finds is put into words by @{diagnoser.name}.tell"
    for node in functions:
        inside = list(ast.walk(node))
        if node.lineno < min(tells):
            made = [one.lineno for one in inside if isinstance(one, ast.JoinedStr)]
            assert not made, f"{diagnoser.name}.{node.name} makes text, line {made}"
        else:
            worked = [one.lineno for one in inside if isinstance(one, ast.Name) and one.id in ("numpy", "pandas")]
            assert not worked, f"{diagnoser.name}.{node.name} tells, and works something out, line {worked}"
    assert all(issubclass(kind, Judged) for kind in diagnoser.tells if kind.__module__ == diagnoser.check.__module__)


@every
def test_it_is_quiet_on_a_healthy_run_and_says_what_it_measured(diagnoser: Diagnoser, tmp_path: Path):
    build = HEALTHY_BY.get(diagnoser.name, healthy)
    outcome = examine(diagnoser, build(tmp_path, **HEALTHY_WITH.get(diagnoser.name, {})))
    assert outcome.status == "clean", outcome.result
    assert re.search(r"\d", outcome.result.text)


NAN = float("nan")
LONG = 240  # steps: more than any diagnoser needs
STATISTICS = [column.name for column in TABLES["tensors"].columns if column.dtype == "float32"]


def sample(value: float, step: int) -> dict[str, Any]:
    """A row of table `modules` in which every statistic is `value`."""
    row = {c.name: value for c in TABLES["modules"].columns if c.dtype == "float32"}
    return {**row, "step": step, "module": -1, "loss": 0, "kind": "loss_input", "elements": 320, "nonfinite": 0}


def shuffled(run: Run, path: Path) -> Run:
    """The same run with the columns of every file reversed, and its rows in another order."""
    shutil.copytree(run.path, path)
    for file in path.rglob("*.parquet"):
        table = pyarrow.parquet.read_table(file)
        order = numpy.random.default_rng(0).permutation(len(table))
        pyarrow.parquet.write_table(table.select(table.column_names[::-1]).take(order), file)
    return load(path)


ODD = {
    "one step": lambda path: build_run(path, loss=[2.3]),
    "one step of two ranks": lambda path: replicas(path, steps=1),
    "no number on any of two ranks": lambda path: replicas(
        path, [{"mean_loss": NAN, "objective": NAN}], steps=LONG, columns={"mean_loss": NAN, "gradient_norm": NAN}
    ),
    "histograms of nothing": lambda path: in_half(
        path,
        dtype="float16",
        histograms=[{**histogram([1.0], 0, 0), "positive": [], "negative": [], "elements": 0, "zeros": 0}],
    ),
    "histograms of extremes": lambda path: in_half(
        path, dtype="float16", histograms=[histogram([1e-300, 1e300], step, 0) for step in (0, 10)]
    ),
    "columns and rows in another order": lambda path: shuffled(
        healthy(path.parent / "before", **{k: v for w in HEALTHY_WITH.values() for k, v in w.items() if k != "steps"}),
        path,
    ),
    "two steps": lambda path: build_run(path, loss=[2.3, 2.2]),
    "all NaN": lambda path: build_run(
        path,
        loss=[NAN] * LONG,
        tensors=linear_stack(embedding=20),
        stats=dict.fromkeys(STATISTICS, NAN),
        samples=[sample(NAN, step) for step in range(0, LONG, 10)],
        steps={"gradient_norm": NAN, "learning_rate": [[NAN]] * LONG},
        evaluations=[(step, "validation", NAN) for step in range(0, LONG, 10)],
        rows=embedding_rows(LONG, tensor=0, rows=20, hit=0, ever_hit=0, movement=[NAN] * 3),
        facts=LossFacts(id=0, function="mse_loss", target_mean=NAN, target_variance=NAN),
    ),
    "all infinite": lambda path: build_run(
        path,
        loss=[float("inf")] * LONG,
        tensors=linear_stack(embedding=20),
        stats=dict.fromkeys(STATISTICS, float("inf")),
        samples=[sample(float("inf"), step) for step in range(0, LONG, 10)],
        evaluations=[(step, "validation", float("inf")) for step in range(0, LONG, 10)],
    ),
    "all zero": lambda path: build_run(
        path,
        loss=[0.0] * LONG,
        tensors=linear_stack(embedding=20),
        stats=dict.fromkeys(STATISTICS, 0.0),
        samples=[sample(0.0, step) for step in range(0, LONG, 10)],
        evaluations=[(step, "validation", 0.0) for step in range(0, LONG, 10)],
    ),
    "one tensor": lambda path: build_run(path, loss=falling(LONG), tensors=linear_stack(depth=1)[:1]),
    "no tensor rows": lambda path: build_run(path, loss=falling(LONG), recorded=[]),
    "no tensors at all": lambda path: build_run(path, loss=falling(LONG), tensors=[]),
    "statistics of the end only": lambda path: build_run(path, loss=falling(LONG), recorded=[LONG - 2, LONG - 1]),
    "no gradient anywhere": lambda path: build_run(
        path,
        loss=falling(LONG),
        tensors=linear_stack(embedding=20),
        stats={"has_grad": False, **dict.fromkeys(("gradient_norm", "weight_norm", "update_norm"), NAN)},
    ),
    "empty evaluations": lambda path: build_run(
        path, loss=falling(LONG), evaluations=[(step, "validation", NAN) for step in range(0, LONG, 10)]
    ),
    "unknown loss": lambda path: build_run(
        path, loss=falling(LONG), facts=LossFacts(id=-1, function=""), steps={"mean_loss": NAN}
    ),
    "tensor of no elements": lambda path: build_run(
        path, loss=falling(LONG), tensors=[TensorFacts(id=0, name="empty", role="embedding", shape=[0, 4], optimizer=0)]
    ),
    "empty lists": lambda path: build_run(path, loss=falling(LONG), steps={"learning_rate": [[]] * LONG}),
    "optimizer without facts": lambda path: build_run(path, loss=falling(LONG), steps={"optimizer": 3}),
}


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory):
    """A run by its name, built once for all diagnosers."""
    return functools.cache(lambda name: ODD[name](tmp_path_factory.mktemp("odd") / "run"))


@every
@pytest.mark.parametrize("odd", ODD)
def test_it_survives_odd_runs(diagnoser: Diagnoser, odd: str, odd_run):
    outcome = examine(diagnoser, odd_run(odd))
    assert outcome.status != "failed", outcome.result
    for finding in outcome.findings:
        check_style(finding, diagnoser)


@every
def test_it_finds_its_sick_run_and_says_so_well(diagnoser: Diagnoser, tmp_path: Path):
    outcome = examine(diagnoser, sick_run(diagnoser.name, tmp_path))
    assert outcome.status == "found", outcome.result.text
    for finding in outcome.findings:
        check_style(finding, diagnoser)
        assert finding.measures
        assert finding.evidence


def check_style(finding: Finding, diagnoser: Diagnoser) -> None:
    """Hold a finding to the house's style; severity and confidence to what its diagnoser may say."""
    assert re.fullmatch(r"[A-Z]\S*( \S+){0,6}", finding.title), f"no disease by name: {finding.title!r}"
    assert len(finding.title) <= 40, finding.title
    assert not finding.title.endswith("."), finding.title
    headline = finding.headline
    assert headline[0].isupper(), headline
    assert not headline.endswith("."), headline
    assert re.search(r"\d", headline), f"no number in: {headline}"
    advice = r"\b(should|must|try|lower|raise|use|consider|may|might|could)\b"
    assert not re.search(advice, headline, re.IGNORECASE), f"advice or hedging in: {headline}"
    assert len(re.sub(r" \(optimizer .*\)$", "", headline)) <= 110, headline
    assert finding.explanation.endswith((".", ")")), finding.explanation
    assert "  " not in finding.explanation, finding.explanation
    assert "nan" not in re.findall(r"\b\w+\b", f"{headline} {finding.explanation}"), finding.explanation
    assert finding.severity.rank >= diagnoser.worst.rank, headline
    assert finding.confidence is not Confidence.LOW or finding.severity is Severity.NOTE
    assert finding.span.first <= finding.span.last
    assert len(finding.evidence) <= 2
    for evidence in finding.evidence:
        assert evidence.title
        assert evidence.caption.endswith(".")
        if isinstance(evidence, Lines):
            assert sum(len(series.x) for series in evidence.series) <= 2000
            assert all(len(series.x) == len(series.y) for series in evidence.series)
    options = {measure.option for measure in finding.measures} - {""}
    assert options <= set(diagnoser.thresholds), options
    check_measures(finding)
    assert finding.actions
    said = " ".join(action.text + action.code for action in finding.actions)
    # What is certain of wiring, data or state may need no number: to set shuffle=True is enough.
    assert re.search(r"\d", said) or finding.confidence is Confidence.CERTAIN, f"no action with a number: {headline}"
    for action in finding.actions:
        assert action.text[0].isupper()
        assert not action.text.endswith("."), action.text
        assert "nan" not in action.text.split(), action.text


def check_measures(finding: Finding) -> None:
    """What decides that there is a finding is met or unknown; of the measures that share `any_of` one is enough."""
    together: dict[object, list[Measure]] = {}
    for place, measure in enumerate(finding.measures):
        together.setdefault(measure.any_of or place, []).append(measure)
    for group in together.values():
        if any(measure.decides == "finding" for measure in group):
            assert any(measure.met is not False for measure in group), (finding.headline, group)
        decided = {measure.decides for measure in group} - {"finding"}
        if finding.severity is Severity.CRITICAL and decided == {"critical"}:
            assert any(measure.met is not False for measure in group), (finding.headline, group)


@pytest.mark.parametrize(
    ("diagnoser", "option"), thin(2, THRESHOLDS), ids=[f"{item.name}.{option}" for item, option in THRESHOLDS]
)
def test_each_threshold_bites(diagnoser: Diagnoser, option: str, tmp_path: Path):
    case = SICK[diagnoser.name].get(option)
    assert case is not None, f"tests/diagnosers/sick.py has no run on which {diagnoser.name}.{option} matters"
    build, extreme = case
    run = build(tmp_path / "run")
    before, after = examine(diagnoser, run), examine(diagnoser, changed(run, diagnoser, {option: extreme}))
    assert after.status != "failed", after.result
    for finding in [*before.findings, *after.findings]:
        check_measures(finding)

    def said(outcome):
        return outcome.status, [
            (f.severity, f.confidence, f.headline, f.explanation, f.actions) for f in outcome.findings
        ]

    assert said(before) != said(after), f"{option} = {extreme} changes nothing"
    # What is shown as the threshold is what the user set. Some are shown in the unit of the value, times a factor.
    default = diagnoser.thresholds[option]
    shown = [measure for finding in after.findings for measure in finding.measures if measure.option == option]
    assert not [measure for measure in shown if measure.threshold == default], f"{option} is shown as {default}"


def test_ten_thousand_tensors_are_no_problem(tmp_path: Path):
    tensors = linear_stack(depth=5_000, width=4)
    random = numpy.random.default_rng(0)
    stats = {name: random.lognormal(-3, 1, (6, len(tensors))) for name in STATISTICS}
    run = build_run(
        tmp_path / "run", loss=falling(LONG), tensors=tensors, stats=stats, recorded=[0, 1, 2, 20, 40, LONG - 1]
    )
    for diagnoser in DIAGNOSERS:
        outcome = examine(diagnoser, run)
        assert outcome.status != "failed", outcome.result
        for finding in outcome.findings:
            check_style(finding, diagnoser)
            assert len(finding.tensors) <= 50


def test_a_median_of_nothing_warns_nobody(tmp_path: Path):
    run = build_run(tmp_path / "run", loss=falling(120), stats={"weight_norm": numpy.nan})
    for diagnoser in DIAGNOSERS:
        assert examine(diagnoser, run).status != "failed"
