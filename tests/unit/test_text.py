"""chalicelib/core/text.py: sizes of text are counted in bytes of UTF-8."""

import random

import pytest

from chalicelib.core.text import escaped_size, fingerprint, fit_response, split_chunks, truncate

TEXTS = [
    "",
    "a",
    "plain text",
    "größer",
    "日本語のテキスト",
    "👩‍👩‍👧‍👦 family",
    "a\u0000b",
    "é" * 500,
    "👍" * 333,
    "xé日👍" * 100,
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("max_bytes", [64, 100, 101, 102, 103])
def test_truncated_text_fits_and_ends_with_marker(text: str, max_bytes: int) -> None:
    truncated = truncate(text, max_bytes)
    size = len(text.encode())
    assert len(truncated.encode()) <= max_bytes
    if size <= max_bytes:
        assert truncated == text
    else:
        start, marker, _ = truncated.partition("… [cut")
        assert text.startswith(start)
        assert marker
        assert str(size) in truncated
        assert len(truncated.encode()) > max_bytes - 4


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("max_bytes", [4, 5, 7, 64, 10_000])
def test_joined_chunks_are_the_text_and_no_character_is_split(text: str, max_bytes: int) -> None:
    chunks = split_chunks(text, max_bytes)
    assert "".join(chunks) == text
    assert all(0 < len(chunk.encode()) <= max_bytes for chunk in chunks)
    assert all(len(chunk.encode()) > max_bytes - 4 for chunk in chunks[:-1])


def test_empty_text_has_no_chunks() -> None:
    assert split_chunks("", 10) == []


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [1, {"c": None}]}) == fingerprint({"b": [1, {"c": None}], "a": 1})


def test_different_data_has_different_fingerprints() -> None:
    generator = random.Random(1)  # noqa: S311  # test data is not a secret
    different = [{"n": generator.random()} for _ in range(500)] + [
        {"n": "1"},
        {"n": 1},
        {"n": [1]},
        {"n": None},
        {},
        "n",
    ]
    assert len({fingerprint(data) for data in different}) == len(different)


@pytest.mark.parametrize(
    ("text", "size"),
    [("a", 1 + 6), ("\u0001", 7 + 6), ("\n", 3 + 6), ('"', 4 + 6), ("é", 6 + 6), ("€", 6 + 6), ("🙂", 12 + 6)],
)
def test_size_of_a_text_in_a_response_counts_both_escapings(text: str, size: int) -> None:
    """The six others: the quotes of the body, which are escaped as well, and those of the text."""
    assert escaped_size(text) == size


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("maximum", [30, 64, 100, 1_000])
def test_text_is_cut_where_it_fits_into_a_response(text: str, maximum: int) -> None:
    fitting = fit_response(text, maximum)
    assert text.startswith(fitting)
    assert bool(fitting) == bool(text)
    assert escaped_size(fitting) <= maximum
    if escaped_size(text) <= maximum:
        assert fitting == text
    else:
        assert len(fitting) * 12 >= (maximum - 6) / 4, "as much as fits, roughly"


def test_text_that_does_not_fit_is_cut_to_one_character() -> None:
    assert fit_response("🙂🙂", 5) == "🙂"
