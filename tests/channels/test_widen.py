"""Where the tensors of a widened network lie (its pictures: formats/test_upstream_classes.py)."""

from __future__ import annotations

from nets import WIRINGS

from ganpress.channels.widen import widen


def test_an_emptied_block_is_filled_where_the_network_is() -> None:
    wiring = WIRINGS["cyclegan affine"]
    net = wiring.net(block0=0).to("meta")  # a device of its own, as a GPU is
    wide = widen(wiring.build, net, {"block0": 4})
    assert {tensor.device.type for tensor in wide.state_dict().values()} == {"meta"}
