"""Learning from the oracle's first choices, as if they were labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from wsl_extraction.objectives.objective import Classification


@dataclasses.dataclass(frozen=True)
class StolenLabels(Classification):
  """Cross-entropy with the class that the oracle finds most likely.

  Scores, where they are revealed, are left out but for their order; of equal
  ones the first class counts.

  References:
    Correia-Silva, Berriel, Badue, de Souza, Oliveira-Santos. Copycat CNN:
      Stealing Knowledge by Persuading Confession with Random Non-Labeled Data.
      IJCNN 2018 (the term).
  """

  name: ClassVar[str] = "stolen_labels"

  @property
  def entries(self) -> frozenset[str]:
    return frozenset({"targets"})

  def losses(self, logits, batch):
    return ops.sparse_categorical_crossentropy(
        ops.argmax(batch["targets"], axis=-1), logits, from_logits=True)
