"""The handling of an item: what the sharing policy needs to know of it and STIX has no field for.

It travels as a STIX property-extension (2.1 section 7.3) on any object; what each field means, and what
its absence means, is in deploy/policy.md, "Handling". It never leaves the hub, but for `outgoing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError

from schemas.errors import ItemRefused, clip
from schemas.timestamps import parse_time

HANDLING_ID = "extension-definition--f779a2d8-6766-41dd-870b-7bd55ddf3d6d"

Category = Literal[
    "shutdown",
    "censorship",
    "spyware",
    "surveillance",
    "intrusion",
    "phishing",
    "account-takeover",
    "ddos",
    "doxxing",
    "harassment",
    "defamation",
    "impersonation",
    "device-seizure",
    "intimate-media",
]
Purpose = Literal["detect", "protect", "assist", "respond"]
ConsentStatus = Literal["not-required", "granted", "withdrawn", "unknown"]
Technique = Literal["drop", "generalise", "pseudonymise", "host-only", "deny"]
Kind = Literal["platform", "government", "ngo", "cert"]

CATEGORIES: tuple[Category, ...] = get_args(Category)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
CONSENT_STATUSES: tuple[ConsentStatus, ...] = get_args(ConsentStatus)
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)

_ASSIGNED = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW
    BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI
    FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN
    IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME
    MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF
    PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE
    YT ZA ZM ZW
    """.split()  # noqa: SIM905 - as a list of literals it fills a screen
)
_USER_ASSIGNED = frozenset(f"X{chr(letter)}" for letter in range(ord("A"), ord("Z") + 1))
COUNTRIES = _ASSIGNED | _USER_ASSIGNED
"""ISO 3166-1 alpha-2 (2020 edition), and its user-assigned codes XA to XZ."""


def _country(code: str) -> str:
    # a code that no state has would quietly shield that state's government from every rule: UK is GB
    if code not in COUNTRIES:
        raise ValueError(f"{clip(code, 20)!r} is no country code of ISO 3166-1 (two capital letters)")
    return code


def _time(text: str) -> str:
    try:
        parse_time(text)
    except ItemRefused as error:
        raise ValueError(f"{error.what}; {error.hint}") from None
    return text


Country = Annotated[str, AfterValidator(_country)]
Time = Annotated[str, AfterValidator(_time)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Selector = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,250}(\.(\[[0-9]{1,6}\]|[A-Za-z0-9_-]{1,250})){0,16}$")]

MAX_ENTRIES = 300
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Consent(BaseModel):
    """The consent of the people concerned; `kinds` of recipients, `purposes` and `until` narrow a grant."""

    model_config = _FROZEN

    status: ConsentStatus
    kinds: tuple[Kind, ...] | None = Field(default=None, max_length=MAX_ENTRIES)
    purposes: tuple[Purpose, ...] | None = Field(default=None, max_length=MAX_ENTRIES)
    until: Time | None = None

    @property
    def until_ms(self) -> int | None:
        return None if self.until is None else parse_time(self.until)


class Embargo(BaseModel):
    """Nobody outside `group` (partner ids) gets the item before `until`."""

    model_config = _FROZEN

    until: Time
    group: tuple[Slug, ...] = Field(default=(), max_length=MAX_ENTRIES)

    @property
    def until_ms(self) -> int:
        return parse_time(self.until)


class Handling(BaseModel):
    """What a source says about the handling of one item; None where it says nothing.

    `suspects` maps states to a confidence of 1 to 100; an empty map says that no state is suspected.
    `named` are partner ids; `personal` maps a STIX selector to what is to be done about it.
    """

    model_config = _FROZEN

    extension_type: Literal["property-extension"] | None = None
    category: Category | None = None
    affected: tuple[Country, ...] | None = Field(default=None, max_length=MAX_ENTRIES)
    suspects: Mapping[Country, Annotated[int, Field(strict=True, ge=1, le=100)]] | None = Field(
        default=None, max_length=MAX_ENTRIES
    )
    consent: Consent | None = None
    named: tuple[Slug, ...] = Field(default=(), max_length=MAX_ENTRIES)
    embargo: Embargo | None = None
    personal: Mapping[Selector, Technique] = Field(default={}, max_length=MAX_ENTRIES)
    purposes: tuple[Purpose, ...] | None = Field(default=None, max_length=MAX_ENTRIES)
    published: StrictBool | None = None
    urgent: StrictBool = False


_ABSENT = Handling()


def find(extensions: Mapping[str, Any]) -> str | None:
    """The key of the handling among an object's `extensions`: its id, hexadecimal digits in either case.

    Raises `ItemRefused` where it is there twice: nobody could say which of the two holds.
    """
    if HANDLING_ID in extensions and len(extensions) == 1:
        return HANDLING_ID
    found = [id_ for id_ in extensions if id_.lower() == HANDLING_ID]
    if len(found) > 1:
        raise ItemRefused(
            "handling-invalid",
            "the handling is there twice, under ids that differ in case only",
            where=f"/extensions/{found[1]}",
            hint="keep one of them",
            field=HANDLING_ID,
        )
    return found[0] if found else None


def read(extensions: Mapping[str, Any]) -> Handling:
    """The handling among an object's `extensions`; all absent where there is none.

    Raises `ItemRefused` (`handling-invalid`) with the JSON pointer below the object, and the handling's field.
    """
    id_ = find(extensions)
    if id_ is None:
        return _ABSENT
    try:
        return Handling.model_validate(extensions[id_])
    except ValidationError as error:
        raise _refusal(error, id_) from None


def _refusal(error: ValidationError, id_: str) -> ItemRefused:
    first = error.errors(include_url=False, include_input=False)[0]
    path = [clip(step) for step in first["loc"] if step != "[key]"]
    escaped = [step.replace("~", "~0").replace("/", "~1") for step in path]
    fault = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        fault = "unknown field"
    return ItemRefused(
        "handling-invalid",
        f"handling{''.join('.' + step for step in path)}: {clip(fault, 240)}",
        where="/".join(["", "extensions", id_, *escaped]),
        hint="the fields and their values are listed in deploy/policy.md, Handling",
        field=path[0] if path else HANDLING_ID,
    )


def outgoing(
    category: Category | None, affected: Iterable[Country] | None, purposes: Iterable[Purpose]
) -> dict[str, Any]:
    """The `extensions` of an outgoing copy: nothing else of the handling leaves the hub.

    `affected` is None where it is unknown or generalised. Lists are sorted, so that equal copies are equal.
    """
    fields: dict[str, Any] = {"extension_type": "property-extension"}
    if category is not None:
        fields["category"] = category
    if affected is not None:
        fields["affected"] = sorted(affected)
    fields["purposes"] = sorted(purposes)
    return {HANDLING_ID: fields}
