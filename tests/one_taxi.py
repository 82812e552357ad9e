"""A single taxi on a street, by brute force from the specification: independent of the games' code.

A street is a text such as "11S2": S the start, digits the zones. Actions: 0 up, 1 down, 2 left, 3 right, 4 wait.
"""

import functools
import itertools

UP, DOWN, LEFT, RIGHT, WAIT = range(5)
NOBODY = None


def after(street, place, action):
    """Where a move leads that is not jammed."""
    to = place + {LEFT: -1, RIGHT: 1}.get(action, 0)
    return to if 0 <= to < len(street) and street[to].isdigit() else place


def outcomes(street, rewards, jam, place, target, customers, action):
    """All (probability, reward, place, target, customers) before customers appear, for a jam probability."""
    if action == WAIT:
        if target == place:
            yield 1.0, rewards[int(street[place]) - 1], place, NOBODY, customers
        elif target is NOBODY and place in customers:
            zone = [p for p, symbol in enumerate(street) if symbol == street[place]]
            for wanted in zone:
                yield 1.0 / len(zone), 0.0, place, wanted, customers - {place}
        else:
            yield 1.0, 0.0, place, target, customers
        return
    yield 1.0 - jam, 0.0, after(street, place, action), target, customers
    yield jam, 0.0, place, target, customers


def arrivals(street, arrival, customers):
    """All (probability, customers) after customers have appeared."""
    empty = [p for p, symbol in enumerate(street) if symbol.isdigit() and p not in customers]
    for come in itertools.product((False, True), repeat=len(empty)):
        probability = 1.0
        for does in come:
            probability *= arrival if does else 1.0 - arrival
        yield probability, customers | {p for p, does in zip(empty, come, strict=True) if does}


def value_of_street(street, rewards, arrival, jams, policy=None):
    """Expected total reward from the start: the largest, or that of policy(time, place, target, customers)."""

    def ahead(time, to, wanted, left):
        return sum(q * value(time, to, wanted, then) for q, then in arrivals(street, arrival, left))

    @functools.cache
    def value(time, place, target, customers):
        if time == len(jams):
            return 0.0
        actions = range(5) if policy is None else [policy(time, place, target, customers)]
        return max(
            sum(
                p
                * (
                    reward
                    + sum(q * value(time + 1, to, wanted, then) for q, then in arrivals(street, arrival, left))
                )
                for p, reward, to, wanted, left in outcomes(
                    street, rewards, jams[time][place], place, target, customers, action
                )
            )
            for action in actions
        )

    return value(0, street.index("S"), NOBODY, frozenset())


def value_beside_a_wanderer(street, rewards, arrival, horizon, jam):
    """The best, and the uniformly random, expected total reward of a weightless taxi beside one that wanders.

    The other one acts uniformly at random; with probability ``jam`` a move fails where it is, its own included.
    This taxi sees its own state only: it knows of the other what it can conclude from its own jams.
    """
    places = [p for p, symbol in enumerate(street) if symbol in "S123456789"]

    def spread(belief):
        """Where the other is a step later."""
        found = dict.fromkeys(places, 0.0)
        for place, p in belief:
            for action in range(5):
                found[after(street, place, action)] += p / 5 * (1.0 - jam)
                found[place] += p / 5 * jam
        return tuple((place, round(p, 12)) for place, p in found.items() if p > 1e-12)

    @functools.cache
    def value(time, place, target, customers, belief, is_best):
        if time == horizon:
            return 0.0
        found = []
        for action in range(5):
            total = 0.0
            p_jam = jam * dict(belief).get(place, 0.0)
            for p, reward, to, wanted, left in outcomes(street, rewards, p_jam, place, target, customers, action):
                if p <= 0.0:
                    continue
                learned = belief
                if action != WAIT and after(street, place, action) != place:
                    chance = {other: jam if other == place else 0.0 for other, _ in belief}
                    if to != place:
                        chance = {other: 1.0 - q for other, q in chance.items()}
                    learned = tuple((other, q * chance[other] / p) for other, q in belief if chance[other] > 0.0)
                then = spread(learned)
                total += p * reward
                for q, waiting in arrivals(street, arrival, left):
                    total += p * q * value(time + 1, to, wanted, waiting, then, is_best)
            found.append(total)
        return max(found) if is_best else sum(found) / 5

    begin = 0, street.index("S"), NOBODY, frozenset(), ((street.index("S"), 1.0),)
    return value(*begin, True), value(*begin, False)
