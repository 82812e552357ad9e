"""One step of the energy market in plain Python, agent by agent: what the specification says.

It reads of the game the drawn parameters, the day, the weather and the errors, nothing else. Orders are cleared as
a book of orders, whose clearing has tests of its own.
"""

import dataclasses
import math

from mfenvs.games.energy.clearing import clear_orders
from mfenvs.games.energy.conditions import DAY, FEED_IN, RETAIL, WEATHER, WEATHER_SEEN


@dataclasses.dataclass
class Home:
    """What an agent wants, orders, gets and pays in a step; kWh and EUR."""

    need: float
    """Inelastic load on which its orders are based."""
    made: float
    flexible: float
    vehicle: float
    draw: float
    deliver: float
    load: float = 0.0
    generation: float = 0.0
    orders: dict = dataclasses.field(default_factory=dict)
    """Amounts by what they are for; ``sell``: from the battery, ``surplus``: of generation."""
    limits: dict = dataclasses.field(default_factory=dict)
    filled: dict = dataclasses.field(default_factory=dict)
    account: dict = dataclasses.field(default_factory=dict)
    charge: float = 0.0
    backlog: float = 0.0
    vehicle_need: float = 0.0
    peak: float = 0.0


def read(game, action, feed_in, retail):
    """Battery, its price, flexible share, its price, vehicle, its price."""
    if game.actions == "box":
        numbers = [float(x) for x in action] + [0.0, feed_in]
        numbers = numbers[:6]
        for k in (1, 3, 5):
            numbers[k] = min(max(numbers[k], feed_in), retail)
        return numbers
    rest, level = divmod(int(action), 5)
    vehicle = 0
    if game.ev_share > 0:
        rest, vehicle = divmod(rest, 2)
    battery, flexible = divmod(rest, 2)
    price = feed_in + level / 4 * (retail - feed_in)
    return battery - 1.0, price, float(flexible), price, float(vehicle), price


def arrivals(game, agent, day, clock):
    """Flexible load that comes in a step of the series."""
    load = game.days.load[(day + agent.shift) % game.days.n_days, clock, agent.profile]
    return float(agent.flexible_share) * float(agent.load_scale) * float(load)


def recent_arrivals(game, agent, day, clock):
    """Flexible load of the last ``shift_hours`` up to a step, across midnight."""
    steps, total = game.days.steps, 0.0
    for back in range(round(game.shift_hours / game.days.step_hours)):
        at = day * steps + clock - back
        total += arrivals(game, agent, (at // steps) % game.days.n_days, at % steps)
    return total


def wishes(game, agent, state, action, day, clock, signal):
    """What an agent wants, on what it expects or, ex post, on what is metered."""
    days, hours = game.days, game.days.step_hours
    seen = [float(x) for x in signal[WEATHER_SEEN : WEATHER_SEEN + 3]]
    now = [float(x) for x in signal[WEATHER : WEATHER + 3]]
    memory = game.weather_memory**hours
    load = float(agent.load_scale) * float(days.load[(day + agent.shift) % days.n_days, clock, agent.profile])
    sun = float(agent.pv_kwp) * float(days.pv[day, clock, agent.profile])
    wind = float(agent.wind_kw) * float(days.wind[day, clock])
    inelastic = (1 - float(agent.flexible_share)) * load
    error = float(state["coming_error"])
    expected = [1 + memory * x for x in seen]
    home = Home(expected[0] * inelastic, expected[1] * sun + expected[2] * wind, 0, 0, 0, 0)
    home.load = (1 + now[0]) * inelastic * max(1 + error, 0)
    home.generation = ((1 + now[1]) * sun + (1 + now[2]) * wind) * max(1 - error, 0)
    if game.imbalance == "ex-post":
        home.need, home.made = home.load, home.generation
    battery, _, share, _, vehicle, _ = action
    capacity, stored = float(agent.capacity), float(state["charge"]) * float(agent.capacity)
    power = float(agent.power) * hours
    home.draw = min(max(battery, 0) * power, (capacity - stored) / game.efficiency)
    home.deliver = min(max(-battery, 0) * power, stored * game.efficiency)
    here = arrivals(game, agent, day, clock)
    home.flexible = share * (float(state["backlog"]) + here if game.shift_hours > 0 else expected[0] * here)
    home.vehicle = min(vehicle * float(agent.vehicle_power) * hours, float(state["vehicle_need"]))
    return home


def order(home, action, feed_in, retail):
    """Net behind the meter, sun first and then the battery, for one use after the other."""
    sun, battery = home.made, home.deliver
    lacks = {}
    for name in ("need", "flexible", "vehicle", "draw"):
        wanted = getattr(home, name)
        from_sun = min(sun, wanted)
        sun -= from_sun
        from_battery = min(battery, wanted - from_sun) if name != "draw" else 0.0
        battery -= from_battery
        lacks[name] = wanted - from_sun - from_battery
    home.orders = lacks | {"surplus": sun, "sell": battery}
    limits = {"need": retail, "surplus": feed_in, "flexible": action[3], "vehicle": action[5]}
    home.limits = limits | {"draw": action[1], "sell": action[1]}


BUYS, SELLS = ("need", "flexible", "vehicle", "draw"), ("surplus", "sell")


def clear(game, homes, feed_in, retail):
    """Clear all orders, and cut what a transformer does not let through."""
    n, hours = game.n_agents, game.days.step_hours
    buys = [(home.limits[name], home.orders[name]) for home in homes for name in BUYS]
    sells = [(home.limits[name], home.orders[name]) for home in homes for name in SELLS]
    slope = game.slope * len(buys + sells) / n / hours
    terms = {"orders": game.orders, "n_ticks": game.n_ticks, "width": game.width_in_ticks}
    cleared = clear_orders(
        buys, sells, feed_in=feed_in, retail=retail, **terms, intercept=game.intercept, slope=slope
    )
    bought, sold = iter(cleared.bought), iter(cleared.sold)
    for home in homes:
        home.filled = {name: next(bought) for name in BUYS}
    for home in homes:
        home.filled |= {name: next(sold) for name in SELLS}
    total = {name: sum(home.filled[name] for home in homes) for name in (*BUYS, *SELLS)}
    elastic = total["flexible"] + total["vehicle"] + total["draw"]
    excess = total["need"] + elastic - total["surplus"] - total["sell"] - limit(game.import_limit_kw, n, hours)
    if excess > 0:
        for home in homes:
            for name in ("flexible", "vehicle", "draw"):
                home.filled[name] *= 1 - min(excess, elastic) / elastic if elastic > 0 else 1
    bought = sum(home.filled[name] for home in homes for name in BUYS)
    sold = total["surplus"] + total["sell"]
    excess = sold - bought - limit(game.export_limit_kw, n, hours)
    if excess > 0:
        for home in homes:
            for name in SELLS:
                home.filled[name] *= (sold - excess) / sold
        sold -= excess
    return cleared.price, bought, sold


def limit(kw, n, hours):
    return math.inf if kw is None else kw * n * hours


def simulate(game, states, actions, time, signal, peak):
    """One step of one world: homes with their accounts, the price, and the community's peak of the day."""
    hours, steps = game.days.step_hours, game.days.steps
    clock, day = time % steps, int(signal[DAY])
    feed_in, retail = float(signal[FEED_IN]), float(signal[RETAIL])
    homes = []
    for agent, state, action in zip(game.agents, states, actions, strict=True):
        chosen = read(game, action, feed_in, retail)
        home = wishes(game, agent, state, chosen, day, clock, signal)
        order(home, chosen, feed_in, retail)
        homes.append(home)
    price, bought, sold = clear(game, homes, feed_in, retail)
    local_buy = min(bought, sold) / bought if bought > 0 else 0.0
    local_sell = min(bought, sold) / sold if sold > 0 else 0.0
    gaps = [(home.load - home.need) - (home.generation - home.made) for home in homes]
    short, surplus = sum(max(gap, 0) for gap in gaps), sum(max(-gap, 0) for gap in gaps)
    matched = min(short, surplus) if game.imbalance == "pooled" else 0.0
    for home, gap, agent, state in zip(homes, gaps, game.agents, states, strict=True):
        settle_home(game, home, gap, agent, state, (feed_in, retail, price), (local_buy, local_sell))
        share = matched / short if gap > 0 else matched / surplus if gap < 0 else 0.0
        a, local = home.account, abs(gap) * share
        a["local_bought" if gap > 0 else "local_sold"] += local
        a["imports" if gap > 0 else "exports"] += abs(gap) - local
        a["imbalance_payment"] = (1 if gap > 0 else -1) * (
            local * price + (abs(gap) - local) * (retail if gap > 0 else feed_in)
        )
        a["fee"] = game.fee * (a["local_bought"] + a["local_sold"])
        end_step(game, home, agent, state, time, day, (feed_in, retail))
    peak = charge_peaks(game, homes, states, peak if clock > 0 else 0.0, clock, hours)
    for home in homes:
        a = home.account
        costs = (
            "trade_payment",
            "imbalance_payment",
            "fee",
            "degradation",
            "terminal",
            "peak_payment",
            "ev_penalty",
        )
        a["reward"] = a["utility"] - sum(a[name] for name in costs)
    return homes, price, peak


def settle_home(game, home, gap, agent, state, prices, local):
    """What an agent does and pays for what was cleared."""
    feed_in, retail, price = prices
    done, lacks = home.filled, home.orders
    bought, sold = sum(done[name] for name in BUYS), done["surplus"] + done["sell"]
    home.flexible -= lacks["flexible"] - done["flexible"]
    home.vehicle -= lacks["vehicle"] - done["vehicle"]
    home.draw -= lacks["draw"] - done["draw"]
    home.deliver -= lacks["sell"] - done["sell"]
    here, there = bought * local[0], sold * local[1]
    home.account = {
        "load": home.load,
        "flexible": home.flexible,
        "generation": home.generation,
        "charge": home.draw,
        "discharge": home.deliver,
        "imports": bought - here,
        "exports": sold - there,
        "local_bought": here,
        "local_sold": there,
        "trade_payment": price * (here - there) + retail * (bought - here) - feed_in * (sold - there),
        "utility": float(agent.flexible_value) * home.flexible,
        "degradation": game.degradation * (home.draw + home.deliver),
        "curtailed": lacks["surplus"] - done["surplus"],
        "ev_charge": home.vehicle,
    }


def end_step(game, home, agent, state, time, day, tariffs):
    """Battery, waiting load and vehicle at the end of a step."""
    hours, steps, eff = game.days.step_hours, game.days.steps, game.efficiency
    feed_in, retail = tariffs
    clock, capacity = time % steps, float(agent.capacity)
    stored = float(state["charge"]) * capacity + eff * home.draw - home.deliver / eff
    home.charge = stored / capacity if capacity > 0 else 0.0
    if game.shift_hours > 0:
        waiting = float(state["backlog"]) + arrivals(game, agent, day, clock) - home.flexible
        home.backlog = max(min(waiting, recent_arrivals(game, agent, day, clock)), 0.0)
    need, lacked = float(state["vehicle_need"]) - home.vehicle, 0.0
    coming = (clock + 1) % steps
    if agent.vehicle_power > 0:
        if coming == math.ceil(float(agent.vehicle_departure) / hours) % steps:
            need, lacked = 0.0, need
        if coming == math.ceil(float(agent.vehicle_arrival) / hours) % steps:
            need = float(agent.vehicle_energy)
    home.vehicle_need = need
    home.account["ev_penalty"] = game.ev_penalty * lacked
    missing = game.initial_charge * capacity - stored
    settled = (retail * missing / eff if missing > 0 else feed_in * missing * eff) + retail * need
    home.account["terminal"] = settled if time == game.horizon - 1 else 0.0


def charge_peaks(game, homes, states, peak, clock, hours):
    """Charge the rise of the day's peak; return the community's."""
    net = [home.account["imports"] - home.account["exports"] for home in homes]
    for home in homes:
        home.account["peak_payment"] = 0.0
    if game.peak_charge == 0:
        return peak
    if game.peak_of == "member":
        for home, state, own in zip(homes, states, net, strict=True):
            before = float(state["peak"]) if clock > 0 else 0.0
            own += home.account["local_bought"] - home.account["local_sold"]
            home.peak = max(before, own / hours)
            home.account["peak_payment"] = game.peak_charge * (home.peak - before)
        return peak
    after, imports = max(peak, sum(net) / hours), sum(home.account["imports"] for home in homes)
    for home in homes:
        if after > peak:
            home.account["peak_payment"] = game.peak_charge * (after - peak) * home.account["imports"] / imports
    return after
