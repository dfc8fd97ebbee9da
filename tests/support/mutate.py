"""scripts/mutate-gates: mutants of the gates, each in a forked process that runs the gates' tests.

Comparisons (other operator, moved boundary, opposite), boolean operators and their operands, `not`, arithmetic, numbers, true and false, conditions
that are always or never so, and returns. Sentences that people read are left alone. A mutant that no test notices has survived."""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from tests.support import trip
from tests.support.order_model import drive

ROOT = Path(__file__).resolve().parents[2]
GATES = ROOT / "headend" / "control" / "gates"
#: the quick ones first: most mutants fall there
TESTS = (
    "tests/headend/control/gates", "tests/headend/control/test_trip_machine.py",
    "tests/headend/control/test_order_model.py::test_no_trip_leaves_that_must_not",
)  # fmt: skip
#: seconds after which a mutant that does not end counts as noticed
LONGEST = 600
#: what is imported here has not been rewritten by pytest
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
#: imported here, so that no child need do it
WARM = (hypothesis, trip, drive)

OTHERS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed file. `what`: line and change."""

    file: str
    what: str
    tree: ast.Module


def mutants(path: Path) -> Iterator[Mutant]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    spoken = {id(inner) for node in nodes if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}
    for place, node in enumerate(nodes):
        if id(node) in spoken or not hasattr(node, "lineno"):
            continue
        for new in _instead(node):
            changed = copy.deepcopy(tree)
            old = list(ast.walk(changed))[place]
            _replace(changed, old, new)
            yield Mutant(
                path.stem,
                f"line {node.lineno}: {ast.unparse(node)[:70]}  →  {ast.unparse(new)[:70]}",
                ast.fix_missing_locations(changed),
            )


def _instead(node: ast.AST) -> Iterator[ast.AST]:
    """What might stand in its place."""
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            for other in OTHERS[type(op)]:
                new = copy.deepcopy(node)
                new.ops[k] = other()
                yield new
    elif isinstance(node, ast.BoolOp):
        new = copy.deepcopy(node)
        new.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield new
        for k in range(len(node.values)):
            rest = [copy.deepcopy(value) for j, value in enumerate(node.values) if j != k]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        new_sum = copy.deepcopy(node)
        new_sum.op = SUMS[type(node.op)]()
        yield new_sum
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.If):
        for always in (True, False):
            new_if = copy.deepcopy(node)
            new_if.test = ast.Constant(always)
            yield new_if
    elif isinstance(node, ast.Return) and node.value is not None:
        nothing = isinstance(node.value, ast.Constant) and node.value.value is None
        yield ast.Return(ast.Constant("mutant" if nothing else None))


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list) and any(item is old for item in value):
                value[next(k for k, item in enumerate(value) if item is old)] = new
                return
    raise AssertionError("the node is not in the tree")


def _try(mutant: Mutant | None) -> int:
    """A child that runs the tests against it; its process id."""
    child = os.fork()
    if child:
        return child
    signal.alarm(LONGEST)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    code = 1
    with contextlib.suppress(BaseException):
        if mutant is not None:
            name = "headend.control.gates" + ("" if mutant.file == "__init__" else f".{mutant.file}")
            module = importlib.import_module(name)
            exec(compile(mutant.tree, mutant.file, "exec"), module.__dict__)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", QUIET, *TESTS]))
    os._exit(0 if code == 0 else 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate-gates", description=__doc__)
    parser.add_argument("--gate", help="only this file of headend/control/gates")
    parser.add_argument("--least", type=float, default=85.0, help="score below which the exit code is 1")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    os.chdir(ROOT)
    assert WARM
    _, status = os.waitpid(_try(None), 0)
    if status:
        print("the tests of the gates fail without any change; mend them first", file=sys.stderr)
        return 1
    todo = [
        m for path in sorted(GATES.glob("*.py")) if given.gate in (None, path.stem) for m in mutants(path)
    ]
    begun, running, survived, endless = time.perf_counter(), dict[int, Mutant](), list[Mutant](), 0
    waiting = iter(todo)
    while True:
        while len(running) < given.workers and (mutant := next(waiting, None)) is not None:
            running[_try(mutant)] = mutant
        if not running:
            break
        child, status = os.wait()
        mutant = running.pop(child)
        endless += os.WIFSIGNALED(status)
        if status == 0:
            survived.append(mutant)
            print(f"survived: {mutant.file} {mutant.what}", flush=True)
    score = 100 * (len(todo) - len(survived)) / len(todo)
    print(
        f"{len(todo)} mutants, {len(todo) - len(survived)} noticed ({endless} of them by not ending), {len(survived)} survived: "
        f"{score:.1f} % in {time.perf_counter() - begun:.0f} s"
    )
    return 0 if score >= given.least else 1


if __name__ == "__main__":
    raise SystemExit(main())
