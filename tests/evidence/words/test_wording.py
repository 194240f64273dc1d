import pytest

from gradaudit.evidence.words.wording import (
    distance,
    factor,
    fold,
    in_code,
    literal,
    names,
    number,
    percent,
    plural,
    setting,
    times,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.302585, "2.30"), (145.9, "146"), (12_345.0, "12,300"), (0.05, "0.05"), (0.0021, "0.0021"),
        (2.14e-4, "2.1e-4"), (3.4e7, "3.4e7"), (1e-5, "1e-5"), (0, "0"), (80.0, "80"), (9.999, "10"), (-0.5, "-0.5"),
        (999_999.9, "1e6"), (float("nan"), "NaN"), (float("-inf"), "-infinity"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "0.05"), (1e-5, "1e-5"), (2.5e-4, "2.5e-4"), (300, "300"), (0.0, "0"), (1e-3, "0.001")]
)
def test_settings_are_as_a_user_types_them(value, text):
    assert setting(value) == text
    assert float(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.4, "1.4"), (19_300, "19,300"), (999_400, "999,000"), (999_900, "1.0 million"), (1.3e7, "13 million"),
     (2.5e11, "250 billion"), (3e12, "3.0 trillion"), (1e15, "1e15"), (float("inf"), "infinity")],
)  # fmt: skip
def test_many_times_are_told_without_an_exponent(value, text):
    assert times(value) == text


def test_shares_factors_and_counts():
    assert [percent(share) for share in (0.123, 0.05, 0.004, 0.00012, 0.0)] == [
        "12 %", "5 %", "0.4 %", "0.012 %", "0 %",
    ]  # fmt: skip
    assert [factor(value) for value in (1.44, 63.4, 2123)] == ["1.4", "63", "2,120"]
    large = (999_999, 1.34e7, -6.2e6, 4.94e10, 1.5e12, 3e17, float("inf"))
    words = ["1.0 million", "13 million", "-6.2 million", "49 billion", "1.5 trillion", "3e17", "infinity"]
    assert [factor(value) for value in large] == words
    assert plural(1, "step") == "1 step"
    assert plural(1320, "step") == "1,320 steps"
    assert plural(2, "loss", "losses") == "2 losses"


def test_large_factors_are_told_in_words():
    values = (1.44, 19_306.0, 1.31e7, 2.5e9, 1.23e14, 3e17)
    assert [times(value) for value in values] == [
        "1.4", "19,300", "13 million", "2.5 billion", "123 trillion", "3e17",
    ]  # fmt: skip


def test_lists():
    assert names(["a"]) == "a"
    assert names(["a", "b"]) == "a and b"
    assert names(["a", "b", "c"]) == "a, b and c"
    assert names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert names([]) == ""


def test_names_as_python_reaches_them():
    assert in_code("layers.0.weight") == "model.layers[0].weight"
    assert in_code("2.fc2") == "model[2].fc2"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.9975, "99.8 %"),
        (0.9999, "99.9 %"),
        (1.0, "100 %"),
        (-0.9999, "-99.9 %"),
        (0.99, "99 %"),
        (149.34, "14,934 %"),
    ],
)
def test_only_all_of_it_is_100_percent(share, words):
    assert percent(share) == words


@pytest.mark.parametrize(("after", "words"), [(1.2, "40 % lower"), (2.8, "40 % higher"), (300.0, "150 times as high")])
def test_a_distance_is_a_share_or_a_factor(after, words):
    assert distance(2.0, after) == words


@pytest.mark.parametrize(("decades", "words"), [(4.1, "12,600"), (-4.1, "12,600"), (0.0, "1.0")])
def test_powers_of_ten_read_as_a_factor_either_way(decades, words):
    assert fold(decades) == words


@pytest.mark.parametrize("value", [12_345.6, 999_000.0, 0.05, 2.1e-4, 3.4e7, 1.0])
def test_a_number_in_code_is_the_number_of_the_sentence(value):
    assert literal(value) == number(value, 2).replace(",", "")
    assert float(literal(value)) == pytest.approx(value, rel=0.2)
