"""TFRecord files and the `tf.train.Example` messages in them, read without TensorFlow.

A file is a sequence of records: length (8 bytes, little-endian), its checksum (4), the content, its checksum (4). A
checksum is CRC-32C, rotated by 15 bits and shifted by a constant
(https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details"). An Example is a protocol-buffer
message: a map from names to lists of bytes, floats or integers (tensorflow/core/example/{example,feature}.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hone.errors import HoneError

POLYNOMIAL = 0x82F63B78
"""CRC-32C's (Castagnoli), reflected."""
MASK = 0xA282EAD8
LARGEST = 2**31
"""Bytes of a record at most; a length beyond this is no length."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""

Feature = list[bytes] | np.ndarray
"""Bytes, float32 or int64."""


def records(path: Path) -> Iterator[bytes]:
    """The content of each record. Raises `HoneError` at one that is cut off or does not match its checksum."""
    with path.open("rb") as file:
        number = 0
        while header := file.read(12):
            where = f"record {number} of '{path}'"
            content, check = file.read(_length(header, where)), file.read(4)
            if len(check) < 4:
                raise HoneError(f"{where} is cut off: the file ends within it. Fetch the file again.")
            if masked_crc(content) != struct.unpack("<I", check)[0]:
                raise HoneError(f"{where} is damaged: its checksum does not match. Fetch the file again.")
            yield content
            number += 1


def count_records(path: Path) -> int:
    """How many there are, without reading them. A file that ends within one is found out here already."""
    with path.open("rb") as file:
        size, number = path.stat().st_size, 0
        while header := file.read(12):
            where = f"record {number} of '{path}'"
            end = file.tell() + _length(header, where) + 4
            if end > size:
                raise HoneError(f"{where} is cut off: the file ends within it. Fetch the file again.")
            file.seek(end)
            number += 1
    return number


def example(content: bytes, where: str) -> dict[str, Feature]:
    """The features of one Example by name. Raises `HoneError` where the bytes are no such message."""
    features: dict[str, Feature] = {}
    try:
        for _, message in _fields(memoryview(content)):
            for _, entry in _fields(message):
                pair = dict(_fields(entry))
                if 1 in pair:
                    features[bytes(pair[1]).decode()] = _feature(pair.get(2, memoryview(b"")))
    except (ValueError, IndexError, TypeError, struct.error) as error:
        raise HoneError(f"{where} is no tf.train.Example ({error}).") from error
    return features


def masked_crc(content: bytes) -> int:
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """CRC-32C. Large contents are cut into stretches of equal length whose checksums are taken side by side and joined:
    one byte at a time, Python would need a second for 5 MB."""
    data = np.frombuffer(content, np.uint8)
    lanes = int(np.sqrt(len(data)))
    if lanes < 64:
        return int(_advance(np.array([0xFFFFFFFF], np.uint32), data[:, None])[0]) ^ 0xFFFFFFFF
    length = len(data) // lanes
    stretches = data[: lanes * length].reshape(lanes, length)
    begun = np.zeros(lanes, np.uint32)
    begun[0] = 0xFFFFFFFF
    parts = _advance(begun, stretches.T)
    skip = _zeros(length)
    crc = np.uint32(0)
    for part in parts:  # a checksum is linear: what came before, moved on by as many zeros, plus the next stretch
        crc = skip[0][crc & 255] ^ skip[1][crc >> 8 & 255] ^ skip[2][crc >> 16 & 255] ^ skip[3][crc >> 24] ^ part
    rest = _advance(np.array([crc], np.uint32), data[lanes * length :, None])
    return int(rest[0]) ^ 0xFFFFFFFF


def _advance(crc: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Checksums `[N]` moved on by the bytes of `steps [T, N]`, one step at a time."""
    table = _table()
    for row in np.ascontiguousarray(steps):
        crc = table[(crc ^ row) & 255] ^ (crc >> 8)
    return crc


@lru_cache
def _table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ POLYNOMIAL, crc >> 1).astype(np.uint32)
    return crc


@lru_cache(maxsize=8)
def _zeros(length: int) -> np.ndarray:
    """What `length` zero bytes make of each value of each byte of a checksum: `[4, 256]`."""
    start = (np.arange(256, dtype=np.uint32)[None] << np.array([[0], [8], [16], [24]], np.uint32)).reshape(-1)
    table = _table()
    for _ in range(length):
        start = table[start & 255] ^ (start >> 8)
    return start.reshape(4, 256)


def _length(header: bytes, where: str) -> int:
    if len(header) < 12:
        raise HoneError(f"{where} is cut off: the file ends within it. Fetch the file again.")
    length, check = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != check or length > LARGEST:
        raise HoneError(f"{where} does not begin as a TFRecord does. Is the file compressed, or something else?")
    return length


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Number and content of each field of a message; numbers as they lie there."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
        elif kind == BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise ValueError("a field is longer than its message")
        yield key >> 3, value


def _varint(message: Any, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _feature(message: Any) -> Feature:
    """A list of bytes (field 1), of floats (2) or of integers (3); the numbers packed or one by one."""
    for kind, entries in _fields(message):
        if kind == 1:
            return [bytes(value) for _, value in _fields(entries)]
        if kind == 2:
            parts = [np.frombuffer(value, "<f4") for _, value in _fields(entries)]
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if kind == 3:
            return np.array([number for _, value in _fields(entries) for number in _integers(value)], np.int64)
    return []


def _integers(value: Any) -> Iterator[int]:
    """One number, or several packed; negative ones are kept in two's complement."""
    if isinstance(value, int):
        yield value - (1 << 64) if value >> 63 else value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number - (1 << 64) if number >> 63 else number
