"""The classic games once more, as dense arrays written from their sources' definitions, and their values.

Nothing here reads a game's rules: fields of a game are its constants, everything else is numpy.
"""

import itertools

import numpy as np
from scipy.stats import norm


def policies(shape, n=3, seed=0):
    """The uniform policy, and random ones."""
    rng = np.random.default_rng(seed)
    yield np.full(shape, 1 / shape[-1])
    for _ in range(n):
        yield rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1])


def values_in_time(model, policy, start):
    """V of a policy and of the best response in its own flow; ``model(t, L)`` gives P (S, A, S) and R (S, A)."""
    mu, tables = start, []
    for t in range(len(policy)):
        law = mu[:, None] * policy[t]
        p, r = model(t, law)
        assert np.allclose(p.sum(-1), 1)
        assert p.min() >= 0
        tables.append((p, r))
        mu = np.einsum("sa,sax->x", law, p)
    own = best = np.zeros(len(start))
    for t in reversed(range(len(policy))):
        p, r = tables[t]
        own, best = (policy[t] * (r + p @ own)).sum(-1), (r + p @ best).max(-1)
    return start @ own, start @ best


def values_for_ever(model, policy, start, discount, steps=50, sweeps=99):
    """Bench-MFG's evaluation: the law after some steps, values after some sweeps, weighed by that law."""
    mu = start
    for _ in range(steps):
        p, _ = model(0, mu[:, None] * policy)
        mu = np.einsum("sa,sax->x", mu[:, None] * policy, p)
    p, r = model(0, mu[:, None] * policy)
    own = best = np.zeros(len(start))
    for _ in range(sweeps):
        own, best = (policy * (r + discount * p @ own)).sum(-1), (r + discount * p @ best).max(-1)
    return mu @ own, mu @ best


def rows(n_states, n_actions, outcomes):
    """P from ``outcomes(s, a)``, pairs of a state and a probability."""
    p = np.zeros((n_states, n_actions, n_states))
    for s, a in np.ndindex(n_states, n_actions):
        for successor, probability in outcomes(s, a):
            p[s, a, successor] += probability
    return p


def per_action(r, n_actions):
    return np.repeat(np.asarray(r, float)[:, None], n_actions, 1)


def beach_bar(game):
    n = game.n_towels
    noise = [(-1, (1 - game.still) / 2), (0, game.still), (1, (1 - game.still) / 2)]
    p = rows(n, 3, lambda s, a: [(np.clip(s + a - 1 + e, 0, n - 1), w) for e, w in noise])
    near = np.array([-min((s - game.bar) % n, (game.bar - s) % n) for s in range(n)])
    moves = np.array([1, 0, 1]) / n
    return lambda t, law: (p, (near - np.log(law.sum(1) + game.least))[:, None] - moves)


def weighted_rock_paper_scissors(game):
    p = rows(4, 3, lambda s, a: [(a + 1, 1)])

    def model(t, law):
        _, r, q, s = law.sum(1)
        return p, per_action([0, 2 * s - q, 4 * r - 2 * s, 6 * q - 3 * r], 3)

    return model


def left_right(game):
    p = rows(3, 2, lambda s, a: [(a + 1, 1)])
    return lambda t, law: (p, per_action(np.array([0, -1, -2]) * law.sum(1), 2))


def susceptible_infected(game):
    r = np.array([[0, -game.isolation_cost], [-1, -1 - game.isolation_cost]])

    def model(t, law):
        caught = game.infection * law[1].sum()
        back = [game.recovery, 1 - game.recovery]
        return np.array([[[1 - caught, caught], [1, 0]], [back, back]]), r

    return model


def treasure_hunting(game):
    n = len(game.treasures)

    def model(t, law):
        p, r = np.zeros((n, n, n)), np.zeros((n, n))
        for s in range(n):
            unit = np.zeros((n, n))
            unit[s, s] = 1
            d = ((law - unit) ** 2).sum()
            c = 0 if t == 0 else game.turmoil
            p[s] = (c * d + np.eye(n)) / (1 + n * c * d)
            r[s, s] = 0 if t == 0 else game.treasures[s] * (1 - d / 2)
        return p, r

    return model


def equilibrium_price(game):
    pairs = list(itertools.product(range(game.most_sold + 1), range(game.most_ordered + 1)))
    n, m = game.most_stock + 1, len(pairs)
    p = rows(n, m, lambda s, a: [(min(s - min(pairs[a][0], s) + pairs[a][1], n - 1), 1)])

    def model(t, law):
        sales = sum(law[:, a].sum() * pairs[a][0] for a in range(m))
        price = (game.demand / (sales + game.least_supply)) ** (1 / game.elasticity)
        r = np.empty((n, m))
        for s in range(n):
            for a, (q, h) in enumerate(pairs):
                r[s, a] = (price - game.unit_cost) * q - game.quadratic_cost * q**2 - game.order_cost * h
                r[s, a] -= (game.order_cost + game.shortage_cost) * max(q - s, 0) + game.storage_cost * s
        return p, r

    return model


def building_evacuation(game):
    shape = game.n_floors, game.length, game.width
    number = np.arange(np.prod(shape)).reshape(shape)
    place = list(np.ndindex(shape))

    def outcomes(s, a):
        f, x, y = place[s]
        if a < 4:
            dx, dy = [(1, 0), (-1, 0), (0, -1), (0, 1)][a]
            x, y = np.clip(x + dx, 0, shape[1] - 1), np.clip(y + dy, 0, shape[2] - 1)
        elif a == 4:
            f = max(f - 1, 0) if (x, y) == (0, 0) else f
        else:
            f = min(f + 1, shape[0] - 1) if (x, y) == (shape[1] - 1, shape[2] - 1) else f
        return [(number[f, x, y], 1)]

    p = rows(number.size, 6, outcomes)
    ground = game.worth * np.array([f == 0 for f, _, _ in place])
    return lambda t, law: (
        p,
        per_action(ground - game.aversion * np.log(np.maximum(law.sum(1), game.least)), 6),
    )


def crowd_motion(game, bar=None):
    shape = game.length, game.width
    number, place = np.arange(np.prod(shape)).reshape(shape), list(np.ndindex(shape))
    moves = [(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)]
    weights = [(1 - game.still) / 4] * 4 + [game.still]

    def outcomes(s, a):
        for (dx, dy), w in zip(moves, weights, strict=True):
            x, y = place[s][0] + moves[a][0] + dx, place[s][1] + moves[a][1] + dy
            yield number[np.clip(x, 0, shape[0] - 1), np.clip(y, 0, shape[1] - 1)], w

    p = rows(number.size, 5, outcomes)
    path = game.bar if bar is None else bar

    def model(t, law):
        far = np.array([abs(x - path[t][0]) + abs(y - path[t][1]) for x, y in place]) / sum(shape)
        return p, per_action(game.attraction * (1 - far) - np.log(law.sum(1) + game.least), 5)

    return model


def linear_quadratic_chain(game):
    x = np.arange(-game.reach, game.reach + 1)
    e = np.arange(-3, 4) * (game.volatility if game.twice else 1)
    weights = np.exp(-0.5 * e.astype(float) ** 2)
    weights /= weights.sum()

    def model(t, law):
        # Without the rounding errors of the mean, on which ties of the rounding would hang.
        m = np.round(x @ law.sum(1), 12)

        def outcomes(s, a):
            for shock, w in zip(e, weights, strict=True):
                drift = (game.pull * (m - x[s]) + a - game.most) * game.dt
                y = np.round(x[s] + drift + game.volatility * shock * np.sqrt(game.dt), 10)
                yield int(np.clip(np.rint(y), -game.reach, game.reach)) + game.reach, w

        away = m - x[:, None]
        v = np.arange(-game.most, game.most + 1)[None]
        r = game.dt * (-(v**2) / 2 + game.cross * v * away - game.kappa / 2 * away**2)
        last = -game.final / 2 * away**2 + 0 * v
        return rows(len(x), v.size, outcomes), last if t == game.horizon - 1 else r

    return model


def random_linear(game, tables):
    def model(t, law):
        logits = np.einsum("xsj,ja->sax", tables.coupled_moves, law) + tables.moves.transpose(1, 2, 0)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True), tables.coupled_rewards @ law + tables.rewards

    return model


def with_last_actions(n, m, moves, reward, first_action):
    """A game that pays for the last action: its states are pairs of a state and the last action, as in OpenSpiel.

    ``moves`` is P (n, m, n), or a function of mu that gives it; ``reward(mu)`` is (n, m) for a state and the last
    action. The first "last" action is ``first_action``. Returns a model of n m states, number state * m + last
    action, and a function that gives their initial law.
    """

    def lifted(row):
        p = np.zeros((n, m, m, n, m))
        for a in range(m):
            p[:, :, a, :, a] = row[:, None, a, :]
        return p.reshape(n * m, m, n * m)

    fixed = None if callable(moves) else lifted(moves)

    def model(t, law):
        mu = law.sum(1).reshape(n, m).sum(1)
        return lifted(moves(mu)) if fixed is None else fixed, per_action(reward(mu).reshape(-1), m)

    return model, lambda start: np.outer(start, np.arange(m) == first_action).ravel()


def crowd_modelling(game):
    n = game.n_places
    p = rows(n, 3, lambda s, a: [((s + a - 1 + e) % n, 1 / 3) for e in (-1, 0, 1)])
    x, moves = np.arange(n), np.array([1, 0, 1])
    return with_last_actions(
        *(n, 3, p),
        lambda mu: (1 - abs(x - n // 2) / (n // 2) - np.log(mu + game.least))[:, None] - moves / n,
        1,
    )


def free_cells(text):
    return [(x, y) for y, row in enumerate(text) for x, cell in enumerate(row) if cell != "#"]


def crowd_modelling_2d(game):
    """The model, a function that gives the initial law, and the masks of actions."""
    cells = free_cells(game.layout)
    width, height = len(game.layout[0]), len(game.layout)
    number = {cell: k for k, cell in enumerate(cells)}
    moves = [(0, -1), (-1, 0), (0, 0), (1, 0), (0, 1)]

    def ahead(cell, a):
        return (cell[0] + moves[a][0]) % width, (cell[1] + moves[a][1]) % height

    def legal(cell):
        return [a for a in range(5) if ahead(cell, a) in number]

    def outcomes(s, a):
        moved = ahead(cells[s], a) if a in legal(cells[s]) else cells[s]
        for e in legal(moved):
            yield number[ahead(moved, e)], game.noise / len(legal(moved))
        yield number[moved], 1 - game.noise

    p = rows(len(cells), 5, outcomes)
    near = np.array([2 - 2 / width * abs(x - width // 2) - 2 / height * abs(y - height // 2) for x, y in cells])
    costs = np.array([abs(dx) / width + abs(dy) / height for dx, dy in moves])
    masks = np.array([[a in legal(cell) for a in range(5)] for cell in cells])

    def reward(mu):
        place = game.attraction * near - game.aversion * np.log(mu + game.least)
        return place[:, None] - game.move_cost * costs

    if game.move_cost == 0:
        return lambda t, law: (p, reward(law.sum(1))), lambda start: start, masks
    return *with_last_actions(len(cells), 5, p, reward, 2), masks


def garnet(game, tables):
    n, m = tables.rewards.shape
    successors = tables.successors.astype(int)
    p = rows(n, m, lambda s, a: zip(successors[s, a], tables.probabilities[s, a], strict=True))
    return with_last_actions(
        *(n, m, p),
        lambda mu: tables.rewards - game.aversion * np.log(mu + game.least)[:, None],
        0,
    )


def linear_quadratic_ring(game):
    n, most = game.n_places, game.most
    v, x = np.arange(-most, most + 1), np.arange(n)
    weights = norm.cdf(v + 0.5) - norm.cdf(v - 0.5)
    weights[0], weights[-1] = norm.cdf(v[0] + 0.5), 1 - norm.cdf(v[-1] - 0.5)
    scale = np.sqrt(game.dt) * game.volatility

    def move_row(mu):
        m = x @ mu

        def outcomes(s, a):
            ahead = (s + round((v[a] + game.pull * (m - s)) * game.dt)) % n
            return [(round(ahead + e * scale) % n, w) for e, w in zip(v, weights, strict=True)]

        return rows(n, v.size, outcomes)

    def reward(mu):
        away = (x @ mu - x)[:, None]
        return game.dt / 2 * (-(v**2) + 2 * game.cross * v * away - game.kappa * away**2)

    return with_last_actions(n, v.size, move_row, reward, most)


def periodic_aversion(game):
    n, most = game.n_places, game.most
    dx, v = 1 / (n - 1), np.arange(-most, most + 1)
    weights = norm.pdf(v * dx, scale=game.volatility * np.sqrt(game.dt))
    weights /= weights.sum()
    p = rows(n, v.size, lambda s, a: [((s + v[a] + e) % n, w) for e, w in zip(v, weights, strict=True)])
    z = 2 * np.pi * np.arange(n) * dx
    worth = game.volatility * 2 * np.pi**2 * np.sin(z) - 2 * np.pi**2 * np.cos(z) ** 2
    worth += 2 / game.volatility**2 * np.sin(z)

    def reward(mu):
        crowd = -game.aversion * np.log(mu / dx + game.least)
        return game.dt * ((worth + crowd)[:, None] - (v * dx / game.dt) ** 2 / 2)

    return with_last_actions(n, v.size, p, reward, most)


def normal_form(game):
    def model(t, law):
        a, b, c = law[0]
        r = {
            "cooperation": [
                10 * a - 200 / 9 * (a - c) * c - 20 * b,
                20 * (a - b) - 2380 * c,
                2000 / 9 * (a - c) * c,
            ],
            "dominated": [a + c, b, a + c - 0.25],
            "biased rock-paper-scissors": [0.5 * b - 0.3 * c, 0.3 * c - 0.7 * a, 0.7 * a - 0.5 * b],
        }[game.payoffs]
        return np.ones((1, 3, 1)), np.array([r])

    return model


def social_dilemma(game):
    def model(t, law):
        x = law[0, 0]
        cooperator = x * game.mutual_reward + (1 - x) * game.sucker
        return np.ones((1, 2, 1)), np.array([[cooperator, x * game.temptation + (1 - x) * game.punishment]])

    return model


def repeated_rock_paper_scissors(game):
    wins = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    p = rows(3, 3, lambda s, a: [(a, 1)])
    return lambda t, law: (p, per_action(wins @ law.sum(1), 3))


def discounted_epidemic(game):
    u = np.linspace(0, 1, game.n_levels)
    r = u - game.illness_cost * np.array([[0], [1]])

    def model(t, law):
        caught = game.infection * u * law[1].sum()
        p = np.empty((2, u.size, 2))
        p[0] = np.stack([1 - caught, caught], -1)
        p[1] = game.recovery, 1 - game.recovery
        return p, r

    return model


def contraction_game(game):
    p = rows(2, 2, lambda s, a: [(s ^ a, 1)])
    cost = np.array([0, game.switching_cost])
    return lambda t, law: (p, -game.congestion * law.sum(1)[:, None] - cost)


def chain(game):
    n, x = game.n_places, np.arange(game.n_places)
    noise = [(-1, (1 - game.still) / 2), (0, game.still), (1, (1 - game.still) / 2)]
    p = rows(n, 3, lambda s, a: [(np.clip(s + a - 1 + e, 0, n - 1), w) for e, w in noise])
    moves = game.move_cost * np.array([1, 0, 1])

    def earned(mu):
        name = type(game).__name__
        if name == "LasryLionsChain":
            return -game.pull * (x - (n - 1) / 2) ** 2 - game.aversion * mu
        if name == "NoInteractionChain":
            return x
        return -game.pull * np.min([abs(x - bar) for bar in game.bars], 0) + game.company * mu

    return lambda t, law: (p, earned(law.sum(1))[:, None] - moves)


def kinetic_congestion(game):
    shape = game.n_rows, game.n_columns
    number, place = np.arange(np.prod(shape)).reshape(shape), list(np.ndindex(shape))
    moves = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)]
    away = -1.0 * (np.arange(number.size) != game.target)

    def model(t, law):
        mu = law.sum(1)

        def outcomes(s, a):
            x, y = np.clip(np.add(place[s], moves[a]), 0, np.subtract(shape, 1))
            target = number[x, y]
            load = mu[target] / game.capacity
            fails = min(1, load) if game.success == "linear" else 1 - np.exp(-load)
            fails = 0 if target == s else fails
            return [(target, 1 - fails), (s, fails)]

        return rows(number.size, 5, outcomes), away[:, None] - game.move_cost * np.array([1, 1, 1, 1, 0])

    return model


def four_rooms(game):
    shape = len(game.layout), len(game.layout[0])
    moves = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)]

    def outcomes(s, a):
        x, y = divmod(s, shape[1])
        for (dx, dy), w in zip(moves, game.noise, strict=True):
            i, j = x + moves[a][0] + dx, y + moves[a][1] + dy
            free = 0 <= i < shape[0] and 0 <= j < shape[1] and game.layout[i][j] != "#"
            yield i * shape[1] + j if free else s, w

    p = rows(shape[0] * shape[1], 5, outcomes)
    return lambda t, law: (p, per_action(-game.aversion * np.log(np.maximum(law.sum(1), game.least)), 5))


def mean_field_garnet(game, tables):
    def model(t, law):
        mu = law.sum(1)
        change, social = tables.coupling @ mu, tables.interaction @ mu
        if game.dynamics == "additive":
            p = np.maximum(0, tables.base_factor * tables.base + tables.coupling_factor * change)
        else:
            p = tables.base * np.maximum(0, tables.base_factor + tables.coupling_factor * change)
        if game.reward_structure == "additive":
            r = tables.reward_factor * tables.rewards + tables.interaction_factor * social[:, None]
        else:
            r = tables.rewards * (tables.reward_factor + tables.interaction_factor * social[:, None])
        return p / p.sum(-1, keepdims=True), r

    return model
