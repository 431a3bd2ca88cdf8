import subprocess
import sys

import numpy as np
import pytest

from hone.errors import HoneError
from hone.language.encoder import HashedTextEncoder, build_text_encoder, ngrams, words_of

SOUP = "pick up the alphabet soup and place it in the basket"
CHEESE = "pick up the cream cheese and place it in the basket"


def encode(*sentences: str) -> np.ndarray:
    return HashedTextEncoder().encode(sentences)


def test_unit_length_and_name():
    vectors = encode(SOUP, CHEESE)
    assert vectors.shape == (2, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert build_text_encoder("hashed-ngrams-256").name == "hashed-ngrams-256"


def test_the_same_in_another_process():
    # Python's own hash() differs between processes; a checkpoint would then read another language.
    code = f"from hone.language.encoder import HashedTextEncoder as E; print(E().encode([{SOUP!r}])[0].tolist())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    np.testing.assert_array_equal(np.array(eval(output), np.float32), encode(SOUP)[0])


def test_golden_positions():
    # One word gives its word hash and its character n-grams, nothing else: "ab" -> w:ab, c:<ab, c:ab>, c:<ab>.
    assert [name for name, _ in ngrams("ab")] == ["w:ab", "c:<ab", "c:ab>", "c:<ab>"]
    # crc32("w:ab") = 0x210a7ded: slot 0xed, top bit clear, so negative.
    vector = encode("ab")[0]
    np.testing.assert_allclose(vector[0xED], -1 / np.sqrt(1 + 3 * 0.3**2), rtol=1e-5)
    assert np.flatnonzero(vector).tolist() == [0x23, 0xDC, 0xED, 0xF0]


def test_case_and_punctuation_do_not_matter_but_order_does():
    a, b, c = encode("Put the cup on the plate.", "put the  cup on the plate", "put the plate on the cup")
    np.testing.assert_array_equal(a, b)
    assert a @ c < 0.95


def test_similar_sentences_are_near_and_different_ones_are_not():
    soup, cheese, other = encode(SOUP, CHEESE, "turn on the stove")
    assert soup @ cheese > soup @ other + 0.3
    assert soup @ cheese < 0.95


def test_blank_and_empty():
    assert not encode("  ?!").any()
    assert encode().shape == (0, 256)
    assert words_of("It's Task_2!") == ["it", "s", "task", "2"]


def test_cached_vectors_cannot_be_changed_by_a_caller():
    vectors = encode(SOUP)
    vectors[:] = 0
    assert encode(SOUP).any()


def test_unknown_encoder():
    with pytest.raises(HoneError, match=r"Did you mean 'hashed-ngrams-256'"):
        build_text_encoder("hashed-ngram-256")
