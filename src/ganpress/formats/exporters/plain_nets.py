"""The families' networks in plain torch, in eval mode: what is copied into a student's own file.

Names of parts and tensors are those of the packages' own networks. Nothing here is imported by
them: `plain_source` takes each definition as text, with those of `plain_parts` that it uses.
"""

# Parts have no types of their own:
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.formats.exporters.plain_parts import Parts, column, weight_of


class ResnetGenerator(Parts):
    """(n, c, h, w) in [-1, 1] -> the same; h and w divisible by 2 for each ``down``."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.clamp(-1, 1) if self.clamp else x)
        steps = [k for k in range(1, 16) if hasattr(self, f"down{k}")]
        for k in steps:
            x = getattr(self, f"down{k}")(x)
        for block in self.blocks:
            x = block(x)
        for k in steps:
            x = getattr(self, f"up{k}")(x)
        return self.out(x)


class UnetGenerator(Parts):
    """(n, 3, h, w) in [-1, 1] -> the same; h and w divisible by 2 ** len(downs)."""

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            skip = skips.pop() if self.leaky_skips else skips.pop().relu()
            x = torch.cat([skip, up(x).relu()], 1)
        return self.out(x)


def double(x: Tensor) -> Tensor:
    """Twice the height and width, by repeating pixels."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Spade(Parts):
    """norm(x) (1 + gamma) + beta, both read off the label map."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        hidden = self.shared(labels).relu()
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(Parts):
    """shortcut(x) + conv(lrelu(spade(conv(lrelu(spade(x))))))."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        labels = F.interpolate(labels, size=x.shape[2:], mode="nearest")
        y = self.conv_0(F.leaky_relu(self.norm_0(x, labels), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, labels), 0.2))
        return (self.conv_s(self.norm_s(x, labels)) if hasattr(self, "conv_s") else x) + y


class SpadeGenerator(Parts):
    """(n, channels, h, w) one-hot labels -> (n, 3, h, w) in [-1, 1]; h, w divisible by
    ``multiple``."""

    def forward(self, labels: Tensor) -> Tensor:
        h, w = (side // self.multiple for side in labels.shape[2:])
        x = self.fc(F.interpolate(labels, size=(h, w), mode="nearest"))
        x = self.G_middle_0(double(self.head_0(x, labels)), labels)
        x = self.G_middle_1(x if self.upsampling == "normal" else double(x), labels)
        for name in self.ups:
            x = self.get_submodule(name)(double(x), labels)
        return self.conv_img(F.leaky_relu(x, 0.2)).tanh()


class SampleNorm(Parts):
    """LayerNorm over all channels and pixels of a sample, then a scale and shift per channel."""

    def forward(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
        return (x - mean) / (std + self.eps) * column(self.weight) + column(self.bias)


def adain(x: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """InstanceNorm with the scale and shift of each sample, (n, c) each."""
    return F.instance_norm(x) * scale[:, :, None, None] + bias[:, :, None, None]


class AdaINBlock(Parts):
    """x + adain(conv(relu(adain(conv(x)))))."""

    def forward(self, x: Tensor, b1: Tensor, s1: Tensor, b2: Tensor, s2: Tensor) -> Tensor:
        y = adain(self.conv1(self.pad(x)), b1, s1).relu()
        return x + adain(self.conv2(self.pad(y)), b2, s2)


class EmptyAdaINBlock(Parts):
    """x + bias: what is left of an emptied block."""

    def forward(self, x: Tensor, b1: Tensor, s1: Tensor, b2: Tensor, s2: Tensor) -> Tensor:
        return x + b2[:, :, None, None]


class Decoder(Parts):
    """Content code and AdaIN parameters -> picture; ``columns`` splits the parameters."""

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        columns = parameters.split(self.columns, 1)
        for i, block in enumerate(self.blocks):
            x = block(x, *columns[4 * i : 4 * i + 4])
        for up in self.ups:
            x = up(double(x))
        return self.out(x)


class MunitGenerator(Parts):
    """A photo (n, 3, h, w) in [-1, 1] and a style (n, d), standard normal -> (n, 3, h, w).

    The style of a picture is ``self.style(picture)``, where the student has a style encoder.
    """

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.decoder(self.content(x), self.mlp(style.flatten(1)))


class ClassNorm(Parts):
    """BatchNorm with a gain and shift of each class, then a scale and bias; some have not all.
    Without running statistics it takes those of each picture."""

    def normalised(self, x: Tensor, **scales: Any) -> Tensor:
        if not hasattr(self, "running_mean"):
            return F.instance_norm(x, eps=self.eps, **scales)
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps, **scales)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if not hasattr(self, "gain"):
            return self.normalised(x, weight=self.weight, bias=self.bias)
        gain, shift = (self.gain, self.shift) if y is None else (y @ self.gain, y @ self.shift)
        if hasattr(self, "weight"):
            gain, shift = gain * self.weight, shift * self.weight + self.bias
        return self.normalised(x) * gain[:, :, None, None] + shift[:, :, None, None]


class UpBlock(Parts):
    """c_sc(up(x)) + c2(relu(b2(c1(up(relu(b1(x)))))))."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        inner = self.c1(double(self.b1(x, y).relu()))
        return self.c_sc(double(x)) + self.c2(self.b2(inner, y).relu())


class SnganGenerator(Parts):
    """z (n, latent_dim), standard normal [, one-hot classes] -> (n, 3, s, s) in [-1, 1]."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.l1(z).unflatten(1, (-1, self.side, self.side))
        for block in self.blocks:
            x = block(x, y)
        return self.c5(self.b5(x, y).relu()).tanh()


class EqualLinear(Parts):
    """A fully connected layer whose weight and bias are scaled when it runs."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.gain, self.weight, self.bias * self.lr_mul)


class Blur(Parts):
    """A 4 x 4 filter of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv2d(x, self.kernel.expand(c, 1, 4, 4), padding=1, groups=c)

    def upsample(self, x: Tensor) -> Tensor:
        """Twice the height and width."""
        c = x.shape[1]
        kernel = self.kernel.expand(c, 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=c)


class ModulatedConv(Parts):
    """A convolution whose input channels are scaled by a style; and its demodulation."""

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        style = self.affine(w) * self.gain
        y = self.conv(x * style[:, :, None, None])
        power = weight_of(self.conv).square().sum((2, 3))
        power = power if self.up else power.T
        norm = torch.rsqrt(style.square() @ power + 1e-8)[:, :, None, None]
        return self.blur(y) if self.up else y, norm


class StyledConv(Parts):
    """leaky(modulated convolution + strength * noise + bias) * sqrt(2)."""

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        y, norm = self.modulated(x, w)
        root = 2.0**0.5
        y = torch.addcmul(noise * (self.strength * root), y, norm * root)
        return F.leaky_relu(y + (self.bias * root)[:, None, None], 0.2)


class ToRGB(Parts):
    """A modulated 1 x 1 convolution to RGB, added to the picture so far."""

    def forward(self, x: Tensor, w: Tensor, image: Tensor | None) -> Tensor:
        y = self.modulated(x, w)[0] + self.bias[:, None, None]
        return y if image is None else y + self.blur.upsample(image)


class StyleGAN2(Parts):
    """z (n, style_dim), standard normal [, one noise map per layer] -> (n, 3, size, size)."""

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mlp:
            w = F.leaky_relu(layer(w), 0.2) * 2.0**0.5
        maps = noise or [getattr(self, f"noise_{k}") for k in range(len(self.layers))]
        x = self.layers[0](self.const.expand(len(z), -1, -1, -1), w, maps[0])
        image = self.to_rgb[0](x, w, None)
        for k, rgb in enumerate(list(self.to_rgb)[1:]):
            x = self.layers[2 * k + 1](x, w, maps[2 * k + 1])
            x = self.layers[2 * k + 2](x, w, maps[2 * k + 2])
            image = rgb(x, w, image)
        return image
