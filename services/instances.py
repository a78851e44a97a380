"""The connectors that an operator set up: the tables of the file TOCSIN_CONNECTORS, read and checked."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.base import Manifest, Settings
from connectors.http import place as place_of
from schemas.agreement import line_of
from schemas.errors import Misconfigured, clip
from services.directory import text_of

Does = Literal["push", "publish", "pull"]
OF_THE_RUNTIME = ("connector", "partner", "does", "every_seconds", "off", "private", "ca_file", "language")


class _Common(BaseModel):
    """What the runtime itself reads of a connector's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connector: str
    partner: str
    does: Does | None = None
    every_seconds: int | None = Field(default=None, ge=1, le=7 * 86_400)
    off: bool = False
    private: bool = False
    ca_file: Path | None = None
    language: str = Field(default="en", pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")


class Instance(NamedTuple):
    """One connector as it is set up. `destination` (hex) is another where it would go to another place; empty where
    nothing goes out. `text` is other where anything of it is."""

    name: str
    manifest: Manifest
    partner: str
    does: Does
    settings: Settings
    every_seconds: int
    private: bool
    ca_file: Path | None
    language: str
    destination: str
    text: str


def read_instances(file: Path, connectors: Mapping[str, Manifest]) -> Mapping[str, Instance]:
    """By name; none where there is no file. Raises `Misconfigured` with file, line and remedy."""
    if not file.exists():
        return MappingProxyType({})
    text = text_of(file)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(
            "not-toml", f"this is not TOML: {error}", where=str(file), hint="mend the place it names"
        ) from None
    except RecursionError:
        raise Misconfigured(
            "not-toml", "this is nested too deeply", where=str(file), hint="look for [[[ in it"
        ) from None
    found = {}
    for name, table in document.items():
        instance = _instance(name, table, f"{file}:{line_of([name], text)}", connectors, file, text)
        if instance is not None:
            found[name] = instance
    return MappingProxyType(found)


def is_name(text: str) -> bool:
    """Whether a connector can be called that."""
    return text.isascii() and text.replace("-", "").replace("_", "").isalnum() and len(text) <= 64


def _instance(
    name: str, table: Any, where: str, connectors: Mapping[str, Manifest], file: Path, text: str
) -> Instance | None:
    """None where it is switched off."""
    if not isinstance(table, dict):
        raise Misconfigured(
            "connector-invalid", f"{clip(name)} is no table", where=where, hint=f"write [{clip(name)}] above it"
        )
    if not is_name(name):
        raise Misconfigured(
            "connector-invalid",
            f"{clip(name)!r} can't be a connector's name",
            where=where,
            hint="use up to 64 letters, digits, - and _",
        )
    common = _checked(_Common, {k: v for k, v in table.items() if k in OF_THE_RUNTIME}, name, file, text)
    manifest = connectors.get(common.connector)
    if manifest is None:
        raise Misconfigured(
            "connector-unknown",
            f"there is no connector {clip(common.connector)!r}",
            where=where,
            hint=f"it is one of {', '.join(connectors)}",
        )
    able = [each for each in get_args(Does) if getattr(manifest, each) is not None]
    if not able:
        raise Misconfigured(
            "connector-invalid",
            f"{manifest.name} adds formats to the feeds, and needs no table",
            where=where,
            hint="remove the table",
        )
    does = common.does or (able[0] if len(able) == 1 else None)
    if does is None or does not in able:
        raise Misconfigured(
            "connector-invalid",
            f"{manifest.name} can do one of: {', '.join(able)}",
            where=where,
            hint=f'add does = "{able[0]}"',
        )
    settings = _checked(
        manifest.settings, {k: v for k, v in table.items() if k not in OF_THE_RUNTIME}, name, file, text
    )
    if common.off:
        return None
    return Instance(
        name=name,
        manifest=manifest,
        partner=common.partner,
        does=does,
        settings=settings,
        every_seconds=common.every_seconds or manifest.every_seconds,
        private=common.private,
        ca_file=common.ca_file,
        language=common.language,
        destination="" if does == "pull" else _digest(manifest, common, settings),
        text=orjson.dumps([common.model_dump(mode="json"), settings.model_dump(mode="json")]).decode(),
    )


def _checked(model: Any, table: Mapping[str, Any], name: str, file: Path, text: str) -> Any:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        path = [name, *(str(step) for step in first["loc"])]
        more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
        hint = {"extra_forbidden": "remove the key, or mend its spelling", "missing": "add the key"}
        raise Misconfigured(
            "connector-invalid",
            f"{'.'.join(path)}: {first['msg'].removeprefix('Value error, ')}{more}",
            where=f"{file}:{line_of(path, text)}",
            hint=hint.get(first["type"], "the connector's README says what it takes"),
        ) from None


def _digest(manifest: Manifest, common: _Common, settings: Settings) -> str:
    """By what one sees that it would send to another place, or another partner's things. What `destination` leaves
    out counts too where it is a host, or says who is believed to be one; where it names nothing, all counts."""
    values = settings.model_dump(mode="json")
    place = {name: values[name] for name in manifest.destination or values}
    ca_file = None if common.ca_file is None else str(common.ca_file)
    hosts = sorted({place_of(url) for url in manifest.hosts(settings)})
    parts = [manifest.name, common.partner, common.does, common.private, ca_file, hosts, place]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
