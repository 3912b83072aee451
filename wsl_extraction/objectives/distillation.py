"""Learning from the oracle's responses instead of labels."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from keras import ops

from wsl_extraction import checks
from wsl_extraction.objectives.objective import Batch, Classification
from wsl_extraction.oracle.reveals import Logits, Reveal


@dataclasses.dataclass(frozen=True)
class Distillation(Classification):
  """Cross-entropy with the oracle's response, both at a temperature T.

  With the oracle's logits t and the surrogate's z, the loss is
  H(softmax(t / T), softmax(z / T)). Scores p stand for logits log p, which
  differ from the real ones by a constant that the softmax takes away, so that
  scores and logits teach the same.

  The gradient of this loss shrinks as 1 / T^2. `scaled` multiplies it by T^2,
  as Hinton et al. advise: steps then have one size at any temperature, and one
  weight beside another term, such as `Rotation`'s. Without it a search of
  temperatures is one of learning rates too. The extraction paper names no such
  factor; its cells are without.

  What is done with mass that the oracle hides (label and score, top-k): the
  hidden classes count as one outcome, "something else", with probability
  r = 1 - sum of the revealed scores. The temperature acts on the k + 1 known
  probabilities, and what "something else" then has is shared evenly by the
  hidden classes. (Sharing first and heating then would give the hidden classes
  a weight that grows with their number: at 1,000 classes, k = 5 and T = 1.5,
  a hidden mass of 2% would become about 40%.) Below T = 1 each hidden class is
  heated by itself. A bare label is a score of 1.

  Attributes:
    temperature: T > 0; 1.5 was found by random search.
    scaled: Multiplies the loss by T^2.

  References:
    Jagielski et al. 2020, section 4.1.
    Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015,
      section 2.
  """

  temperature: float = 1.5
  scaled: bool = False
  name: ClassVar[str] = "distillation"

  def __post_init__(self):
    checks.number("Distillation.temperature", self.temperature, above=0)
    checks.flag("Distillation.scaled", self.scaled)

  @property
  def entries(self) -> frozenset[str]:
    return frozenset({"targets", "revealed"})

  def losses(self, logits, batch):
    log_surrogate = ops.log_softmax(logits / self.temperature, axis=-1)
    losses = -ops.sum(self.heated(batch) * log_surrogate, axis=-1)
    return losses * self.temperature**2 if self.scaled else losses

  def heated(self, batch: Batch) -> Any:
    """The oracle's probabilities [b, c] at the temperature."""
    revealed = ops.cast(batch["revealed"], "float32")
    hidden = 1.0 - revealed
    count = ops.maximum(ops.sum(hidden, axis=-1, keepdims=True), 1.0)
    # "Targets" shares the hidden mass evenly already, log(r / m) a class; what
    # is due is log(r) / T - log(m). Below T = 1 that would lift a hidden class
    # above a named one: there each is heated by itself.
    share = min(1.0 / self.temperature - 1.0, 0.0) * ops.log(count)
    return ops.softmax(
        batch["targets"] / self.temperature + hidden * share, axis=-1)


@dataclasses.dataclass(frozen=True)
class LogitMatching(Classification):
  """Squared error on logits, each row taken relative to its mean.

  The mean is taken away because a softmax does not see it.

  References:
    Ba, Caruana. Do Deep Nets Really Need to be Deep? 2014, section 2.3.
  """

  name: ClassVar[str] = "logit_matching"

  @property
  def entries(self) -> frozenset[str]:
    return frozenset({"targets"})

  @property
  def needs(self) -> tuple[Reveal, ...]:
    return (Logits(),)

  def losses(self, logits, batch):
    gap = logits - batch["targets"]
    gap = gap - ops.mean(gap, axis=-1, keepdims=True)
    return ops.mean(ops.square(gap), axis=-1)
