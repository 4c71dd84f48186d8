"""Welch's t-test against the printed table, the density integrated, and scipy's own interval."""

from __future__ import annotations

import math
from statistics import stdev

import pytest
import torch
from scipy import stats

from ganpress.report.ablation_welch import CERTAINTY, clear_from, freedom, student_t


@pytest.mark.parametrize(
    ("degrees", "known"),
    [
        *((1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (30, 2.042), (1e4, 1.960)),
        *((1e9, 1.960), (math.inf, 1.960)),
    ],
)
def test_quantiles_are_those_of_students_table(degrees: float, known: float) -> None:
    assert student_t(degrees) == pytest.approx(known, abs=6e-4)


def test_a_quantile_between_whole_degrees_of_freedom_is_that_of_the_density() -> None:
    df, t = 2.5, student_t(2.5)
    scale = math.gamma((df + 1) / 2) / math.gamma(df / 2) / math.sqrt(df * math.pi)
    x = torch.linspace(-t, t, 200_001, dtype=torch.float64)
    inside = torch.trapezoid(scale * (1 + x**2 / df) ** (-(df + 1) / 2), x)
    assert float(inside) == pytest.approx(0.95, abs=1e-7)


def test_degrees_of_freedom_are_welchs() -> None:
    assert freedom([0.1, 0.1], [3, 3]) == pytest.approx(4.0)
    assert freedom([0.1, 0.0], [3, 9]) == pytest.approx(2.0)
    wanted = 0.05**2 / (0.01**2 / 8 + 0.04**2 / 3)
    assert freedom([0.1, 0.2], [9, 4]) == pytest.approx(wanted)
    assert freedom([1e-200, 1e-200], [2, 2]) == pytest.approx(2.0)


def test_the_threshold_is_the_half_width_of_scipys_welch_interval() -> None:
    a, b = [1.0, 1.4, 1.9, 1.2, 1.6], [2.0, 3.5, 2.1]
    errors = [stdev(values) / len(values) ** 0.5 for values in (a, b)]
    found = stats.ttest_ind(a, b, equal_var=False)
    low, high = found.confidence_interval(CERTAINTY)
    assert freedom(errors, [5, 3]) == pytest.approx(found.df)
    assert clear_from(errors, [5, 3]) * math.hypot(*errors) == pytest.approx((high - low) / 2)
