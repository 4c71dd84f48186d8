"""The group of settings ``mask`` that every compression method has."""

from __future__ import annotations

from pydantic import Field

from ganpress.run.settings import Settings


class MaskSettings(Settings):
    """Where the student's pictures are compared with the teacher's; by default everywhere."""

    source: str | None = Field(
        default=None,
        description="a segmentation or saliency network (.onnx, TorchScript .pt or .ts, SINet's "
        ".pth), boxes (.toml or .json), or a folder of mask files named as the photos; ones or "
        "None: everywhere",
    )
    card: str | None = Field(
        default=None,
        description="what the network reads and gives: a TOML file, or bisenet, sinet or u2netp; "
        "None: the .toml of the network's own name beside it",
    )
    digest: str | None = Field(
        default=None,
        description="SHA-256 of the files of source and card; None: filled in by the run",
    )

    @property
    def is_ones(self) -> bool:
        """Whether every pixel matters alike."""
        return self.source in (None, "ones")
