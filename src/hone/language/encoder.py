"""Sentences to fixed-length vectors. The default needs no weights and no download; its name is part of the protocol
card."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from hone.errors import unknown_name

WORD_WEIGHT, PHRASE_WEIGHT, CHARACTER_WEIGHT = 1.0, 0.7, 0.3
"""A whole word counts most; phrases of two and three words carry the order ("cup on the plate" is not "plate on the
cup"); character n-grams let unseen inflections land near known words."""


@runtime_checkable
class TextEncoder(Protocol):
    """A deterministic map from sentences to vectors; the same name means the same vectors, on every machine."""

    name: str
    dim: int

    def encode(self, sentences: Sequence[str]) -> Float32[np.ndarray, "B D"]: ...


class HashedTextEncoder:
    """Signed feature hashing of words, short phrases and character 3- to 5-grams (Weinberger et al. 2009,
    arXiv:0902.2206).

    Each n-gram adds ±weight at `crc32(n-gram) mod dim`, with the sign from a higher bit; the sum is L2-normalised.
    Case, punctuation and repeated spaces do not matter; a blank sentence is the zero vector. Vectors are cached.
    """

    def __init__(self, dim: int = 256) -> None:
        self.dim = dim
        self.name = f"hashed-ngrams-{dim}"

    def encode(self, sentences: Sequence[str]) -> Float32[np.ndarray, "B D"]:
        if not sentences:
            return np.zeros((0, self.dim), np.float32)
        return np.stack([_embed(sentence, self.dim) for sentence in sentences])


def words_of(sentence: str) -> list[str]:
    """Lower-case words and numbers of a sentence, in order."""
    return re.findall(r"[^\W_]+", sentence.lower())


def ngrams(sentence: str) -> Iterator[tuple[str, float]]:
    """Every n-gram of the sentence with its weight. A prefix keeps the three kinds apart."""
    words = words_of(sentence)
    for word in words:
        yield f"w:{word}", WORD_WEIGHT
        padded = f"<{word}>"
        for length in (3, 4, 5):
            for start in range(len(padded) - length + 1):
                yield f"c:{padded[start : start + length]}", CHARACTER_WEIGHT
    for length in (2, 3):
        for start in range(len(words) - length + 1):
            yield f"p:{' '.join(words[start : start + length])}", PHRASE_WEIGHT


@lru_cache(maxsize=4096)
def _embed(sentence: str, dim: int) -> Float32[np.ndarray, " D"]:
    vector = np.zeros(dim, np.float64)
    for ngram, weight in dict(ngrams(sentence)).items():  # each once, or a repeated "the" would drown the rest
        code = zlib.crc32(ngram.encode())
        vector[code % dim] += weight if code >> 31 else -weight
    norm = np.linalg.norm(vector)
    embedding = (vector / norm if norm > 0 else vector).astype(np.float32)
    embedding.flags.writeable = False  # it is shared by every caller
    return embedding


TEXT_ENCODERS: dict[str, Callable[[], TextEncoder]] = {
    "hashed-ngrams-256": lambda: HashedTextEncoder(256),
}


def build_text_encoder(name: str) -> TextEncoder:
    """The text encoder called `name`, as policies name it in their configuration."""
    if name not in TEXT_ENCODERS:
        raise unknown_name("text encoder", name, TEXT_ENCODERS)
    return TEXT_ENCODERS[name]()
