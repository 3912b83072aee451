"""A gradient bandit over the classes of a pool."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError

REWARDS = ("certainty", "diversity", "loss")
_LEAST = 1e-12  # probability in a logarithm


@dataclasses.dataclass(frozen=True)
class Bandit:
  """Learns which of the pool's own classes are worth asking about.

  Each class z has a preference H(z), 0 at first; classes are drawn with
  probabilities pi = softmax(H). After the response to row t, of class z and
  with reward r, and with r' the mean of earlier rewards,

    H(z)  += a (r - r') (1 - pi(z)),   H(z') -= a (r - r') pi(z') for z' != z,

  where a = 1 / N(z) and N(z) counts the rows of z so far, this one included.
  The first row moves nothing, as there is no r'.

  Three rewards, each brought to 0..1 by its least and largest value so far
  (1/2 while these are equal), are averaged. With y the oracle's probabilities:

  - certainty: the largest y less the second;
  - diversity: the sum over classes of max(0, y - mean of y so far);
  - loss: the cross-entropy of the surrogate, as it was when the row was chosen,
    with y.

  Attributes:
    rewards: Which of them.

  References:
    Orekondy, Schiele, Fritz. Knockoff Nets: Stealing Functionality of
      Black-Box Models. CVPR 2019, section 4.1.2.
    Sutton, Barto. Reinforcement Learning. 2018, section 2.8 (the update).
  """

  rewards: tuple[str, ...] = REWARDS

  def __post_init__(self):
    named = self.rewards
    if isinstance(named, str) or not isinstance(named, (tuple, list)) or (
        not named or len(set(named)) < len(named)):
      checks.refuse("Bandit.rewards", named, "one or more of "
                    f"{checks.listed(REWARDS)}, such as ('certainty',)")
    for name in named:
      checks.one_of("Bandit.rewards", name, REWARDS)
    object.__setattr__(self, "rewards", tuple(named))

  @property
  def needs_surrogate(self) -> bool:
    """True if a reward reads the surrogate's outputs."""
    return "loss" in self.rewards

  def scores(self, responses: np.ndarray,
             losses: np.ndarray | None = None) -> np.ndarray:
    """The rewards [t] of rows in the order in which they were asked about.

    Args:
      responses: The oracle's probabilities [t, c].
      losses: See `losses`, [t]; for the reward of that name.
    """
    raw = {"certainty": certainty, "diversity": diversity}
    kinds = []
    for name in self.rewards:
      if name == "loss" and losses is None:
        raise InputError("the reward 'loss' needs the surrogate's losses")
      kinds.append(rescaled(
          np.asarray(losses, np.float64) if name == "loss"
          else raw[name](np.asarray(responses, np.float64))))
    return np.mean(kinds, axis=0)

  def preferences(self, classes: np.ndarray, rewards: np.ndarray,
                  arms: int) -> np.ndarray:
    """H [arms] after rows of `classes` [t] brought `rewards` [t]."""
    preferences, counts = np.zeros(arms), np.zeros(arms, np.int64)
    total = 0.0
    for t, (z, reward) in enumerate(zip(classes, rewards, strict=True)):
      counts[z] += 1
      if t:
        step = (reward - total / t) / counts[z]
        shares = softmax(preferences)
        preferences -= step * shares
        preferences[z] += step
      total += reward
    return preferences

  def choose(self, preferences: np.ndarray, pool: np.ndarray, n: int,
             rng: np.random.Generator, asked: np.ndarray) -> np.ndarray:
    """Draws n rows: a class by its preference, then a row of it at random.

    A class that has run out leaves its share to the others.

    Args:
      preferences: H [arms].
      pool: The classes [m] of the pool's rows.
      n: How many, at most what is left.
      rng: The source of randomness.
      asked: Positions in the pool that are not to be chosen.

    Returns:
      Different positions int64 [n], in the order of the draws.

    Raises:
      InputError: n is more than what is left.
    """
    left = np.ones(len(pool), bool)
    left[asked] = False
    if n > left.sum():
      raise InputError(f"a bandit asks for {n} examples and the pool has "
                       f"{left.sum()} left; lower the budget or enlarge it")
    order = rng.permutation(len(pool))
    order = order[left[order]]
    waiting = [order[pool[order] == z].tolist()[::-1]
               for z in range(len(preferences))]
    shares, chosen = softmax(preferences), []
    while len(chosen) < n:
      open_shares = np.where([bool(rows) for rows in waiting], shares, 0)
      if not open_shares.sum():  # all that is left is of no share at all
        open_shares = np.array([float(bool(rows)) for rows in waiting])
      drawn = rng.choice(len(shares), n - len(chosen),
                         p=open_shares / open_shares.sum())
      chosen += [waiting[z].pop() for z in drawn if waiting[z]]
    return np.array(chosen, np.int64)


def certainty(responses: np.ndarray) -> np.ndarray:
  """The largest less the second largest of each row of [t, c]: [t]."""
  second, first = np.partition(responses, (-2, -1), axis=1)[:, -2:].T
  return first - second


def diversity(responses: np.ndarray) -> np.ndarray:
  """What rows [t, c] have above the mean of those before: [t].

  Before the first the mean is uniform.
  """
  t, c = responses.shape
  before = np.concatenate([np.zeros((1, c)), responses.cumsum(axis=0)[:-1]])
  means = before / np.maximum(np.arange(t), 1)[:, None]
  means[:1] = 1 / c
  return np.maximum(responses - means, 0).sum(axis=1)


def losses(responses: np.ndarray, surrogate: np.ndarray) -> np.ndarray:
  """Cross-entropies [t] of the surrogate's probabilities with the oracle's."""
  logs = np.log(np.maximum(np.asarray(surrogate, np.float64), _LEAST))
  return -(responses * logs).sum(axis=1)


def rescaled(values: np.ndarray) -> np.ndarray:
  """Each of [t] by the least and the largest up to it: 0..1; 1/2 if equal."""
  low, high = np.minimum.accumulate(values), np.maximum.accumulate(values)
  width = high - low
  return np.where(width > 0, (values - low) / np.where(width > 0, width, 1),
                  0.5)


def softmax(preferences: np.ndarray) -> np.ndarray:
  """Probabilities [arms] of preferences [arms]."""
  powers = np.exp(preferences - preferences.max())
  return powers / powers.sum()
