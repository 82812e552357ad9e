"""The networks of Braess and of Sioux Falls.

Braess's is that of the paradox: D. Braess, "Über ein Paradoxon aus der Verkehrsplanung", Unternehmensforschung 12,
258-268 (1968).

The data of Sioux Falls, South Dakota, come from L. J. LeBlanc, E. K. Morlok and W. P. Pierskalla, "An efficient
approach to solving the road network equilibrium traffic assignment problem", Transportation Research 9, 309-318
(1975), doi 10.1016/0041-1647(75)90030-1. The numbers and their units are those of the file
``python/games/dynamic_routing_data.py`` of OpenSpiel (copyright 2019 DeepMind Technologies Limited, Apache License
2.0), from which they were taken; they were arranged as tables.
"""

from mfenvs.games.classic.routing.network import Link, Trip, with_connectors

BRAESS_LINKS = (
    Link("O", "A", 0.0, 5.0, 0.0, 1.0),
    Link("A", "B", 1.0, 5.0, 1.0, 1.0),
    Link("A", "C", 2.0, 5.0, 0.0, 1.0),
    Link("B", "C", 0.25, 5.0, 0.0, 1.0),
    Link("B", "D", 2.0, 5.0, 0.0, 1.0),
    Link("C", "D", 1.0, 5.0, 1.0, 1.0),
    Link("D", "E", 0.0, 5.0, 0.0, 1.0),
)
"""The network of Braess's paradox: B-C is the link that makes everybody slower."""

BRAESS_TRIPS = (Trip("O", "E", 5.0),)
"""Five vehicles from O to E."""

_ROADS = """
1-2 6 2, 1-3 4 2, 2-6 5 1240, 3-4 4 6, 3-12 4 2, 4-5 2 3, 4-11 6 1550, 5-6 4 1000, 5-9 5 75, 6-8 2 520,
7-8 3 119, 7-18 2 1, 8-9 10 2306, 8-16 5 1156, 9-10 3 11, 10-11 5 75, 10-15 6 26, 10-16 4 1080,
10-17 8 1929, 11-12 6 1550, 11-14 4 1061, 12-13 3 1, 13-24 4 893, 14-15 5 1085, 14-23 4 1020,
15-19 3 10, 15-22 3 53, 16-17 2 401, 16-18 3 3, 17-19 2 553, 18-20 4 2, 19-20 4 957, 20-21 6 1373,
20-22 5 1130, 21-22 2 401, 21-24 3 789, 22-23 4 960, 23-24 2 451
"""
"""Roads between nodes, both ways: free-flow time and coefficient of congestion, in units of 1e-18."""

_HUNDREDS = """
0 1 1 5 2 3 5 8 5 13 5 2 5 3 5 5 4 1 3 3 1 4 3 1
1 0 1 2 1 4 2 4 2 6 2 1 3 1 1 4 2 0 1 1 0 1 0 0
1 1 0 2 1 3 1 2 1 3 3 2 1 1 1 2 1 0 0 0 0 1 1 0
5 2 2 0 5 4 4 7 7 12 15 6 6 5 5 8 5 1 2 3 2 4 5 2
2 1 1 5 0 2 2 5 8 10 5 2 2 1 2 5 2 0 1 1 1 2 1 0
3 4 3 4 2 0 4 8 4 8 4 2 2 1 2 9 5 1 2 3 1 2 1 1
5 2 1 4 2 4 0 10 6 19 5 7 4 2 5 14 10 2 4 5 2 5 2 1
8 4 2 7 5 8 10 0 8 16 8 6 6 4 6 22 14 3 7 9 4 5 3 2
5 2 1 7 8 4 6 8 0 28 14 6 6 6 10 14 9 2 4 6 3 7 5 2
13 6 3 12 10 8 19 16 28 0 39 20 19 21 40 44 39 7 18 25 12 26 18 8
5 2 3 14 5 4 5 8 14 40 0 14 10 16 14 14 10 2 4 6 4 11 13 6
2 1 2 6 2 2 7 6 6 20 14 0 13 7 7 7 6 2 3 5 3 7 7 5
5 3 1 6 2 2 4 6 6 19 10 13 0 6 7 6 5 1 3 6 6 13 8 7
3 1 1 5 1 1 2 4 6 21 16 7 6 0 13 7 7 1 3 5 4 12 11 4
5 1 1 5 2 2 5 6 9 40 14 7 7 13 0 12 15 2 8 11 8 26 10 4
5 4 2 8 5 9 14 22 14 44 14 7 6 7 12 0 28 5 13 16 6 12 5 3
4 2 1 5 2 5 10 14 9 39 10 6 5 7 15 28 0 6 17 17 6 17 6 3
1 0 0 1 0 1 2 3 2 7 1 2 1 1 2 5 6 0 3 4 1 3 1 0
3 1 0 2 1 2 4 7 4 18 4 3 3 3 8 13 17 3 0 12 4 12 3 1
3 1 0 3 1 3 5 9 6 25 6 4 6 5 11 16 17 4 12 0 12 24 7 4
1 0 0 2 1 1 2 4 3 12 4 3 6 4 8 6 6 1 4 12 0 18 7 5
4 1 1 4 2 2 5 5 7 26 11 7 13 12 26 12 17 3 12 24 18 0 21 11
3 0 1 5 1 1 2 3 5 18 13 7 8 11 10 5 6 1 3 7 7 21 0 7
1 0 0 2 0 1 1 2 2 8 6 5 8 4 4 3 3 0 1 4 5 11 7 0
"""
"""Vehicles from every node (row) to every node (column), in hundreds."""


def _roads() -> list[Link]:
    roads = []
    for text in _ROADS.split(","):
        nodes, time, coefficient = text.split()
        for start, end in (nodes.split("-"), reversed(nodes.split("-"))):
            roads.append(Link(start, end, float(time), 1.0, int(coefficient) * 1e-18, 4.0))
    return roads


def _trips() -> list[Trip]:
    table = [row.split() for row in _HUNDREDS.strip().splitlines()]
    return [
        Trip(str(start), str(end), 100.0 * int(count))
        for start, row in enumerate(table, 1)
        for end, count in enumerate(row, 1)
        if count != "0"
    ]


SIOUX_FALLS_LINKS, SIOUX_FALLS_TRIPS = with_connectors(_roads(), _trips())
"""The network of Sioux Falls: 24 nodes and 76 roads, with an origin and a destination at every node, and its trips
between 528 pairs of nodes."""

SIOUX_FALLS_TWO_TRIPS = (Trip("bef_19", "aft_1", 7000.0), Trip("bef_1", "aft_19", 7000.0))
"""OpenSpiel's smaller demand on the network of Sioux Falls: 7000 vehicles each way between the nodes 1 and 19."""
