"""The fully convolutional network: a small U-Net that works at half resolution and below.

At the preferred sampling (about 10 px between nearest columns) a column is several
pixels wide, so that half resolution carries the detail. Convolutions at full resolution
cost most of the time of a U-Net on a CPU: here the input is folded by the stem, and each
pixel of the last stage answers for the four pixels that it stands for.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as nnf

#: Name of the architecture in model files; another one needs another version of this plugin.
ARCHITECTURE = "ColumnNet-half"

#: The classes of the softmax output, in order.
UNIVERSAL_CLASSES = ("background", "column", "bright column", "contamination")


def _block(n_in: int, n_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class ColumnNet(nn.Module):
    """U-Net whose finest stage has half the resolution of the input and of the output.

    Parameters
    ----------
    n_classes : int
        Classes of the softmax; one more channel holds the logit of "a centre is here".
    widths : tuple of int
        Channels at half, quarter and eighth resolution.

    Notes
    -----
    Input (N, 2, H, W) with H and W multiples of 8; output (N, n_classes + 1, H, W).
    """

    multiple = 8
    #: Halo in pixels that makes tiled prediction equal to untiled prediction.
    halo = 64

    def __init__(self, n_classes: int = 4, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        w1, w2, w3 = widths
        self.n_classes, self.widths = n_classes, tuple(widths)
        self.stem = _block(2, w1, 2, 6)
        self.down1 = _block(w1, w1)
        self.down2 = nn.Sequential(_block(w1, w2, 2), _block(w2, w2))
        self.down3 = nn.Sequential(_block(w2, w3, 2), _block(w3, w3), _block(w3, w3))
        self.up2 = nn.Sequential(_block(w3 + w2, w2), _block(w2, w2))
        self.squeeze = nn.Conv2d(w2, w1, 1)
        self.up1 = nn.Sequential(_block(2 * w1, w1), _block(w1, w1))
        # four pixels of the output from each pixel of the last stage
        self.head = nn.Conv2d(w1, 4 * (n_classes + 1), 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes and of the centre peaks."""
        half = self.down1(self.stem(x))
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        quarter = self.up2(torch.cat([_double(eighth), quarter], 1))
        half = self.up1(torch.cat([_double(self.squeeze(quarter)), half], 1))
        return nnf.pixel_shuffle(self.head(half), 2)

    def architecture(self) -> dict[str, object]:
        """What is needed to build the same network again."""
        return {"name": ARCHITECTURE, "n_classes": self.n_classes, "widths": list(self.widths)}

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
