"""Reader of files of the ENTSO-E Transparency Platform, the European grid operators' public data, without network.

The platform publishes the load, the generation by type and the day-ahead price of each bidding zone (an area with
one wholesale price). It hands them out in three formats:

``gui-csv``
    The web page's CSV export: local-time or UTC intervals in a column ``MTU`` (market time unit) or ``Time``;
    headers of the old platform (``Day-ahead Price [EUR/MWh]``, ``Solar  - Actual Aggregated [MW]``) and of the one
    of 2024 on (``Day-ahead Price (EUR/MWh)``, ``Production Type`` + ``Generation (MW)``).
``file-library``
    The tab-separated monthly files of the SFTP and FMS servers, in UTC: ``DateTime`` or ``DateTime(UTC)``,
    ``ResolutionCode``, areas, and ``Price``, ``TotalLoadValue``, ``ActualGenerationOutput`` or their later names.
``xml``
    The web API's ``Publication_MarketDocument`` and ``GL_MarketDocument``, curve types A01 and A03.

No library is needed: ``entsoe-py`` (MIT) parses the XML only, needs pandas, and checks neither gaps nor numbers.
The layouts are from its ``parsers.py`` and ``series_parsers.py`` (0.8.1) and from public copies of the files.
"""

from mfenvs.energy.entsoe.file import MAX_BYTES, MAX_STEPS, EntsoeFormatError
from mfenvs.energy.entsoe.reader import FORMATS, Format, read_entsoe
from mfenvs.energy.entsoe.rows import MAX_GAP_MINUTES
from mfenvs.energy.entsoe.series import RESOLUTIONS, Series, joined

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_GAP_MINUTES",
    "MAX_STEPS",
    "RESOLUTIONS",
    "EntsoeFormatError",
    "Format",
    "Series",
    "joined",
    "read_entsoe",
]
