"""Two clocks and what is counted."""

import time

from hone.evaluation.latency import latency


def test_waiting_takes_time_by_the_clock_and_none_of_the_processor():
    calls = []

    def wait() -> None:
        calls.append(len(calls))
        time.sleep(0.02 if len(calls) <= 12 else 0.2)  # the last one is slow

    found = latency(wait, repeats=10, warm_up=3)
    assert len(calls) == 13
    assert 20 <= found.clock_p50 < 200
    assert found.clock_p95 > found.clock_p50
    assert found.p50 < 10
