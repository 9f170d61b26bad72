"""A test kit: say how one is made and give inputs, and an operator, an architecture or an attack inherits the suite.

The classes hold plain assertions; pytest runs them where a subclass is named ``Test...``:

    from lip_plugin.testing import OperatorTests

    class TestNegation(OperatorTests):
        def make(self):
            return Negation()

        def inputs(self):
            return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
"""

from lip_plugin.testing.architectures import ArchitectureTests as ArchitectureTests
from lip_plugin.testing.attacks import AttackTests as AttackTests
from lip_plugin.testing.linear import LinearProblem as LinearProblem
from lip_plugin.testing.linear import linear_problem as linear_problem
from lip_plugin.testing.operators import OperatorTests as OperatorTests
