"""What the training of every family's teacher has in common; each family's own settings are in a
file of its name beside this one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.proposals import Changes, fewer, ways
from ganpress.run.settings import CropSettings, PixelSize, Seed, Settings, at_least
from ganpress.types.sizes import (
    as_size,
    height_width,
    is_multiple,
    multiples_near,
    shorter,
    words,
)


class RunSettings(Settings):
    """The settings of every run."""

    seed: Seed = Field(default=0, description="random seed")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; None: torch's default"
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where it runs")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        default="float32",
        description="bfloat16: mixed precision by autocast (losses and weights stay float32); "
        "auto: bfloat16 where the device computes in it, else float32",
    )
    channels_last: bool = Field(default=False, description="use the channels_last memory format")


def precision_of(settings: RunSettings) -> str:
    """ "float32" or "bfloat16": ``precision``, where "auto" is resolved for this machine."""
    if settings.precision != "auto":
        return settings.precision
    if settings.device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if cpu_computes_bfloat16() else "float32"


def cpu_computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 (AVX-512 BF16 or AMX); without them it
    takes about twice as long as float32."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)  # torch before 2.12
    return bool(asked())


class TrainData(CropSettings):
    """How photos become batches."""

    size: Annotated[PixelSize, at_least(16)] = Field(
        default=256, description='training crop, pixels, or height x width as "256x512"'
    )
    enlarge: bool = Field(
        default=False, description="enlarge images smaller than the crop; false: they are refused"
    )


class PatchSettings(Settings):
    """A PatchGAN; with 3 layers each of its logits sees 70 pixels."""

    width: int = Field(default=64, ge=1, description="channels of its first layer")
    layers: int = Field(default=3, ge=1, description="convolutions of stride 2")
    norm: Literal["instance", "instance-affine", "batch"] = Field(
        default="instance", description="normalisation layers"
    )
    lr: float = Field(default=2e-4, gt=0, description="learning rate of the discriminators (Adam)")

    @property
    def smallest(self) -> int:
        """The smallest crop, pixels; on a smaller one a norm would see one pixel, or none."""
        return int(3 * 2**self.layers)


class TrainConfig(RunSettings):
    """Training a teacher; the defaults in the families' own classes are the papers'."""

    recipe_kinds: ClassVar[tuple[str, ...]] = ("train",)

    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the family, as 'ganpress families' lists them"
    )
    width: float = Field(
        default=1.0, gt=0, le=4, description="channels of every group, as a fraction of the paper's"
    )
    steps: int = Field(default=100_000, ge=1, description="training steps")
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="wall-clock limit in minutes, over all resumes; None: steps alone",
    )
    batch: int = Field(default=1, ge=1, description="images in a step, over all processes")
    accumulate: int = Field(
        default=1,
        ge=1,
        description="gradient accumulation: parts that each process's batch is split into",
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, per step; 0: no average",
    )
    sample_every: int = Field(default=500, ge=1, description="steps between two sample grids")
    data: TrainData = TrainData()

    @property
    def crop_step(self) -> int:
        """Both sides of a crop are divisible by this: the generator halves so often."""
        return 1

    @property
    def smallest_crop(self) -> int:
        """The shortest side of a crop that the discriminators can read, pixels."""
        return 1

    def finer_steps(self) -> Iterator[Changes]:
        """Changes of the generator's options after which `crop_step` is smaller."""
        return iter(())

    def shallower(self) -> Iterator[Changes]:
        """Changes of the discriminators after which `smallest_crop` is smaller."""
        return iter(())

    def crops_within(self, side: int) -> Iterator[Changes]:
        """Changes that make the crop a square of at most this side, pixels, the best first."""
        crop = {"data.size": side // self.crop_step * self.crop_step}
        if self.data.load_size is not None:
            crop["data.load_size"] = crop["data.size"]
        yield {"data.size": crop["data.size"]}
        yield crop
        for changes in self.shallower():
            yield {**changes, "data.size": crop["data.size"]}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.batch % self.accumulate:
            up = -(-self.batch // self.accumulate) * self.accumulate
            how = ways(self, fewer("accumulate", self.accumulate), [{"batch": up}])
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the batch of "
                f"{self.batch}{how}."
            )
        return self

    @model_validator(mode="after")
    def _networks_take_the_crop(self) -> Self:
        size, step, smallest = self.data.size, self.crop_step, self.smallest_crop
        enough = as_size(tuple(max(s, -(-smallest // step) * step) for s in height_width(size)))
        if not is_multiple(size, step):
            below, above = ([{"data.size": one}] for one in multiples_near(size, step))
            larger = [*above, {"data.size": multiples_near(enough, step)[1]}]
            how = ways(self, below, larger, self.finer_steps())
            raise ConfigError(
                f"data.size is {words(size)}, not a multiple of {step}, which the generator "
                f"needs{how}."
            )
        if shorter(size) < smallest:
            both = {"data.size": enough, "data.load_size": enough}
            how = ways(self, [{"data.size": enough}, both], self.shallower())
            raise ConfigError(f"{self.too_small(smallest)}, got {words(size)}{how}.")
        return self

    def too_small(self, smallest: int) -> str:
        """The beginning of the message for a crop below `smallest_crop`."""
        return f"The discriminators need crops of at least {smallest} pixels"


class PatchTraining(TrainConfig):
    """Training against a PatchGAN."""

    discriminator: PatchSettings = PatchSettings()

    @property
    def smallest_crop(self) -> int:
        """See `PatchSettings.smallest`."""
        return self.discriminator.smallest

    def shallower(self) -> Iterator[Changes]:
        """Fewer layers."""
        return fewer("discriminator.layers", self.discriminator.layers)

    def too_small(self, smallest: int) -> str:
        """With the discriminator's layers."""
        layers = self.discriminator.layers
        return (
            f"A discriminator of discriminator.layers={layers} needs crops of at least {smallest} "
            "pixels"
        )
