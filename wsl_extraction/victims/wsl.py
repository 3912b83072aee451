"""The paper's ImageNet victim: ResNeXt-101 trained with weak supervision.

Facebook trained it on 940 million public images with 1,500 hashtags and tuned
it on ImageNet. Its weights are under CC BY-NC 4.0
(https://creativecommons.org/licenses/by-nc/4.0/): name their authors, and make
no commercial use of them. See RESPONSIBLE_USE.md.

References:
  D. Mahajan, R. Girshick, V. Ramanathan, K. He, M. Paluri, Y. Li, A. Bharambe,
    L. van der Maaten. Exploring the Limits of Weakly Supervised Pretraining.
    ECCV 2018.
  M. Jagielski, N. Carlini, D. Berthelot, A. Kurakin, N. Papernot. High Accuracy
    and High Fidelity Extraction of Neural Networks. USENIX Security 2020,
    section 4.
"""

from __future__ import annotations

import dataclasses

from wsl_extraction.victims.torchvision import TorchvisionFile
from wsl_extraction.victims.victim import VictimSource

LICENCE = (
    "WSL weights by Facebook (Mahajan et al. 2018), CC BY-NC 4.0: no commercial"
    " use of them; treat surrogates alike")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WSL(VictimSource):
  """ResNeXt-101 32 x Cd, from a published checkpoint file.

  The files are `ig_resnext101_32x8-c38310e5.pth`, `..._32x16-c6f796b0.pth` (the
  paper's), `..._32x32-e4b90b00.pth` and `..._32x48-3e41cc8a.pth`; which it is
  shows in the shapes. The weights are under CC BY-NC 4.0. See
  `torchvision.TorchvisionFile`; the data set needs `image_size` 224.

  Attributes:
    path: The file.
    classes: How the data set's classes must fit, "imagenet", "number" or
      "any".
    precision: In what numbers it computes, "float32" or "mixed_bfloat16".
    batch_size: Images that it sees at once.
    split_groups: See `resnext.resnext`; try False on GPUs.
  """

  path: str
  classes: str = "imagenet"
  precision: str = "float32"
  batch_size: int = 64
  split_groups: bool = True

  def load(self, parts, runtime):
    """Loads the network, from the cache or from the checkpoint.

    Raises:
      InputError: As `torchvision.TorchvisionFile` does, for any file that is
        not of
        a ResNeXt-101 with 32 groups too.
    """
    make = TorchvisionFile(
        depth=101, groups=32, licence=LICENCE, **dataclasses.asdict(self))
    return make.load(parts, runtime)
