"""Byte-pair encoding: frequent neighbours become one token (Sennrich et al. 2016, arXiv:1508.07909).

Sequences of one length are the rows of an array; what merging shortens is filled up with `PAD`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from hone.errors import HoneError

PAD = -1
Sequences = Int64[np.ndarray, "N L"]
Merges = Int64[np.ndarray, "M 2"]


def learn_merges(sequences: Sequences, alphabet: int, vocabulary: int) -> Merges:
    """Up to `vocabulary - alphabet` merges, each of the then most frequent pair of neighbours (ties: the smallest).

    Merge `m` makes the token `alphabet + m`. It ends early where no pair is left that occurs twice.
    """
    if vocabulary < alphabet:
        raise HoneError(f"a vocabulary of {vocabulary} has no room for an alphabet of {alphabet}; enlarge it.")
    merges: list[tuple[int, int]] = []
    while len(merges) < vocabulary - alphabet:
        left, right = sequences[:, :-1], sequences[:, 1:]
        codes, counts = np.unique((left * vocabulary + right)[(left != PAD) & (right != PAD)], return_counts=True)
        if not len(codes) or counts.max() < 2:
            break
        first, second = divmod(int(codes[counts.argmax()]), vocabulary)
        sequences = _merged(sequences, first, second, alphabet + len(merges))
        merges.append((first, second))
    return np.array(merges, np.int64).reshape(-1, 2)


def encode(sequences: Sequences, merges: Merges, alphabet: int) -> Sequences:
    """The tokens of each sequence, `PAD` after the last: every merge, in the order in which it was learned."""
    tokens = sequences
    for index, (first, second) in enumerate(merges):
        tokens = _merged(tokens, int(first), int(second), alphabet + index)
    return tokens


def expansions(merges: Merges, alphabet: int) -> list[tuple[int, ...]]:
    """The symbols that each token stands for."""
    table: list[tuple[int, ...]] = [(symbol,) for symbol in range(alphabet)]
    for first, second in merges:
        table.append(table[first] + table[second])
    return table


def _merged(sequences: Sequences, first: int, second: int, token: int) -> Sequences:
    """`token` in place of every `first, second`, from the left, without overlap; rows keep their length."""
    rows, columns = np.nonzero((sequences[:, :-1] == first) & (sequences[:, 1:] == second))
    if not len(rows):
        return sequences
    if first == second:  # in a run a, a, a only the first two merge
        chosen: list[int] = []
        for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
            if not (chosen and rows[chosen[-1]] == row and columns[chosen[-1]] + 1 == column):
                chosen.append(index)
        rows, columns = rows[chosen], columns[chosen]
    merged = sequences.copy()
    merged[rows, columns], merged[rows, columns + 1] = token, PAD
    # A stable sort of "is padding" moves what is left to the front of its row.
    return np.take_along_axis(merged, np.argsort(merged == PAD, axis=1, kind="stable"), axis=1)
