from __future__ import annotations

import logging

import pytest

from hone.errors import HoneError
from hone.rewards.audit import Audit, AuditRow, by_iteration, findings, rank_correlation


def rows(iteration: int, *, hits: int = 0, hacked: int = 0, missed: int = 0, failed: int = 0) -> list[AuditRow]:
    kinds = [(True, True)] * hits + [(True, False)] * hacked + [(False, True)] * missed + [(False, False)] * failed
    return [AuditRow(iteration, "task", 0.9 if claimed else 0.3, claimed, true) for claimed, true in kinds]


def test_rates_by_hand():
    found = findings(rows(1, hits=6, hacked=2, missed=3, failed=9))
    assert (found.rollouts, found.claimed, found.successes) == (20, 8, 9)
    assert found.hacking_rate == pytest.approx(2 / 8)
    assert found.false_positive_rate == pytest.approx(2 / 11)
    assert found.false_negative_rate == pytest.approx(3 / 9)
    assert found.quality.precision == pytest.approx(6 / 8)
    assert found.quality.recall == pytest.approx(6 / 9)


def test_nothing_to_count_is_no_rate():
    found = findings(rows(1, failed=3))
    assert (found.hacking_rate, found.false_negative_rate, found.rank_correlation) == (None, None, None)
    assert found.false_positive_rate == 0.0


def test_rank_correlation_is_spearmans_with_ties():
    # Ranks 1, 2.5, 2.5, 4 and 1.5, 1.5, 3.5, 3.5: covariance 3, variances 4.5 and 4, so 3 / sqrt(18).
    assert rank_correlation([1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 1.0, 1.0]) == pytest.approx(3 / 18**0.5)
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]) == pytest.approx(1.0)
    assert rank_correlation([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) is None


def test_hacking_is_said_loudly(caplog):
    audit = Audit(threshold=0.1)
    with caplog.at_level(logging.WARNING):
        audit.add(rows(1, hits=9, hacked=1))
        assert caplog.text == ""  # exactly at the threshold
        audit.add(rows(2, hits=5, hacked=5))
    assert "REWARD HACKING: 30 % of the 20 successes" in caplog.text


def test_a_few_claims_say_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        assert Audit().add(rows(1, hacked=9)).hacking_rate == 1.0
    assert caplog.text == ""


def test_what_was_long_ago_is_not_warned_of(caplog):
    audit = Audit(rows=rows(1, hacked=50))
    with caplog.at_level(logging.WARNING):
        assert audit.add(rows(6, hits=20)).hacking_rate == 0.0
    assert caplog.text == ""
    assert [finding.hacking_rate for finding in by_iteration(audit.rows).values()] == [1.0, 0.0]


def test_rows_through_json():
    (row,) = rows(3, hacked=1)
    assert AuditRow.from_json(row.to_json()) == row
    with pytest.raises(HoneError, match=r"threshold is 2\.0"):
        Audit(threshold=2.0)
