"""The words of a digest, one file for each language. A new language is one file, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connectors.email.catalogue import ar, en, es, fr, ru
from connectors.email.texts import Texts

CATALOGUE: Mapping[str, Texts] = MappingProxyType(
    {texts.language: texts for texts in (ar.TEXTS, en.TEXTS, es.TEXTS, fr.TEXTS, ru.TEXTS)}
)


def texts_for(language: str) -> Texts:
    """Those of a language (BCP 47; `es-MX` is read as `es`), English where there are none."""
    return CATALOGUE.get(language.lower().partition("-")[0], en.TEXTS)
