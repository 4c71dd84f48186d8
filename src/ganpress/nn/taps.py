"""Feature maps of modules inside a network, read while it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ganpress.errors import ConfigError, did_you_mean


@contextmanager
def tapped(net: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Within, each forward pass of ``net`` puts the outputs of the modules named into the dict
    given, by name; gradients flow through them.

    Raises: ConfigError for a module that the network does not have.
    """
    modules = dict(net.named_modules())
    found: dict[str, Tensor] = {}
    for name in names:
        if name not in modules:
            raise ConfigError(f"The network has no module '{name}'{did_you_mean(name, modules)}.")

    def keep(name: str) -> object:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            found[name] = output

        return modules[name].register_forward_hook(hook)

    handles = [keep(name) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
