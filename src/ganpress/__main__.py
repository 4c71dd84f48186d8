"""`python -m ganpress`; under torchrun: `torchrun --nproc_per_node=2 -m -- ganpress train ...`.

The `--` keeps torchrun from reading our `--run` as a prefix of its `--run-path`.
"""

import sys


def main() -> None:
    """Run the CLI; a Ctrl-C while it is still being imported is one line, too."""
    try:
        from ganpress.cli.app import main as run
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
