"""The history of generated images that a discriminator is shown."""

from __future__ import annotations

import torch
from torch import Tensor


class Pool:
    """CycleGAN's history of generated images (Shrivastava et al., CVPR 2017): each image shown to
    the discriminator is an older one with probability 1/2; size 0: never. State is saved with the
    run; choices come from torch's seed."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.images = size, list[Tensor]()

    def __call__(self, fake: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w), some of them replaced by older ones."""
        if self.size == 0:
            return fake.detach()
        out = []
        for image in fake.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                out.append(image)
                continue
            random = torch.rand(2)
            if random[0] < 0.5:
                out.append(image)
                continue
            at = int(random[1] * self.size)
            out.append(self.images[at].to(image.device))  # from the CPU after a resume
            self.images[at] = image.clone()
        return torch.stack(out)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The images kept."""
        return {"images": self.images}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Restore the images kept when the state was saved."""
        self.images = list(state["images"])
