"""The classic games by their registered names."""

from mfenvs.finite_game import FiniteGame
from mfenvs.games.classic.beach_bar import BeachBar
from mfenvs.games.classic.building_evacuation import BuildingEvacuation
from mfenvs.games.classic.chains import LasryLionsChain, MultipleEquilibria, NoInteractionChain
from mfenvs.games.classic.contraction_game import ContractionGame
from mfenvs.games.classic.crowd_avoidance import CrowdAvoidance
from mfenvs.games.classic.crowd_modelling import CrowdModelling
from mfenvs.games.classic.crowd_modelling_2d import CrowdModelling2D, FourRoomsExploration, MazeExploration
from mfenvs.games.classic.crowd_motion import CrowdMotion
from mfenvs.games.classic.epidemics import DiscountedEpidemic, SusceptibleInfected
from mfenvs.games.classic.equilibrium_price import EquilibriumPrice
from mfenvs.games.classic.four_rooms import FourRooms
from mfenvs.games.classic.garnet import Garnet
from mfenvs.games.classic.graphon_games import GraphonEpidemic, GraphonInvestment
from mfenvs.games.classic.kinetic_congestion import KineticCongestion
from mfenvs.games.classic.left_right import LeftRight
from mfenvs.games.classic.linear_quadratic import LinearQuadraticChain, LinearQuadraticRing
from mfenvs.games.classic.mean_field_garnet import MeanFieldGarnet
from mfenvs.games.classic.normal_form import NormalForm
from mfenvs.games.classic.periodic_aversion import PeriodicAversion
from mfenvs.games.classic.predator_prey import FourPopulationPredatorPrey, PredatorPrey
from mfenvs.games.classic.random_linear import RandomLinear
from mfenvs.games.classic.rock_paper_scissors import RepeatedRockPaperScissors, WeightedRockPaperScissors
from mfenvs.games.classic.routing.game import DynamicRouting, SiouxFallsRouting
from mfenvs.games.classic.social_dilemma import SocialDilemma
from mfenvs.games.classic.treasure_hunting import TreasureHunting

CLASSIC_GAMES: dict[str, type[FiniteGame]] = {
    # Of MFGLib.
    "BeachBar-v0": BeachBar,
    "WeightedRockPaperScissors-v0": WeightedRockPaperScissors,
    "LeftRight-v0": LeftRight,
    "SusceptibleInfected-v0": SusceptibleInfected,
    "TreasureHunting-v0": TreasureHunting,
    "EquilibriumPrice-v0": EquilibriumPrice,
    "BuildingEvacuation-v0": BuildingEvacuation,
    "CrowdMotion-v0": CrowdMotion,
    "LinearQuadraticChain-v0": LinearQuadraticChain,
    "RandomLinear-v0": RandomLinear,
    # Of OpenSpiel.
    "CrowdModelling-v0": CrowdModelling,
    "CrowdModelling2D-v0": CrowdModelling2D,
    "FourRoomsExploration-v0": FourRoomsExploration,
    "MazeExploration-v0": MazeExploration,
    "Garnet-v0": Garnet,
    "LinearQuadraticRing-v0": LinearQuadraticRing,
    "NormalForm-v0": NormalForm,
    "PeriodicAversion-v0": PeriodicAversion,
    "SocialDilemma-v0": SocialDilemma,
    "PredatorPrey-v0": PredatorPrey,
    "FourPopulationPredatorPrey-v0": FourPopulationPredatorPrey,
    "CrowdAvoidance-v0": CrowdAvoidance,
    "DynamicRouting-v0": DynamicRouting,
    "SiouxFallsRouting-v0": SiouxFallsRouting,
    # Of Bench-MFG.
    "RepeatedRockPaperScissors-v0": RepeatedRockPaperScissors,
    "DiscountedEpidemic-v0": DiscountedEpidemic,
    "ContractionGame-v0": ContractionGame,
    "LasryLionsChain-v0": LasryLionsChain,
    "NoInteractionChain-v0": NoInteractionChain,
    "MultipleEquilibria-v0": MultipleEquilibria,
    "KineticCongestion-v0": KineticCongestion,
    "FourRooms-v0": FourRooms,
    "MeanFieldGarnet-v0": MeanFieldGarnet,
    # Of gmfg-learning.
    "GraphonEpidemic-v0": GraphonEpidemic,
    "GraphonInvestment-v0": GraphonInvestment,
}
"""The classic games, in the order of their sources."""
