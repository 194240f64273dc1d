"""The laboratory's configurations are what they say: edits that apply, halves that never move, names that exist."""

from collections import Counter

import pytest

from benchmarks.lab.configuration import SCRIPTS, SECOND_ROUND, edited, half_of
from benchmarks.lab.healthy import HEALTHY

each_healthy = pytest.mark.parametrize("configuration", HEALTHY, ids=lambda configuration: configuration.name)


@each_healthy
def test_a_healthy_configuration_is_a_program(configuration):
    compile(configuration.text, configuration.name, "exec")


def test_an_edit_that_fits_no_place_or_two_is_refused():
    assert edited("a\nb\n", (("b\n", "c\n"), ("c\n", "d\n"))) == "a\nd\n"
    with pytest.raises(ValueError, match="0 times"):
        edited("a\n", (("b\n", "c\n"),))
    with pytest.raises(ValueError, match="2 times"):
        edited("a\na\n", (("a\n", "c\n"),))


def test_there_are_enough_healthy_configurations_and_all_differ():
    assert len(HEALTHY) >= 60
    assert not [name for name, count in Counter(item.name for item in HEALTHY).items() if count > 1]
    assert not [text for text, count in Counter(item.text for item in HEALTHY).items() if count > 1]


def test_every_script_is_used():
    assert {item.script for item in HEALTHY} == {path.stem for path in SCRIPTS.glob("*.py")}


def test_each_family_of_the_second_round_has_a_script_on_either_side():
    assert Counter(map(half_of, SECOND_ROUND)) == {"development": 10, "unseen": 10}
    assert {item.script for item in HEALTHY} >= SECOND_ROUND
    assert {half_of(script) for script in SECOND_ROUND if script.startswith("tabular")} == {"development", "unseen"}


def test_the_unseen_half_stays_as_it_was_committed():
    assert {script for script in SECOND_ROUND if half_of(script) == "unseen"} == {
        "by_hand_language_model", "compiled_cnn", "distillation_features", "dqn_pole", "lsgan_conditional",
        "multitask_uncertainty", "ppo_continuous", "retrieval_in_batch", "tabular_steps", "vae_annealed",
    }  # fmt: skip


def test_the_halves_stay_as_they_were_committed():
    held_out = {path.stem for path in SCRIPTS.glob("*.py") if half_of(path.stem) == "held-out"}
    assert held_out == {
        "autoencoder", "cnn_batchnorm", "ddp_language_model", "deep_sigmoid", "diffusion", "finetune_frozen_norm",
        "finetune_gradual", "finetune_head", "gru_language_model", "imbalanced", "lora", "mlp_classifier", "multilabel",
        "poisson_regression", "quantile_regression", "resnet", "rezero", "segmentation", "sequence_tagger", "skip_gram",
        "transformer_prenorm", "two_towers",
    }  # fmt: skip
