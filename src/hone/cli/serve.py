"""Serve a policy over a websocket, to openpi's clients, to vla-eval's, and to `hone eval --policy remote:ws://…`."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from hone.cli.output import people
from hone.errors import HoneError
from hone.policies import load_policy
from hone.policies.remote import KEY_VARIABLE
from hone.serving.server import ServerConfig, serve
from hone.serving.service import Service
from hone.specs import Orientation


@dataclass(frozen=True)
class Config:
    """Options of `hone serve`. If $HONE_API_KEY is set, clients must send it (`Authorization: Api-Key …`)."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Folder of the policy (config.json and model.safetensors)."""
    server: Annotated[ServerConfig, tyro.conf.arg(name="")] = field(default_factory=ServerConfig)
    image_orientation: Orientation = "rotated_180"
    """How clients' pictures stand; openpi's and vla-eval's LIBERO clients turn them by 180 degrees."""
    max_batch: int = 16
    """Requests that are decided together at most."""
    max_wait_ms: float = 5.0
    """Longest wait for other connections' requests."""
    device: str = "cpu"
    """Where the policy runs."""


def run(config: Config) -> int:
    policy = load_policy(config.checkpoint)
    try:
        policy = policy.to(torch.device(config.device)).eval()
    except (RuntimeError, AssertionError) as error:
        raise HoneError(f"device '{config.device}' cannot be used: {str(error).splitlines()[0]}") from error
    service = Service(
        policy,
        image_orientation=config.image_orientation,
        max_batch=config.max_batch,
        max_wait_ms=config.max_wait_ms,
    )
    key = os.environ.get(KEY_VARIABLE, "")
    console = people()

    def ready(port: int) -> None:
        console.print(
            f"'{policy.name}' policy of {config.checkpoint} at ws://{config.server.host}:{port} "
            f"(dialect {config.server.dialect}, {'a key is needed' if key else 'no key is needed'}); Ctrl-C ends it",
            highlight=False,
        )

    if not key and config.server.host not in ("127.0.0.1", "localhost", "::1"):
        console.print(f"[yellow]Anyone who reaches this machine can use the policy; set ${KEY_VARIABLE}.[/]")
    asyncio.run(serve(service, config.server, key, ready))
    return 0


def resume_hint(config: Config) -> str:
    return "the server has stopped"
