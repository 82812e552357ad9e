"""The fixed-point iteration on small linear maps, whose fixed points are known."""

import numpy as np

from baselines.continuous.hjb_fokker_planck.mixing import LARGEST_GROWTH, Mixing

SHAPE = (1, 1, 6)


def contraction(strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A map x -> c - strength * B x between densities of mass 1, with B positive definite; B and c."""
    rng = np.random.default_rng(seed)
    centred = np.eye(6) - 1 / 6
    matrix = centred @ np.diag(rng.uniform(0.2, 1.0, 6)) @ centred
    point = rng.uniform(0.5, 1.0, 6)
    point /= point.sum()
    return strength * matrix, point + strength * matrix @ point


def iterate(mixing: Mixing, strength: float, n_iterations: int) -> np.ndarray:
    matrix, shift = contraction(strength)
    guess = np.full(6, 1 / 6)
    for _ in range(n_iterations):
        guess = mixing.next_guess(guess.reshape(SHAPE), (shift - matrix @ guess).reshape(SHAPE)).ravel()
    exact = np.linalg.solve(np.eye(6) + matrix, shift)
    return np.abs(guess - exact)


def test_a_map_that_repels_is_solved_in_as_many_iterations_as_it_has_directions() -> None:
    """Anderson's acceleration of a linear map is a Krylov method: it ends after dimension + 1 iterations."""
    assert iterate(Mixing(0.1, 10), 5.0, 7).max() < 1e-6
    assert iterate(Mixing(0.1, 0), 5.0, 7).max() > 1e-3


def test_plain_steps_are_shortened_until_they_contract() -> None:
    mixing = Mixing(1.0, 0)
    assert iterate(mixing, 8.0, 200).max() < 1e-6
    assert mixing.step < 0.5


def test_a_guess_that_is_much_worse_is_given_up_for_the_best_one() -> None:
    mixing = Mixing(0.5, 3)
    best, direction = np.full(SHAPE, 1 / 6), np.zeros(SHAPE)
    direction[..., 0], direction[..., 1] = 0.01, -0.01
    np.testing.assert_allclose(mixing.next_guess(best, best + direction), best + 0.5 * direction)
    far = best[..., ::-1] + 5.0 * direction
    again = mixing.next_guess(far, far + 1.01 * LARGEST_GROWTH * direction)
    np.testing.assert_allclose(again, best + 0.25 * direction, rtol=1e-12)


def test_guesses_are_densities() -> None:
    """A step that overshoots below zero is cut off there, and the mass is kept."""
    mixing = Mixing(1.0, 5)
    guess = np.array([0.1, 0.9, 0.0, 0.0, 0.0, 0.0]).reshape(SHAPE)
    first = mixing.next_guess(guess, guess[..., [1, 0, 2, 3, 4, 5]])
    second = mixing.next_guess(first, first + 0.9 * (first - guess))
    assert (second >= 0.0).all()
    np.testing.assert_allclose(second.sum(), 1.0)
