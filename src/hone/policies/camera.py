"""A small convolutional encoder of one camera, conditioned on the instruction. Made for one CPU core."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from hone.errors import HoneError

PATCH = 4


class CameraEncoder(nn.Module):
    """Patch stem, two FiLM-conditioned 3x3 convolutions, then *where* (soft-argmax) and *what* (strided convolutions).

    Image `[B, S, S, 3]` -> patches `[B, C, S/4, S/4]` with a learned position bias -> two convolutions whose
    channels the instruction scales and shifts (FiLM, Perez et al. 2018, arXiv:1709.07871) -> `2 C` keypoint
    coordinates from a spatial softmax (Levine et al. 2016, arXiv:1504.00702, here with a learned temperature per
    channel) and `out_dim` features of the layout. Output `[B, 2 C + out_dim]`, roughly unit scale.
    """

    grid: Tensor

    def __init__(self, image_size: int, channels: int, text_dim: int, out_dim: int) -> None:
        super().__init__()
        if image_size % PATCH:
            raise HoneError(f"image_size is {image_size}, but it must be a multiple of the patch size {PATCH}.")
        side = image_size // PATCH
        self.stem = nn.Conv2d(3, channels, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.zeros(1, channels, side, side))
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(text_dim, 4 * channels)
        self.log_temperature = nn.Parameter(torch.zeros(channels))
        reduced = channels // 2
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, reduced, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(reduced, reduced, 3, stride=2, padding=1),
            nn.SiLU(),
        )
        side_reduced = (((side + 1) // 2) + 1) // 2
        self.layout = nn.Sequential(nn.Linear(reduced * side_reduced**2, out_dim), nn.LayerNorm(out_dim), nn.SiLU())
        self.out_dim = 2 * channels + out_dim
        axis = torch.linspace(-1, 1, side)
        # [side * side, (row, column)]
        self.register_buffer("grid", torch.cartesian_prod(axis, axis), persistent=False)
        # Channels-last convolutions are markedly faster on CPU, and the camera delivers its images that way.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: UInt8[Tensor, "B S S 3"], text: Float[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        pixels = images.permute(0, 3, 1, 2).to(dtype=torch.float32, memory_format=torch.channels_last)
        x = functional.silu(self.stem(pixels / 127.5 - 1) + self.position)
        scale1, shift1, scale2, shift2 = self.film(text)[:, :, None, None].chunk(4, dim=1)
        x = functional.silu(torch.addcmul(shift1, self.first(x), 1 + scale1))
        x = torch.addcmul(shift2, self.second(x), 1 + scale2)
        heat = (x.flatten(2) * self.log_temperature.exp()[:, None]).softmax(-1)
        keypoints = (heat @ self.grid).flatten(1)
        layout = self.layout(self.reduce(functional.silu(x)).flatten(1))
        return torch.cat([keypoints, layout], dim=-1)
