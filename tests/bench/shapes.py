"""The shapes of the public feeds beside the project, where these are there."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tests.bench.incoming import Shape, shapes_of
from tests.bench.processes import ROOT

REAL = ROOT.parent / "shared" / "data"


def real_shapes() -> Sequence[Shape]:
    files = sorted([*REAL.glob("stix21/*.stix2"), *REAL.glob("stix20/*.json")])
    return [shape for file in files for shape in shapes_of(orjson.loads(file.read_bytes())["objects"])]
