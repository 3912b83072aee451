"""The names of `import wsl_extraction`, for editors and type checkers."""

from wsl_extraction.api import Copy as Copy, extract as extract
from wsl_extraction.attacks.attack import Attack as Attack
from wsl_extraction.attacks.knowledge import Knowledge as Knowledge
from wsl_extraction.attacks.extraction import Extraction as Extraction
from wsl_extraction.attacks.learning.learning import Learning as Learning
from wsl_extraction.attacks.linear.dimension_coupling import (
    DimensionCoupling as DimensionCoupling,
)
from wsl_extraction.attacks.linear.equation_solving import (
    EquationSolving as EquationSolving,
)
from wsl_extraction.attacks.linear.lowd_meek import LowdMeek as LowdMeek
from wsl_extraction.attacks.relu.functional import Functional as Functional
from wsl_extraction.attacks.tree.axis_search import AxisSearch as AxisSearch
from wsl_extraction.attacks.tree.path_finding import PathFinding as PathFinding
from wsl_extraction.data.columns import Columns as Columns
from wsl_extraction.data.off_domain import OffDomain as OffDomain
from wsl_extraction.data.split import Split as Split
from wsl_extraction.errors import InputError as InputError
from wsl_extraction.objectives.distillation import (
    Distillation as Distillation,
    LogitMatching as LogitMatching,
)
from wsl_extraction.objectives.mixmatch import MixMatch as MixMatch
from wsl_extraction.objectives.objective import Supervised as Supervised
from wsl_extraction.objectives.rotation import Rotation as Rotation
from wsl_extraction.oracle.defences import (
    Defence as Defence,
    Rounded as Rounded,
)
from wsl_extraction.oracle.ledger import (
    Budget as Budget,
    BudgetExceeded as BudgetExceeded,
)
from wsl_extraction.oracle.reveals import (
    Label as Label,
    LabelScore as LabelScore,
    Logits as Logits,
    Scores as Scores,
    TopK as TopK,
)
from wsl_extraction.oracle.side_reveals import (
    Both as Both,
    Leaf as Leaf,
    Partial as Partial,
)
from wsl_extraction.oracle.spaces import Images as Images, Vectors as Vectors
from wsl_extraction.runtime.runtime import Runtime as Runtime
from wsl_extraction.training.recipe import Recipe as Recipe
from wsl_extraction.victims.function import Function as Function
from wsl_extraction.victims.keras_file import (
    KerasFile as KerasFile,
    KerasModel as KerasModel,
)
from wsl_extraction.victims.perceptron import Perceptron as Perceptron
from wsl_extraction.victims.served import Served as Served
from wsl_extraction.victims.sklearn_model import (
    Sklearn as Sklearn,
    SklearnFile as SklearnFile,
)
from wsl_extraction.victims.sklearn_trained import (
    SklearnTrained as SklearnTrained,
)

__version__: str
