"""All that wants a GPU, in order of worth, within the minutes given.

Command:  python -m benchmarks.gpu --minutes 8 --out DIR
          python -m benchmarks.gpu --device cpu --tiny --minutes 3 --out DIR   (the same, small)
Needs:    GANPRESS_DATA (photos/, test/) and GANPRESS_WEIGHTS (cartoongan_hayao/, SqueezeNet's), as
          ../shared/gpu/pack.sh gathers them; no network, and no package beyond ganpress' own.
Result:   in DIR one JSON per piece, three JPEGs and summary.md, written as they come; at most
          9 files of 16 MiB in all. Whoever reads them copies them to benchmarks/results/gpu/.

The pieces that compress take all of the time that is left: `--only once-for-all`, `--only
content-aware`, or the command again, for the later ones.

Give the command again to go on: a piece that is done is skipped, one that was cut short goes on
from what it left in DIR and in --work, and one that failed is tried anew. Results of another device
or of other source code do not count. Time that runs out, SIGTERM and SIGINT leave whole files.

A method or recipe that joins ganpress is measured by "steps" as it is. Another piece joins by an
entry in `PIECES`: name, the share of the minutes that it may take, the seconds without which it
need not begin, and a function (output, device, budget) -> dict.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gpu.command import Device, Piece, run_pieces
from benchmarks.gpu.content_aware import content_aware_faces
from benchmarks.gpu.hayao import slim_hayao
from benchmarks.gpu.once_for_all import once_for_all_hayao
from benchmarks.gpu.steps import training_steps
from benchmarks.gpu.tested import gpu_tests

PIECES = [  # the first is worth most; what a piece leaves of its share, the next ones have
    Piece("tests", share=0.25, least_s=20, run=gpu_tests),
    Piece("steps", share=0.4, least_s=20, run=training_steps),
    Piece("hayao", share=1.0, least_s=90, run=slim_hayao),
    Piece("once-for-all", share=1.0, least_s=120, run=once_for_all_hayao),
    Piece("content-aware", share=1.0, least_s=200, run=content_aware_faces),
]


def main() -> int:
    """Run what is left to be run; the exit status is 1 where a piece failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="for all pieces together")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="what is gone on from")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes with which nothing is measured")
    parser.add_argument("--only", action="append", choices=[piece.name for piece in PIECES])
    a = parser.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device: --device cpu --tiny shows that the command runs.")
    wanted = [piece for piece in PIECES if not a.only or piece.name in a.only]
    return run_pieces(wanted, Device(a.device, a.tiny), a.out, a.work, minutes=a.minutes)


if __name__ == "__main__":
    sys.exit(main())
