"""Frames of the real openpi-client and of vla-eval, as they go over the wire: writes serving.json beside this file.

    pip install openpi-client==0.1.2 vla-eval==0.8.0
    python tests/golden/make_golden_serving.py

A plain websocket server stands in the middle: for openpi it answers as openpi's policy server does, packed by
openpi-client's own codec (the server itself is not on PyPI); for vla-eval it passes every frame on to a real
`PredictModelServer`. What both sides sent is kept as it was. Does not import Hone.
"""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio  # pyright: ignore[reportMissingImports]
import numpy as np
from openpi_client import msgpack_numpy  # pyright: ignore[reportMissingImports]
from openpi_client.websocket_client_policy import WebsocketClientPolicy  # pyright: ignore[reportMissingImports]
from vla_eval.connection import Connection  # pyright: ignore[reportMissingImports]
from vla_eval.model_servers.predict import PredictModelServer  # pyright: ignore[reportMissingImports]
from vla_eval.model_servers.serve import serve_async  # pyright: ignore[reportMissingImports]
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, STATE_EEF_POS_AA_GRIP  # pyright: ignore[reportMissingImports]
from websockets.asyncio.client import connect as connect_async  # pyright: ignore[reportMissingImports]
from websockets.asyncio.server import serve as relay_async  # pyright: ignore[reportMissingImports]
from websockets.sync.server import serve  # pyright: ignore[reportMissingImports]

PROMPT = "pick up the milk and place it in the basket"
STATE = np.array([-0.05, 0.01, 1.1, 3.1, 0.02, -0.1, 0.04, -0.04])
ACTIONS = (np.arange(21, dtype=np.float64).reshape(3, 7) - 10) / 10


def pictures() -> list[np.ndarray]:
    """Two 6 x 6 pictures in which no two pixels are alike."""
    return [(np.arange(108, dtype=np.uint8) + 100 * camera).reshape(6, 6, 3) for camera in range(2)]


def openpi_exchange() -> list[dict[str, str]]:
    frames: list[dict[str, str]] = []

    def handler(socket: Any) -> None:
        def say(message: bytes | str) -> None:
            frames.append(kept("server", message))
            socket.send(message)

        say(msgpack_numpy.packb({"reset_pose": [0.0, 1.0], "action_horizon": 3}))
        for message in socket:
            frames.append(kept("client", message))
            if "prompt" in msgpack_numpy.unpackb(message):
                say(msgpack_numpy.packb({"actions": ACTIONS, "server_timing": {"infer_ms": 1.5}}))
            else:
                say("Traceback (most recent call last):\n  File \"policy.py\", line 1, in infer\nKeyError: 'prompt'\n")

    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = WebsocketClientPolicy("127.0.0.1", server.socket.getsockname()[1])
        base, wrist = pictures()
        observation = {"observation/image": base, "observation/wrist_image": wrist, "observation/state": STATE}
        client.infer({**observation, "prompt": PROMPT})
        with suppress(RuntimeError):
            client.infer(observation)
        server.shutdown()
    return frames


class Toy(PredictModelServer):
    def get_action_spec(self) -> dict[str, Any]:
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self) -> dict[str, Any]:
        return {"agentview": IMAGE_RGB, "wrist": IMAGE_RGB, "state": STATE_EEF_POS_AA_GRIP, "language": LANGUAGE}

    def predict(self, obs: dict[str, Any], ctx: Any) -> dict[str, Any]:
        if "states" not in obs:
            raise KeyError("states")
        return {"actions": ACTIONS}


async def vla_eval_exchange() -> list[dict[str, str]]:
    frames: list[dict[str, str]] = []

    async def relay(port: int, socket: Any) -> None:
        async with connect_async(f"ws://127.0.0.1:{port}", compression=None) as onward:

            async def back() -> None:
                async for message in onward:
                    frames.append(kept("server", message))
                    await socket.send(message)

            async with anyio.create_task_group() as group:
                group.start_soon(back)
                async for message in socket:
                    frames.append(kept("client", message))
                    await onward.send(message)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        port = await group.start(serve_async, Toy(chunk_size=3), "127.0.0.1", 0)
        async with relay_async(functools.partial(relay, port), "127.0.0.1", 0, compression=None) as server:
            address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with Connection(address) as client:
                base, wrist = pictures()
                await client.start_episode({"task": {"name": PROMPT}})
                seen = {"images": {"agentview": base, "wrist": wrist}, "task_description": PROMPT}
                for _ in range(2):
                    await client.act({**seen, "states": STATE})
                await client.end_episode({"metrics": {"success": True}})
                await client.start_episode({"task": {"name": PROMPT}})
                with suppress(RuntimeError):
                    await client.act(seen)
        group.cancel_scope.cancel()
    return frames


def kept(who: str, message: bytes | str) -> dict[str, str]:
    if isinstance(message, str):
        return {"from": who, "text": message}
    return {"from": who, "base64": base64.b64encode(message).decode()}


def main() -> None:
    golden = {
        "versions": {name: importlib.metadata.version(name) for name in ("openpi-client", "vla-eval", "msgpack")},
        "prompt": PROMPT,
        "state": STATE.tolist(),
        "actions": ACTIONS.tolist(),
        "openpi": openpi_exchange(),
        "vla_eval": anyio.run(vla_eval_exchange),
    }
    path = Path(__file__).parent / "serving.json"
    path.write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{path}: {len(golden['openpi'])} and {len(golden['vla_eval'])} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
