"""The fully convolutional network: a small U-Net that spends little at full resolution.

At the preferred sampling (about 10 px between nearest columns) a column is several
pixels wide, so that half resolution carries most of the detail; the full-resolution
stage is thin, which makes the network several times cheaper on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as nnf

#: The classes of the softmax output, in order.
UNIVERSAL_CLASSES = ("background", "column", "bright column", "contamination")


def _block(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class ColumnNet(nn.Module):
    """U-Net with a thin full-resolution stage.

    Parameters
    ----------
    n_classes : int
        Classes of the softmax; one more channel holds the logit of "a centre is here".
    widths : tuple of int
        Channels at full, half, quarter and eighth resolution.

    Notes
    -----
    Input (N, 2, H, W) with H and W multiples of 8; output (N, n_classes + 1, H, W).
    """

    multiple = 8
    #: Halo in pixels that makes tiled prediction equal to untiled prediction.
    halo = 64

    def __init__(
        self, n_classes: int = 4, widths: tuple[int, int, int, int] = (12, 32, 64, 96)
    ) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        self.n_classes, self.widths = n_classes, tuple(widths)
        self.stem = _block(2, w0)
        self.down1 = nn.Sequential(_block(w0, w1, 2), _block(w1, w1))
        self.down2 = nn.Sequential(_block(w1, w2, 2), _block(w2, w2))
        self.down3 = nn.Sequential(_block(w2, w3, 2), _block(w3, w3), _block(w3, w3))
        self.up2 = nn.Sequential(_block(w3 + w2, w2), _block(w2, w2))
        self.up1 = nn.Sequential(_block(w2 + w1, w1), _block(w1, w1))
        self.squeeze = nn.Conv2d(w1, w0, 1)
        self.up0 = _block(2 * w0, w0 + 4)
        self.head = nn.Conv2d(w0 + 4, n_classes + 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes and of the centre peaks."""
        full = self.stem(x)
        half = self.down1(full)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        quarter = self.up2(torch.cat([_double(eighth), quarter], 1))
        half = self.up1(torch.cat([_double(quarter), half], 1))
        full = self.up0(torch.cat([_double(self.squeeze(half)), full], 1))
        return self.head(full)

    def architecture(self) -> dict[str, Any]:
        """What is needed to build the same network again."""
        return {"name": "ColumnNet", "n_classes": self.n_classes, "widths": list(self.widths)}

    def fused(self) -> ColumnNet:
        """Return a copy for inference with the batch normalisation folded into the convolutions."""
        import copy

        net = copy.deepcopy(self).eval()
        for parent in net.modules():
            if (
                isinstance(parent, nn.Sequential)
                and len(parent) == 3
                and isinstance(parent[1], nn.BatchNorm2d)
            ):
                parent[0] = torch.nn.utils.fusion.fuse_conv_bn_eval(parent[0], parent[1])  # type: ignore[type-var]
                parent[1] = nn.Identity()
        return net


def _double(x: torch.Tensor) -> torch.Tensor:
    return nnf.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
