"""`python -m ganpress`; under torchrun: `torchrun --nproc_per_node=2 -m -- ganpress train ...`.

The `--` keeps torchrun from reading our `--run` as a prefix of its `--run-path`.
"""

from ganpress.cli import main

if __name__ == "__main__":
    main()
