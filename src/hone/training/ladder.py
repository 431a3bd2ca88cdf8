"""The agentic loop one part at a time: the arms of `hone bench agentic` and of benchmarks/agentic.py.

All arms of a row and seed start from the same policy, bit for bit, take the same number of rollouts, and are measured
on the same official initial states, without hints. What an arm adds to plain GRPO is all that it changes.
"""

from __future__ import annotations

CLONED = "cloned"
"""The policy that every other arm starts from."""
