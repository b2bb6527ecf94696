"""Speed of the network against what oneDNN reaches on this machine, in the same run.

    python benchmarks/inference.py

The yardstick is the best of several convolutions (3 x 3, channels last, 64 to 256 channels) in the
number format that inference uses, timed in turn with the network; torch's own matrix product is
printed beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from report import Report
from torch.utils.flop_counter import FlopCounterMode

from napari_atomlens.segmentation import find_model, runtime
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.network import ColumnNet


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of one call."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Reference(torch.nn.Module):
    """The reference: a plain U-Net with 16 to 128 channels from full to eighth resolution."""

    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int) -> torch.nn.Sequential:
            return torch.nn.Sequential(
                torch.nn.Conv2d(a, b, 3, padding=1), torch.nn.ReLU(),
                torch.nn.Conv2d(b, b, 3, padding=1), torch.nn.ReLU(),
            )  # fmt: skip

        w = (16, 32, 64, 128)
        self.down = torch.nn.ModuleList([block(a, b) for a, b in zip((2, *w), w, strict=False)])
        self.up = torch.nn.ModuleList([block(a + b, a) for a, b in pairwise(w)])
        self.head = torch.nn.Conv2d(w[0], 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of an image."""
        kept = []
        for k, part in enumerate(self.down):
            x = part(x if k == 0 else torch.nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for k in (2, 1, 0):
            x = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
            x = self.up[k](torch.cat([kept[k], x], 1))
        return self.head(x)


def flops(net: torch.nn.Module, x: torch.Tensor) -> int:
    """Floating-point operations of one pass."""
    with FlopCounterMode(display=False) as counter:
        net(x)
    return int(counter.get_total_flops())


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=7)
    with Report("inference", parser) as report:
        args = report.args
        runtime.prepare()
        if args.threads:
            torch.set_num_threads(args.threads)
        kind = torch.bfloat16 if runtime.half_precision() else torch.float32
        best = 0.0
        for channels, side in ((64, 256), (96, 192), (128, 128), (256, 64)):
            conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(kind)
            conv = conv.to(memory_format=torch.channels_last)
            x = torch.randn(1, channels, side, side, dtype=kind)
            x = x.contiguous(memory_format=torch.channels_last)
            best = max(best, flops(conv, x) / seconds(lambda c=conv, v=x: c(v), args.repeats))
        a = torch.randn(2048, 2048, dtype=kind)
        product = 2 * 2048**3 / seconds(lambda: a @ a, args.repeats)
        report.figure("best convolution", best / 1e9, "GFLOP/s")
        report.figure("matrix product", product / 1e9, "GFLOP/s")
        print(f"{torch.get_num_threads()} threads, {kind}: best convolution {best / 1e9:.0f} GFLOP/s, "
              f"matrix product {product / 1e9:.0f} GFLOP/s\n")  # fmt: skip
        print("| network | image (px) | GFLOP | ms | GFLOP/s | of the best convolution |")
        print("|---|---|---|---|---|---|")
        net: ColumnNet = load_network(find_model("auto"))
        reference = Reference().to(kind).to(memory_format=torch.channels_last).eval()
        for name, model in (("bundled", net), ("reference U-Net", reference)):
            for side in (256, 512, 1024):
                x = torch.randn(1, 2, side, side, dtype=kind)
                x = x.contiguous(memory_format=torch.channels_last)
                n, t = flops(model, x), seconds(lambda m=model, v=x: m(v), args.repeats)
                print(f"| {name} | {side} | {n / 1e9:.2f} | {1000 * t:.1f} | {n / t / 1e9:.0f} "
                      f"| {100 * n / t / best:.0f} % |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
