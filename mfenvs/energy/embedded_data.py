"""The real series that come with the package: homes in California and the German wholesale market.

The files lie in the folder ``embedded``, with their licences in ``DATA_LICENSES``:

``homes.npz``
    17 homes and 8,760 hours. Checked here: the hours run 24, 1, 2, ..., 23, without a break. ``hour`` h is the
    hour that *begins* at h:00 on the local clock, and 24 begins at 00:00: the time-of-use peak (16:00 to 21:00)
    holds in the hours 16 to 20; the PV output is centred on solar noon only if so, and moves by one hour on 6
    November and 12 March, when California changes its clocks. So row 0 is 00:00 of 1 August, and the rows are the
    365 whole days from 1 August to 31 July (2016/17): none is dropped. The columns ``month`` and ``day_type``
    change one hour late, at hour 1, and are not used. Every day has 24 rows, also the two on which the clocks
    change.
``germany_2018.npz``
    8,760 hours from 2018-01-01 00:00 Europe/Berlin without a break, so that the clock's changes are within them.
"""

import dataclasses
import functools
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMBEDDED = Path(__file__).parent / "embedded"

HOMES_FIRST_DAY = date(2016, 8, 1)
GERMANY_START = datetime(2017, 12, 31, 23, tzinfo=UTC)
GERMANY_CLOCK = "Europe/Berlin"


@dataclasses.dataclass(frozen=True, eq=False)
class Homes:
    """The embedded homes' series as published, from 1 August 2016 00:00 local clock on; arrays are read-only."""

    load_kwh: NDArray[np.float32]
    """Electric energy used in the hour, kWh, shape (8760, 17)."""
    pv_kw_per_kwp: NDArray[np.float32]
    """Output of photovoltaics (PV), kW per installed kWp, shape (8760, 17)."""
    temperature_c: NDArray[np.float32]
    """Outdoor temperature, degrees Celsius, shape (8760,), as all below."""
    relative_humidity: NDArray[np.float32]
    """Relative humidity in per cent."""
    diffuse_w_m2: NDArray[np.float32]
    """Diffuse solar irradiance, W/m2."""
    direct_w_m2: NDArray[np.float32]
    """Direct solar irradiance, W/m2."""
    tariff_usd_per_kwh: NDArray[np.float32]
    """Time-of-use tariff, USD/kWh."""
    co2_kg_per_kwh: NDArray[np.float32]
    """Carbon intensity of the grid, kg CO2/kWh."""
    month: NDArray[np.int8]
    """Month, 1 to 12; it changes one hour late."""
    hour: NDArray[np.int8]
    """Hour of the day, 1 to 24: the hour begins then, 24 at 00:00."""
    day_type: NDArray[np.int8]
    """Day of the week, 1 Monday to 7 Sunday; it changes one hour late."""


@dataclasses.dataclass(frozen=True, eq=False)
class Germany:
    """The embedded German hours of 2018, in absolute order from 1 January 00:00 Europe/Berlin; read-only."""

    day_ahead_price_eur_per_mwh: NDArray[np.float32]
    """Day-ahead price, EUR/MWh, -76.01 to 128.26, shape (8760,), as all below."""
    solar_mw: NDArray[np.float32]
    """Mean solar power of the hour, MW."""
    wind_onshore_mw: NDArray[np.float32]
    """Mean power of wind on land in the hour, MW."""
    wind_offshore_mw: NDArray[np.float32]
    """Mean power of wind at sea in the hour, MW."""


@functools.cache
def homes() -> Homes:
    """The embedded homes; loaded once."""
    arrays = _loaded("homes.npz")
    arrays["pv_kw_per_kwp"] = arrays.pop("pv_w_per_kw") / np.float32(1000)
    arrays["pv_kw_per_kwp"].flags.writeable = False
    return Homes(**arrays)


@functools.cache
def germany_2018() -> Germany:
    """The embedded German series of 2018; loaded once."""
    return Germany(**_loaded("germany_2018.npz"))


def _loaded(name: str) -> dict[str, NDArray[Any]]:
    with np.load(EMBEDDED / name, allow_pickle=False) as arrays:
        loaded = {key: arrays[key] for key in arrays.files}
    for array in loaded.values():
        array.flags.writeable = False
    return loaded
