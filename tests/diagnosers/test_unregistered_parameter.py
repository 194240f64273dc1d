import msgspec

from gradaudit.diagnosers.unregistered_parameter import Outside, Registered, Unregistered, unregistered_parameter
from gradaudit.findings import Severity
from gradaudit.schema import OutsideFacts, ReplacedFacts, ScheduleFacts, UnregisteredFacts
from tests.build import build_run
from tests.diagnosers.graphs import graph_of
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import in_a_list, replaced, scheduled
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def beside(path, schedules=None, **changes):
    """The graph reaches two matrices that no optimizer holds; `changes` go to what is known of them."""
    facts = {"name": "Sequential.0.weight", "sizes": [16, 16], "first": 0, "last": 128, "looks": 8, "sampled": 256,
             "norm": 16 * 0.1443, "largest": 0.25, **changes}  # fmt: skip
    told = [OutsideFacts(**facts), OutsideFacts(**{**facts, "name": "Sequential.1.weight"})]
    return build_run(
        path, loss=falling(), graph=graph_of(outside=told), schedules=schedules or ScheduleFacts(recorded=True)
    )


def test_modules_that_are_registered_are_quiet(tmp_path):
    run = scheduled(tmp_path / "a")
    assert judged(unregistered_parameter, run, Registered) == Registered(8)
    assert assert_clean(unregistered_parameter, run) == "8 parameter tensors in an optimizer, none in a plain list"


def test_a_replaced_head_is_told_elsewhere(tmp_path):
    assert_clean(unregistered_parameter, replaced(tmp_path / "a"))
    head = ReplacedFacts(optimizer=0, first_step=0, last_step=100, tensors=8, missing=2)
    assert_clean(unregistered_parameter, beside(tmp_path / "b", ScheduleFacts(recorded=True, replaced=[head])))


def test_what_is_not_as_drawn_or_moves_is_quiet(tmp_path):
    assert_clean(unregistered_parameter, beside(tmp_path / "a", moved=True))
    assert_clean(unregistered_parameter, beside(tmp_path / "b", largest=1.0))
    assert_clean(unregistered_parameter, beside(tmp_path / "c", last=3))


def test_loaded_layers_in_a_plain_list_are_a_note(tmp_path):
    """A perceptual loss that is kept out of parameters() on purpose."""
    listed = UnregisteredFacts(name="perceptual", holder="AE", modules=1, tensors=2, elements=512, looks=3)
    schedules = ScheduleFacts(recorded=True, unregistered=[listed])
    finding = assert_finds(unregistered_parameter, beside(tmp_path / "a", schedules, largest=1.0), Severity.NOTE)
    assert finding.actions[-1].code == "layer.requires_grad_(False)"
    # As they are drawn they are new; of parameters nobody knows how they are drawn.
    assert judged(unregistered_parameter, beside(tmp_path / "b", schedules), Unregistered).loaded is False
    alone = ScheduleFacts(recorded=True, unregistered=[msgspec.structs.replace(listed, modules=0)])
    assert judged(unregistered_parameter, beside(tmp_path / "c", alone, largest=1.0), Unregistered).loaded is False


def test_old_and_short_runs(tmp_path):
    assert_skipped(unregistered_parameter, build_run(tmp_path / "a", loss=falling()))
    assert_clean(unregistered_parameter, in_a_list(tmp_path / "b"), least=1e9)


def test_layers_outside_of_every_module_are_a_warning(tmp_path):
    run = beside(tmp_path / "a")
    assert judged(unregistered_parameter, run, Outside).names == ("Sequential.0.weight", "Sequential.1.weight")
    assert assert_finds(unregistered_parameter, run, Severity.WARNING).title == "Layers outside the optimizer"


def test_layers_in_a_plain_list_are_a_warning(tmp_path):
    run = in_a_list(tmp_path / "a")
    found = judged(unregistered_parameter, run, Unregistered)
    assert found.steps == 200
    assert 0 < found.share < 0.5
    finding = assert_finds(unregistered_parameter, run, Severity.WARNING)
    assert finding.headline == "Encoder.layers is a plain list: no optimizer holds its 6 parameters"
    assert finding.actions[0].text == "Make self.layers of Encoder an nn.ModuleList"


def test_most_of_a_model_in_a_plain_list_is_critical(tmp_path):
    run = in_a_list(tmp_path / "a", elements=10**6, container="dict", modules=0)
    finding = assert_finds(unregistered_parameter, run, Severity.CRITICAL)
    assert finding.title == "Parameters in a plain dict"
    assert "nn.ParameterDict" in finding.actions[0].code
