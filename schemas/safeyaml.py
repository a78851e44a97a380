"""YAML from strangers (YAML 1.2.2), kept to what JSON could say: one document of lists, maps and texts.

What makes a small text large (aliases), or other than it looks (tags), is refused before anything is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from schemas.errors import BodyRefused

MAX_BYTES = 8 * 1024 * 1024
MAX_NODES = 500_000
MAX_DEPTH = 16

_BEGINS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_CHAR_TAGS = (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def loads(raw: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Lists, maps and texts: a number, a date and `no` are texts too. Of equal keys the first is a fault.

    Raises `BodyRefused`: `too-large`, `too-deep`, `too-complex`, `yaml-alias`, `yaml-tag`, `duplicate-key`,
    `not-yaml` (`where` is the line).
    """
    if len(raw) > max_bytes:
        raise _refused("too-large", f"it has more than {max_bytes:,} bytes", status=413)
    try:
        _check(raw)
        return yaml.load(raw, Loader=_Texts)  # noqa: S506 - a loader that makes texts only
    except yaml.MarkedYAMLError as error:
        raise _refused("not-yaml", "this is not YAML", _line(error.problem_mark)) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        raise _refused("not-yaml", "this is not YAML") from None


class _Texts(yaml.CBaseLoader):
    """Makes texts of all scalars."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep=deep)
        if len(made) != len(node.value):
            raise _refused("duplicate-key", "a key stands twice in one map", _line(node.start_mark))
        return made


def _check(raw: bytes) -> None:
    depth = nodes = documents = 0
    for event in yaml.parse(raw, Loader=yaml.CBaseLoader):
        where = _line(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refused("yaml-alias", "it has anchors or aliases", where)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            nodes += 1
            if event.tag not in _CHAR_TAGS:
                raise _refused("yaml-tag", "it has tags", where)
        depth += isinstance(event, _BEGINS) - isinstance(event, _ENDS)
        if depth > MAX_DEPTH:
            raise _refused("too-deep", f"nested deeper than {MAX_DEPTH} levels", where)
        if nodes > MAX_NODES:
            raise _refused("too-complex", f"more than {MAX_NODES:,} values", where)
        if documents > 1:
            raise _refused("not-yaml", "it has several documents", where)


def _line(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}"


def _refused(code: str, what: str, where: str = "", status: int = 400) -> BodyRefused:
    return BodyRefused(code, what, where=where, hint="write it in plain YAML: lists, maps and texts", status=status)
