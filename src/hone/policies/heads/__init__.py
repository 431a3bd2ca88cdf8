"""Action decoders: one file each. `HEADS` names those that the small policy can be built with."""

from typing import Annotated

from tyro.conf import subcommand

from hone.policies.heads.base import ChunkSpace, Head, SamplingHooks
from hone.policies.heads.bins import BinsHead, BinsHeadConfig
from hone.policies.heads.dct import DCTHead, DCTHeadConfig
from hone.policies.heads.discrete_diffusion import DiscreteDiffusionHead, DiscreteDiffusionHeadConfig
from hone.policies.heads.eqm import EqMHead, EqMHeadConfig
from hone.policies.heads.fast import FastHead, FastHeadConfig
from hone.policies.heads.flow import FlowHead, FlowHeadConfig
from hone.policies.heads.hybrid import HybridHead, HybridHeadConfig
from hone.policies.heads.laplace import LaplaceHead, LaplaceHeadConfig
from hone.policies.heads.score import ScoreHead, ScoreHeadConfig

HeadConfig = (
    Annotated[DCTHeadConfig, subcommand("dct")]
    | Annotated[LaplaceHeadConfig, subcommand("laplace")]
    | Annotated[FlowHeadConfig, subcommand("flow")]
    | Annotated[EqMHeadConfig, subcommand("eqm")]
    | Annotated[ScoreHeadConfig, subcommand("score")]
    | Annotated[BinsHeadConfig, subcommand("bins")]
    | Annotated[FastHeadConfig, subcommand("fast")]
    | Annotated[DiscreteDiffusionHeadConfig, subcommand("discrete_diffusion")]
    | Annotated[HybridHeadConfig, subcommand("hybrid")]
)
"""Any of them; on the command line `network.head:NAME`."""

HEADS: dict[str, type[HeadConfig]] = {
    "dct": DCTHeadConfig,
    "laplace": LaplaceHeadConfig,
    "flow": FlowHeadConfig,
    "eqm": EqMHeadConfig,
    "score": ScoreHeadConfig,
    "bins": BinsHeadConfig,
    "fast": FastHeadConfig,
    "discrete_diffusion": DiscreteDiffusionHeadConfig,
    "hybrid": HybridHeadConfig,
}

__all__ = [
    "HEADS",
    "BinsHead",
    "BinsHeadConfig",
    "ChunkSpace",
    "DCTHead",
    "DCTHeadConfig",
    "DiscreteDiffusionHead",
    "DiscreteDiffusionHeadConfig",
    "EqMHead",
    "EqMHeadConfig",
    "FastHead",
    "FastHeadConfig",
    "FlowHead",
    "FlowHeadConfig",
    "Head",
    "HeadConfig",
    "HybridHead",
    "HybridHeadConfig",
    "LaplaceHead",
    "LaplaceHeadConfig",
    "SamplingHooks",
    "ScoreHead",
    "ScoreHeadConfig",
]
