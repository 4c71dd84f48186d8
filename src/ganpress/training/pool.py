"""The history of generated images that a discriminator is shown."""

from __future__ import annotations

import torch
from torch import Tensor


class Pool:
    """CycleGAN's history of generated images (Shrivastava et al.): half of each batch shown to the
    discriminator are older ones; size 0: none. State is saved with the run; choices come from
    torch's seed."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.images = size, list[Tensor]()

    def __call__(self, fake: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 3, h, w), some of them replaced by older ones."""
        if self.size == 0:
            return fake.detach()
        out = []
        for image in fake.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                out.append(image)
                continue
            draw = torch.rand(2)
            if draw[0] < 0.5:
                out.append(image)
                continue
            at = int(draw[1] * self.size)
            out.append(self.images[at].to(image.device))  # from the CPU after a resume
            self.images[at] = image.clone()
        return torch.stack(out)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The images held."""
        return {"images": self.images}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Take up the images held at the time of saving."""
        self.images = list(state["images"])
