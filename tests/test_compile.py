"""torch's own compiler and transforms: a training step is one graph, and what cannot be had is refused."""

import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch
from stepping import eager_and_in_one_graph

from bwot import BatchwiseOTLoss, sinkhorn


@pytest.fixture(autouse=True)
def plain_types():
    """The type checker that the tests run under is no part of a graph."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.compiler.reset()


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("plan_gradient", ["constant", "kernel"])
@pytest.mark.parametrize("lam", [10.0, 200.0])
def test_a_training_step_compiles_to_one_graph_with_the_same_gradient(balanced, plan_gradient, lam):
    loss = BatchwiseOTLoss(lam=lam, plan_gradient=plan_gradient, balanced=balanced)
    (value, gradient), (value_of_graph, gradient_of_graph) = eager_and_in_one_graph(loss)
    assert value_of_graph == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(gradient_of_graph, gradient, rtol=1e-10, atol=1e-13)


EXACT = """
import torch
from bwot import BatchwiseOTLoss
from stepping import eager_and_in_one_graph

loss = BatchwiseOTLoss(lam=10.0, iterations=2000, plan_gradient="exact")
(_, gradient), (_, gradient_of_graph) = eager_and_in_one_graph(loss)
torch.testing.assert_close(gradient_of_graph, gradient, rtol=1e-8, atol=1e-12)
"""


def test_the_exact_gradient_compiles_to_one_graph():
    """In a process without the type checker, which torch cannot follow into a function with a derivative of its own."""
    subprocess.run(
        [sys.executable, "-c", EXACT], cwd=Path(__file__).parent, check=True, timeout=200
    )


def test_shapes_and_lam_may_change_in_a_graph():
    """torch makes both symbols once they have changed."""
    compiled = torch.compile(lambda cost, lam: sinkhorn(cost, lam).plan, fullgraph=True, dynamic=True, backend="aot_eager")  # fmt: skip
    for size, lam in ((4, 10.0), (7, 5.0), (9, 7.0)):
        cost = torch.rand(size, size + 1)
        torch.testing.assert_close(compiled(cost, lam), sinkhorn(cost, lam).plan)


def test_a_bad_cost_is_refused_from_inside_a_graph():
    compiled = torch.compile(lambda cost: sinkhorn(cost).plan, fullgraph=True, backend="aot_eager")
    assert compiled(torch.rand(4, 5)).sum().item() == pytest.approx(1)
    bad = torch.rand(4, 5)
    bad[0, 1] = torch.nan
    with pytest.raises(ValueError, match="cost must be finite; 1 of 20"):
        compiled(bad)


def test_vmap_is_refused_with_the_way_to_do_it():
    with pytest.raises(TypeError, match="leading dimensions"):
        torch.func.vmap(lambda cost: sinkhorn(cost).plan)(torch.rand(3, 4, 5))


def test_functional_gradients_are_those_of_backward():
    torch.manual_seed(1)
    loss, labels = BatchwiseOTLoss(), torch.randint(3, (9,))
    embeddings = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    loss(embeddings, labels).backward()
    gradient = torch.func.grad(lambda x: loss(x, labels))(embeddings.detach())
    torch.testing.assert_close(gradient, embeddings.grad, rtol=1e-10, atol=1e-13)


def test_vmap_of_a_loss_is_refused_with_the_way_to_do_it():
    labels = torch.tensor([0, 1, 0, 1])
    with pytest.raises(TypeError, match="no vmap rule"):
        torch.func.vmap(lambda each: BatchwiseOTLoss()(each, labels))(torch.rand(3, 4, 2))
