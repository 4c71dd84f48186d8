"""What GAN Slimming's loops carry from step to step, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganpress.run.ema import Average
from ganpress.run.restarts import Best, Watch
from ganpress.training.pool import Pool

# --- what the loops carry along ------------------------------------------------------------------


def test_an_average_over_two_updates_by_hand() -> None:
    """Decays 2/11 and min(0.2, 3/12): 10 -> 10 x 2/11 + 21 x 9/11 = 19; then 19 x 0.2 + 4 x 0.8."""
    net = nn.BatchNorm1d(1)
    weight, counter = net.weight, net.num_batches_tracked
    assert counter is not None
    with torch.no_grad():
        weight.fill_(10)
        average = Average(net, 0.2)
        weight.fill_(21)
        counter.fill_(5)
        average.update()
        assert average.shadow["weight"].tolist() == pytest.approx([19.0])
        weight.fill_(4)
        counter.fill_(6)
        average.update()
    assert average.shadow["weight"].tolist() == pytest.approx([7.0])
    assert int(average.shadow["num_batches_tracked"]) == 6
    assert average.updates == 2


def test_an_average_without_decay_is_the_network() -> None:
    net = nn.Linear(1, 1)
    average = Average(net, 0.0)
    with torch.no_grad():
        net.weight.fill_(3.0)
    average.update()
    assert average.shadow["weight"].tolist() == [[3.0]]


def test_a_full_history_swaps_an_older_picture_for_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two draws a picture: half and above replaces it, by the one at that share of the places."""
    draws = iter([[0.5, 0.6], [0.49, 0.0], [0.9, 0.0]])
    monkeypatch.setattr(torch, "rand", lambda n: torch.tensor(next(draws)))
    pool = Pool(2)
    first = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    assert pool(first).flatten().tolist() == [1, 2]
    assert pool(torch.tensor([3.0, 4.0, 5.0]).view(3, 1, 1, 1)).flatten().tolist() == [2, 4, 1]
    assert [float(image) for image in pool.images] == [5, 3]


def test_a_history_is_not_changed_by_what_is_done_to_the_pictures_later() -> None:
    pool, made = Pool(1), torch.ones(1, 1, 1, 1)
    pool(made)
    made.fill_(9.0)
    assert float(pool.images[0]) == 1


# --- stability -----------------------------------------------------------------------------------


def shown(watch: Watch, *values: float) -> list[bool]:
    return [watch(torch.tensor(v)) is not None for v in values]


def test_a_leap_is_more_than_a_hundred_medians_once_twenty_losses_were_seen() -> None:
    assert shown(Watch(), *[1.0] * 19, 1e6) == [False] * 20
    assert shown(Watch(), *[1.0] * 20, 100.0, 101.0) == [False] * 21 + [True]
    assert shown(Watch(), *[-2.0] * 20, -199.0, -201.0) == [False] * 21 + [True]


def test_a_loss_near_zero_may_rise_to_one() -> None:
    """A hundredth counts as the least median."""
    assert shown(Watch(), *[1e-6] * 20, 0.99, 1.01) == [False] * 21 + [True]


def test_the_median_is_that_of_the_last_hundred_and_one_losses() -> None:
    watch = Watch()
    assert not any(shown(watch, *[50.0] * 101, *[1.0] * 50))
    assert shown(watch, 4000.0) == [False]  # 51 of 101 are still 50
    assert shown(watch, 1.0, 1.0, 4000.0) == [False, False, True]
    assert len(watch.seen) == 101


def weighing(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((1, 1), value), "bias": torch.zeros(1)}


def test_the_best_is_the_smallest_of_those_measured_and_the_first_among_equals() -> None:
    values = [9.0, 4.0, 1.0, 3.0, 9.0, 3.0, 9.0]
    best = Best(nn.Linear(1, 1), lambda net: float(net.get_parameter("weight").detach()), every=2)
    told = [best.look(step, weighing(value)) for step, value in enumerate(values)]
    assert told == [{}, {"held-out": 4.0}, {}, {"held-out": 3.0}, {}, {"held-out": 3.0}, {}]
    assert best.facts() == {"kept_step": 3, "held_out": 3.0}
    assert best.look(6, weighing(2.0), last=True) == {"held-out": 2.0}
    assert best.facts() == {"kept_step": 6, "held_out": 2.0}
    assert float(best.select(weighing(9.0))["weight"]) == 2


def test_the_last_step_is_measured_once() -> None:
    shown: list[float] = []

    def measure(net: nn.Module) -> float:
        shown.append(float(net.get_parameter("weight").detach()))
        return shown[-1]

    best = Best(nn.Linear(1, 1), measure, every=2)
    for step in range(4):
        best.look(step, weighing(float(step)))
    assert best.look(3, weighing(3.0), last=True) == {} and shown == [1.0, 3.0]
    best.look(4, weighing(4.0), last=True)  # of a stage of five steps
    assert shown == [1.0, 3.0, 4.0]


def test_the_best_weights_do_not_follow_the_network_and_leave_it_alone() -> None:
    net = nn.Linear(1, 1).train()
    before = net.weight.detach().clone()
    best = Best(net, lambda shown: float(shown.training), every=1)
    state = weighing(5.0)
    best.look(0, state)
    state["weight"].fill_(7.0)
    assert best.value == 0  # measured in eval mode
    assert float(best.select(state)["weight"]) == 5
    assert net.training and torch.equal(net.weight, before)
