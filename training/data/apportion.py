"""Whole numbers in given proportions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import floor
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def shared(total: int, weights: Mapping[Key, float]) -> dict[Key, int]:
    """`total` in proportion to the weights, by largest remainders (Hamilton); of equal ones the earlier key gets more.

    The numbers add up to `total`, unless no weight is above zero: then all are 0.
    """
    whole = sum(weight for weight in weights.values() if weight > 0)
    if whole <= 0:
        return dict.fromkeys(weights, 0)
    exact = {key: total * max(0.0, weight) / whole for key, weight in weights.items()}
    found = {key: floor(value) for key, value in exact.items()}
    places = {key: place for place, key in enumerate(weights)}
    order = sorted((key for key in weights if weights[key] > 0), key=lambda k: (found[k] - exact[k], places[k]))
    for key in order[: total - sum(found.values())]:
        found[key] += 1
    return found


def shared_within(total: int, weights: Mapping[Key, float], limits: Mapping[Key, int]) -> dict[Key, int]:
    """As `shared`, with no more than its limit for each key; what one cannot take goes to the others.

    The numbers add up to `total`, or to all that the limits of keys with a weight allow.
    """
    found = dict.fromkeys(weights, 0)
    left = total
    while left > 0:
        free = {key: weight for key, weight in weights.items() if weight > 0 and found[key] < limits[key]}
        if not free:
            break
        for key, more in shared(left, free).items():
            found[key] = min(limits[key], found[key] + more)
        left = total - sum(found.values())
    return found
