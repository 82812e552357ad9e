"""The games that come with the package, registered by name when :mod:`mfenvs` is imported."""

from mfenvs.games.auction import Auction
from mfenvs.games.classic.catalogue import CLASSIC_GAMES
from mfenvs.games.common_noise.catalogue import COMMON_NOISE_GAMES
from mfenvs.games.congestion import Congestion
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.investment import Investment
from mfenvs.games.linear_quadratic import LinearQuadratic
from mfenvs.games.malware import Malware
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.games.taxi import Taxi
from mfenvs.registry import register

register("RockPaperScissors-v0", RockPaperScissors)
register("Epidemic-v0", Epidemic)
register("Taxi-v0", Taxi)
register("Auction-v0", Auction)
register("Congestion-v0", Congestion)
register("EnergyMarket-v0", EnergyMarketV0)
register("EnergyMarket-v1", EnergyMarket)
register("BinnedEnergyMarket-v0", BinnedEnergyMarketV0)
register("BinnedEnergyMarket-v1", BinnedEnergyMarket)
register("Malware-v0", Malware)
register("Investment-v0", Investment)
register("LinearQuadratic-v0", LinearQuadratic)
for _name, _game_class in (CLASSIC_GAMES | COMMON_NOISE_GAMES).items():
    register(_name, _game_class)
