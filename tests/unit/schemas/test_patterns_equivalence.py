"""Patterns that say the same in another order or spelling are the same item; python-stix2 is asked whether they do.

The patterns are random and small. Their paths and literals are such as no rule of a kind changes: what is tested
is the normal form, not canonical values.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.fingerprint import Ioc
from schemas.patterns import parse

pytest.importorskip("stix2")
from stix2.equivalence.pattern import equivalent_patterns
from stix2.equivalence.pattern.compare.observation import observation_expression_cmp
from stix2.equivalence.pattern.transform import ChainTransformer, SettleTransformer
from stix2.equivalence.pattern.transform import comparison as inner
from stix2.equivalence.pattern.transform import observation as outer
from stix2.pattern_visitor import create_pattern_object


class Tree(NamedTuple):
    """A pattern: `word` joins `parts`, `[]` is an observation with qualifiers in `tail`, a leaf has no parts."""

    word: str | Leaf
    parts: tuple[Tree, ...] = ()
    tail: str = ""


class Leaf(NamedTuple):
    """One comparison; `spellings` of its literal all mean the same."""

    path: str
    operator: str
    spellings: tuple[str, ...]


LITERALS = [
    ("'x'",),
    ("'y'",),
    (r"'it\'s'",),
    ("5", "+5", "5.0", "5.00"),
    ("-1.5", "-1.50"),
    ("true",),
    ("h'0a'", "h'0A'"),
    ("t'2020-01-01T00:00:00Z'", "t'2020-01-01T00:00:00.0Z'", "t'2020-01-01T00:00:00.000Z'"),
]
TEXTS = [("'x'",), ("'y%'",)]
LISTS = [("('x', 'y')", "('y','x')", "( 'y' ,'x')"), ("(1, 2)", "(2, +1)", "(2.0,1)")]
PATHS = st.sampled_from(["m:n", "m:o.p", "m:s_t", "m:q[*].r"])
LEAVES = (
    st.builds(Leaf, PATHS, st.sampled_from(["=", "!=", "=", "="]), st.sampled_from(LITERALS))
    | st.builds(Leaf, PATHS, st.sampled_from(["LIKE", "MATCHES"]), st.sampled_from(TEXTS))
    | st.builds(Leaf, PATHS, st.just("IN"), st.sampled_from(LISTS))
    | st.builds(Leaf, PATHS, st.sampled_from([">", "<="]), st.sampled_from(LITERALS[3:5]))
)
COMPARISONS = st.recursive(
    LEAVES.map(Tree),
    lambda parts: st.builds(
        Tree, st.sampled_from(["AND", "OR"]), st.lists(parts, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=4,
)
QUALIFIERS = st.sampled_from(
    [
        "",
        "",
        "",
        " WITHIN 5 SECONDS",
        " REPEATS 2 TIMES",
        " START t'2020-01-01T00:00:00Z' STOP t'2021-01-01T00:00:00Z'",
    ]
)
OBSERVATIONS = st.recursive(
    st.builds(Tree, st.just("[]"), COMPARISONS.map(lambda tree: (tree,)), QUALIFIERS),
    lambda parts: st.builds(
        Tree, st.sampled_from(["AND", "OR", "FOLLOWEDBY"]), st.lists(parts, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=3,
)
"""Trees whose inner nodes are never without brackets: AND and OR bind as they are nested, not by precedence."""


def plain(tree: Tree) -> str:
    """The pattern, written in the simplest way."""
    if isinstance(tree.word, Leaf):
        return f"{tree.word.path} {tree.word.operator} {tree.word.spellings[0]}"
    if tree.word == "[]":
        return f"[{plain(tree.parts[0])}]{tree.tail}"
    return "(" + f" {tree.word} ".join(map(plain, tree.parts)) + ")"


def gap(dice: random.Random) -> str:
    return dice.choice(["", " ", "\n", "\t ", " /* why */ "])


def blank(dice: random.Random) -> str:
    return dice.choice([" ", "\n ", "  "])


def respelt(tree: Tree, dice: random.Random, quotes: bool) -> str:
    """The same pattern with operands in another order, other blanks, brackets and spellings."""
    if isinstance(tree.word, Leaf):
        path, operator, spellings = tree.word
        if quotes and dice.random() < 0.3:
            path = path.replace("m:n", "m:'n'")
        if operator == "=" and dice.random() < 0.3:
            operator = "=="
        elif operator == "!=":
            operator = dice.choice(["!=", "<>", "NOT ="])
        text = f"{path}{blank(dice)}{operator}{blank(dice)}{dice.choice(spellings)}"
        return f"({gap(dice)}{text}{gap(dice)})" if dice.random() < 0.2 else text
    if tree.word == "[]":
        text = f"[{gap(dice)}{respelt(tree.parts[0], dice, quotes)}{gap(dice)}]"
        text = f"({text})" if dice.random() < 0.2 else text
        return text + tree.tail.replace(" ", blank(dice))
    parts = [respelt(part, dice, quotes) for part in tree.parts]
    if tree.word != "FOLLOWEDBY":
        dice.shuffle(parts)
    return f"({gap(dice)}" + f"{blank(dice)}{tree.word}{blank(dice)}".join(parts) + f"{gap(dice)})"


def identity(pattern: str) -> frozenset[Ioc]:
    return frozenset(parse(pattern).identities)


BOUNDED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(OBSERVATIONS, st.randoms(use_true_random=False))
@BOUNDED
def test_order_and_spelling_do_not_count(tree: Tree, dice: random.Random) -> None:
    assert identity(respelt(tree, dice, quotes=True)) == identity(plain(tree))


def is_listed(pattern: str) -> bool:
    """Whether rule 3 gives one indicator per alternative."""
    return not parse(pattern).canonical


# python-stix2 also absorbs (`a OR (a AND b)` is `a`), distributes AND over OR and canonicalises some values: that
# grows exponentially, and two sources that write the same thought so differently mean two items. What is left of
# it without these is what the normal form has to agree with, in both directions.
_SIMPLIFY = SettleTransformer(ChainTransformer(inner.FlattenTransformer(), inner.OrderDedupeTransformer()))


class _Inner(outer.ObservationExpressionTransformer):  # type: ignore[misc]
    """Brings what is inside observations into order."""

    def transform_observation(self, ast):  # type: ignore[no-untyped-def]
        ast.operand, changed = _SIMPLIFY.transform(ast.operand)
        return ast, changed


_ORDER = ChainTransformer(
    _Inner(), SettleTransformer(ChainTransformer(outer.FlattenTransformer(), outer.OrderDedupeTransformer()))
)


def same_but_for_order(one: str, other: str) -> bool:
    trees = [_ORDER.transform(create_pattern_object(pattern, version="2.1"))[0] for pattern in (one, other)]
    return bool(observation_expression_cmp(*trees) == 0)


@given(OBSERVATIONS, st.randoms(use_true_random=False))
@BOUNDED
def test_python_stix2_takes_for_the_same_what_is_respelt(tree: Tree, dice: random.Random) -> None:
    # it takes the quotes around a step of a path for a part of its name, and can't read comments
    other = respelt(tree, dice, quotes=False).replace("/* why */", " ")
    assert same_but_for_order(plain(tree), other)
    assert identity(plain(tree)) == identity(other)


FEW = st.recursive(
    st.builds(
        Tree,
        st.builds(
            Leaf,
            st.sampled_from(["m:n", "m:o"]),
            st.sampled_from(["=", "!=", "LIKE"]),
            st.sampled_from([("'x'",), ("'y'",)]),
        ),
    ),
    lambda parts: st.builds(
        Tree, st.sampled_from(["AND", "OR"]), st.lists(parts, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=3,
)
FEW_OBSERVATIONS = st.recursive(
    st.builds(Tree, st.just("[]"), FEW.map(lambda tree: (tree,)), st.sampled_from(["", "", " WITHIN 5 SECONDS"])),
    lambda parts: st.builds(
        Tree, st.sampled_from(["AND", "OR", "FOLLOWEDBY"]), st.lists(parts, min_size=2, max_size=2).map(tuple)
    ),
    max_leaves=2,
)
"""So few that two of them are often the same."""


@given(FEW_OBSERVATIONS, FEW_OBSERVATIONS)
@settings(BOUNDED, max_examples=200)
def test_python_stix2_agrees_on_what_is_the_same(one_tree: Tree, other_tree: Tree) -> None:
    one, other = plain(one_tree), plain(other_tree)
    ours, theirs = identity(one) == identity(other), same_but_for_order(one, other)
    if is_listed(one) or is_listed(other):
        # rule 3: a list of alternatives is the same however they are bracketed, `[a] OR [b]` as `[a OR b]`; and
        # `[a AND a]`, which is complex, is not the indicator `a`
        assert ours or not theirs or is_listed(one) != is_listed(other)
        return
    assert ours == theirs, (one, other)


@given(FEW_OBSERVATIONS, FEW_OBSERVATIONS)
@settings(BOUNDED, max_examples=100)
def test_what_python_stix2_holds_for_different_is_not_merged(one_tree: Tree, other_tree: Tree) -> None:
    one, other = plain(one_tree), plain(other_tree)
    if not is_listed(one) and identity(one) == identity(other):
        assert equivalent_patterns(one, other)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("[m:n != 'x' OR (m:n != 'x' AND m:o = 'y')]", "[m:n != 'x']", "absorption"),
        (
            "[m:n = 'x' AND (m:o = 'y' OR m:p = 'z')]",
            "[(m:n = 'x' AND m:o = 'y') OR (m:n = 'x' AND m:p = 'z')]",
            "distribution",
        ),
        (
            "([m:n = 'x'] OR [m:o = 'y']) AND [m:p = 'z']",
            "([m:n = 'x'] AND [m:p = 'z']) OR ([m:o = 'y'] AND [m:p = 'z'])",
            "distribution between observations",
        ),
        ("[m:n = 'x' AND m:n = 'x']", "[m:n = 'x']", "rule 3: an AND is complex, whatever it comes to"),
    ],
)
def test_what_python_stix2_merges_and_the_hub_does_not(one: str, other: str, why: str) -> None:
    assert equivalent_patterns(one, other), why
    assert identity(one) != identity(other), why


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("[m:n = 'x' OR m:o = 'y']", "[m:n = 'x'] OR [m:o = 'y']", "rule 3: one indicator per alternative"),
        ("[m:n IN ('x', 'y')]", "[m:n IN ('y', 'x', 'x')]", "a set has no member twice"),
        ("[m:'n' LIKE 'x']", "[m:n LIKE 'x']", "the quotes are no part of the name"),
    ],
)
def test_what_the_hub_merges_and_python_stix2_does_not(one: str, other: str, why: str) -> None:
    assert not equivalent_patterns(one, other), why
    assert identity(one) == identity(other), why
