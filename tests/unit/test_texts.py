"""chalicelib/core/text.py: texts measured in bytes, as they are stored and sent."""

import random

import pytest

from chalicelib.core.text import fingerprint, split_chunks, truncate

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
@pytest.mark.parametrize("most", [64, 100, 101, 102, 103])
def test_a_text_is_cut_to_its_bytes_between_characters_and_says_so(text: str, most: int) -> None:
    short = truncate(text, most)
    size = len(text.encode())
    assert len(short.encode()) <= most
    if size <= most:
        assert short == text
    else:
        kept, marker, _ = short.partition("… [cut")
        assert text.startswith(kept)
        assert marker
        assert str(size) in short
        assert len(short.encode()) > most - 4


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("most", [4, 5, 7, 64, 10_000])
def test_chunks_put_together_are_the_text_and_none_splits_a_character(text: str, most: int) -> None:
    pieces = split_chunks(text, most)
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= most for piece in pieces)
    assert all(len(piece.encode()) > most - 4 for piece in pieces[:-1])


def test_an_empty_text_has_no_chunks() -> None:
    assert split_chunks("", 10) == []


def test_equal_data_has_an_equal_digest_whatever_the_order_of_its_keys() -> None:
    assert fingerprint({"a": 1, "b": [1, {"c": None}]}) == fingerprint({"b": [1, {"c": None}], "a": 1})


def test_different_data_has_different_digests() -> None:
    chance = random.Random(1)  # noqa: S311  # a seed, no secret
    different = [{"n": chance.random()} for _ in range(500)] + [{"n": "1"}, {"n": 1}, {"n": [1]}, {"n": None}, {}, "n"]
    assert len({fingerprint(data) for data in different}) == len(different)
