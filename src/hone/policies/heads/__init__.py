"""Action decoders: one file each. `HEADS` names those that the small policy can be built with."""

from typing import Annotated

from tyro.conf import subcommand

from hone.policies.heads.base import ChunkSpace, Head, SamplingHooks
from hone.policies.heads.dct import DCTHead, DCTHeadConfig
from hone.policies.heads.eqm import EqMHead, EqMHeadConfig
from hone.policies.heads.flow import FlowHead, FlowHeadConfig
from hone.policies.heads.laplace import LaplaceHead, LaplaceHeadConfig

HeadConfig = (
    Annotated[DCTHeadConfig, subcommand("dct")]
    | Annotated[LaplaceHeadConfig, subcommand("laplace")]
    | Annotated[FlowHeadConfig, subcommand("flow")]
    | Annotated[EqMHeadConfig, subcommand("eqm")]
)
"""Any of them; on the command line `network.head:NAME`."""

HEADS: dict[str, type[HeadConfig]] = {
    "dct": DCTHeadConfig,
    "laplace": LaplaceHeadConfig,
    "flow": FlowHeadConfig,
    "eqm": EqMHeadConfig,
}

__all__ = [
    "HEADS",
    "ChunkSpace",
    "DCTHead",
    "DCTHeadConfig",
    "EqMHead",
    "EqMHeadConfig",
    "FlowHead",
    "FlowHeadConfig",
    "Head",
    "HeadConfig",
    "LaplaceHead",
    "LaplaceHeadConfig",
    "SamplingHooks",
]
