"""Action decoders: one file each. `HEADS` names those that the small policy can be built with."""

from hone.policies.heads.base import Head, SamplingHooks
from hone.policies.heads.dct import DCTHead, DCTHeadConfig

HEADS: dict[str, type[DCTHeadConfig]] = {
    "dct": DCTHeadConfig,
}

__all__ = ["HEADS", "DCTHead", "DCTHeadConfig", "Head", "SamplingHooks"]
