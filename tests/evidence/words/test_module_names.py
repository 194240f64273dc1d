from gradaudit.evidence.words.module_names import layer, named
from gradaudit.schema import ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import falling


def test_a_name_that_is_only_a_number_stands_beside_its_class(tmp_path):
    modules = [
        ModuleFacts(id=place, name=name, module_class=kind)
        for place, (name, kind) in enumerate([("", "Sequential"), ("3", "Softmax"), ("squash", "Tanh")])
    ]
    run = build_run(tmp_path / "a", loss=falling(), modules=modules)
    assert [named(run, name) for name in ("3", "squash", "", "9")] == ["3 (Softmax)", "squash", "Sequential", "9"]
    assert [layer(run, name) for name in ("3", "squash")] == ["layer 3 (Softmax)", "squash"]
