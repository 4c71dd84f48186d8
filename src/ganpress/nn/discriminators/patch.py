"""PatchGAN, the discriminator of pix2pix, CycleGAN, CartoonGAN and their compressions."""

from __future__ import annotations

from torch import Tensor, nn

from ganpress.nn.resample import check_word

NORMS = ("instance", "instance-affine", "batch")


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., CVPR 2017): (n, c, h, w) -> (n, 1, h', w') logits.

    4x4 convolutions, ``layers`` of stride 2 and two of stride 1; with 3 layers each logit sees 70
    pixels. The keys of `model.*` are those of junyanz's NLayerDiscriminator.
    """

    def __init__(
        self, inputs: int = 3, width: int = 64, layers: int = 3, *, norm: str = "instance"
    ) -> None:
        """Args: norm: "instance" (no affine), "instance-affine" (GAN Slimming) or "batch"."""
        super().__init__()
        check_word("norm", norm, NORMS)
        stack: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        bias = norm != "batch"
        c = width
        for i in range(1, layers + 1):
            o = width * min(2**i, 8)
            stride = 2 if i < layers else 1
            stack += [nn.Conv2d(c, o, 4, stride, 1, bias=bias), _norm(norm, o), nn.LeakyReLU(0.2)]
            c = o
        self.model = nn.Sequential(*stack, nn.Conv2d(c, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Raw logits, no sigmoid."""
        out: Tensor = self.model(x)
        return out


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(width)
    return nn.InstanceNorm2d(width, affine=kind == "instance-affine")
