"""The settings of a process: environment variables that begin with TOCSIN_, read once, at start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import Misconfigured


class Settings(BaseModel):
    """What an operator can set. `from_environment` reads it; every field is TOCSIN_ and its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Path("data")
    broker: str = Field(default="sqlite:", pattern=r"^(sqlite:|kafka://.+)")
    kafka_security: str = "plaintext"
    state: str = Field(default="memory", pattern="^(memory|rocksdb)$")
    database: str = ""
    agreements: Path = Path("deploy/agreements")
    policy: Path = Path("deploy/policy.toml")
    policy_key_file: Path | None = None
    secret_file: Path | None = None
    listen: str = Field(default="127.0.0.1:8080", pattern=r"^[^:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")
    log: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    connectors: Path = Path("deploy/connectors.toml")
    window_seconds: int = Field(default=60, ge=0, le=86_400)
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    url: str = "http://127.0.0.1:8080"
    token: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: object) -> Settings:
        """Raises `Misconfigured` naming the variable. Unknown TOCSIN_ variables are errors: a typo must not
        leave a default in force unseen. TOCSIN_TEST_… and TOCSIN_CI_… belong to the tests."""
        given = {
            name.removeprefix("TOCSIN_").lower(): value
            for name, value in environment.items()
            if name.startswith("TOCSIN_") and not name.startswith(("TOCSIN_TEST_", "TOCSIN_CI_"))
        }
        try:
            return cls.model_validate({**given, **{k: v for k, v in overrides.items() if v is not None}})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"TOCSIN_{'_'.join(str(step) for step in first['loc']).upper()}"
            what = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
            raise Misconfigured(
                "setting-invalid", f"{name}: {what}", hint="`tocsin --help` lists the settings"
            ) from None

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data.absolute() / 'tocsin.db'}"

    @property
    def enrichment_path(self) -> Path:
        """Where the operator's data of enrichment are, if there are any."""
        return self.data / "enrichment"

    @property
    def secret_path(self) -> Path:
        return self.secret_file or self.data / "secret"

    @property
    def policy_key_path(self) -> Path:
        """Where the key is with which versions of the policy are signed."""
        return self.policy_key_file or self.data / "policy.key"

    @property
    def staff_token_path(self) -> Path:
        """Where `up` leaves the operator's token, for commands on the same machine."""
        return self.data / "staff.token"

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)
