"""The sections of the file that are about security: [tls], [[permissions]], [clients], [audit].

What is rendered parses to the same. What the sections say together is checked here: a permission
without TLS would protect nothing, so it is refused rather than ignored. An audit log without TLS
tells addresses instead of names; it is written only if the file has the section.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from globaltable.errors import ConfigError
from globaltable.server.security import (
    ALL_TABLES,
    EVERYBODY,
    Allowance,
    AuditFiles,
    Permission,
    Right,
    Security,
    TlsFiles,
)
from globaltable.server.tokens import KEYS_MAX, PUBLIC_BYTES
from globaltable.toml_section import Section, as_count, as_name, as_seconds, as_text

SECTIONS: Final = "[tls], [[permissions]], [clients.NAME], [tokens.keys], [audit]"
_CONNECTION_AGE_S_MAX: Final = 604_800
_RATE_MAX: Final = 1e9
_FILE_BYTES_MIN: Final = 65_536
_FILES_MAX: Final = 10_000


def take_security(root: Section, tables: Sequence[str], base_dir: Path) -> Security:
    """What the document says of it. Raises `ConfigError`."""
    section = root.section("tls")
    has_age = "connection_age_s" in section
    connection_age_s = section.take("connection_age_s", as_seconds, Security().connection_age_s)
    if connection_age_s > _CONNECTION_AGE_S_MAX:
        raise ConfigError(
            f"tls.connection_age_s = {connection_age_s}: give at most a week, "
            f"{_CONNECTION_AGE_S_MAX}"
        )
    tls, plaintext = _tls(section, base_dir)
    if tls is None and has_age:
        raise ConfigError("tls.connection_age_s without ca, cert and key: give these too")
    has_more = [name for name in ("permissions", "clients", "tokens") if name in root]
    if tls is None and has_more:
        raise ConfigError(
            f"[{has_more[0]}] without [tls]: nobody is known without certificates, so it would "
            "protect nothing; add [tls], or leave it out"
        )
    return Security(
        tls=tls,
        plaintext_beyond_loopback=plaintext,
        connection_age_s=connection_age_s,
        permissions=root.take("permissions", _permissions(tables), ()),
        allowances=_allowances(root.section("clients")),
        token_keys=_token_keys(root.section("tokens")),
        audits_in_the_clear=tls is None and "audit" in root,
        audit=_audit(root.section("audit"), base_dir),
    )


def _tls(section: Section, base_dir: Path) -> tuple[TlsFiles | None, bool]:
    plaintext = section.take("plaintext_beyond_loopback", _as_bool, False)
    if not section.names():
        return None, plaintext
    if plaintext:
        raise ConfigError(
            "tls.plaintext_beyond_loopback = true beside certificates: with TLS nothing is in the "
            "clear; leave out one or the other"
        )
    ca, cert, key = (base_dir / section.take(name, as_text) for name in ("ca", "cert", "key"))
    revoked = base_dir / section.take("revoked", as_text) if "revoked" in section else None
    section.finish("ca, cert, key, revoked, connection_age_s, plaintext_beyond_loopback")
    return TlsFiles(ca, cert, key, revoked), False


def _as_bool(setting: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{setting} = {value!r}: give true or false")
    return value


def _permissions(tables: Sequence[str]) -> Callable[[str, object], tuple[Permission, ...]]:
    def check(setting: str, value: object) -> tuple[Permission, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{setting} is a list of sections, write [[permissions]]")
        sections = [Section(f"{setting}[{number}]", one) for number, one in enumerate(value)]
        return tuple(_permission(section, tables) for section in sections)

    return check


def _permission(section: Section, tables: Sequence[str]) -> Permission:
    clients = section.take("clients", _names_of("client", EVERYBODY))
    rights = frozenset(section.take("rights", _rights))
    on_tables = rights - {Right.ADMIN}
    if on_tables:
        named = section.take("tables", _names_of("table", ALL_TABLES))
    elif "tables" in section:
        raise ConfigError(
            f"{section.setting('tables')}: admin is about the cluster and knows no tables; leave "
            "them out"
        )
    else:
        named = ()
    section.finish("clients, rights, tables")
    for table in named:
        if table != ALL_TABLES and table not in tables:
            raise ConfigError(
                f"{section.setting('tables')} = {list(named)!r}: {table!r} is not one of the "
                f"cluster's, {', '.join(tables)}"
            )
    return Permission(clients, rights, named)


def _names_of(what: str, all_of_them: str) -> Callable[[str, object], tuple[str, ...]]:
    def check(setting: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise ConfigError(
                f'{setting} = {value!r}: give a list of {what} names, or ["{all_of_them}"] for all'
            )
        return tuple(one if one == all_of_them else as_name(setting, one) for one in value)

    return check


def _rights(setting: str, value: object) -> list[Right]:
    known = [right.value for right in Right]
    if not isinstance(value, list) or not value or any(one not in known for one in value):
        raise ConfigError(f"{setting} = {value!r}: give a list of some of {', '.join(known)}")
    return [Right(one) for one in value]


def _allowances(section: Section) -> dict[str, Allowance]:
    allowances: dict[str, Allowance] = {}
    for name in section.names():
        who = name if name == EVERYBODY else as_name("clients", name)
        own = section.section(name)
        allowance = Allowance(
            ops_per_s=own.take("ops_per_s", _as_rate) if "ops_per_s" in own else None,
            burst_ops=own.take("burst_ops", as_count) if "burst_ops" in own else None,
            calls=own.take("calls", as_count) if "calls" in own else None,
            watches=own.take("watches", as_count) if "watches" in own else None,
        )
        own.finish(", ".join(f.name for f in fields(Allowance)))
        if allowance.burst_ops is not None and allowance.ops_per_s is None:
            raise ConfigError(f"{own.setting('burst_ops')} without ops_per_s bounds nothing")
        allowances[who] = allowance
    return allowances


def _token_keys(section: Section) -> Mapping[str, bytes]:
    own = section.section("keys")
    section.finish("[tokens.keys]")
    names = own.names()
    if len(names) > KEYS_MAX:
        raise ConfigError(f"{own.name} has {len(names)} keys, and may have {KEYS_MAX}")
    return {as_name(own.name, name): own.take(name, _as_public_key) for name in names}


def _as_public_key(setting: str, value: object) -> bytes:
    try:
        raw = base64.b64decode(value if isinstance(value, str) else "", validate=True)
        if len(raw) != PUBLIC_BYTES:
            raise ValueError
        return raw
    except ValueError as error:
        raise ConfigError(
            f"{setting} = {value!r}: give the {PUBLIC_BYTES} bytes of a public key of Ed25519 in "
            "base64, as `globaltable token --new-key` prints them"
        ) from error


def _as_rate(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= _RATE_MAX:  # type: ignore[arg-type,operator]
        raise ConfigError(f"{setting} = {value!r}: give a number above 0 and up to 1e9")
    return float(value)  # type: ignore[arg-type]


def _audit(section: Section, base_dir: Path) -> AuditFiles:
    default = AuditFiles()
    directory = base_dir / section.take("directory", as_text) if "directory" in section else None
    file_bytes_max = section.take("file_bytes_max", as_count, default.file_bytes_max)
    files = section.take("files", as_count, default.files)
    section.finish(", ".join(f.name for f in fields(AuditFiles)))
    if file_bytes_max < _FILE_BYTES_MIN:
        raise ConfigError(
            f"audit.file_bytes_max = {file_bytes_max}: give at least {_FILE_BYTES_MIN}"
        )
    if not 2 <= files <= _FILES_MAX:
        raise ConfigError(f"audit.files = {files}: give between 2 and {_FILES_MAX}")
    return AuditFiles(directory, file_bytes_max, files)


# --- the way back ---------------------------------------------------------------------------------


def render_security(security: Security) -> str:
    """The sections as TOML text; empty if all is as it is by default."""
    lines: list[str] = []
    if security.plaintext_beyond_loopback:
        lines += ["[tls]", "plaintext_beyond_loopback = true", ""]
    if security.tls is not None:
        lines += ["[tls]"]
        lines += [
            f"{name} = {quoted(str(getattr(security.tls, name)))}" for name in ("ca", "cert", "key")
        ]
        if security.tls.revoked is not None:
            lines += [f"revoked = {quoted(str(security.tls.revoked))}"]
        lines += [f"connection_age_s = {security.connection_age_s!r}"]
        lines += [""]
    for permission in security.permissions:
        lines += ["[[permissions]]", f"clients = {_listed(permission.clients)}"]
        lines += [f"rights = {_listed(sorted(right.value for right in permission.rights))}"]
        lines += [f"tables = {_listed(permission.tables)}"] if permission.tables else []
        lines += [""]
    for name, allowance in security.allowances.items():
        lines += [f"[clients.{quoted(name)}]"]
        bounds = {f.name: getattr(allowance, f.name) for f in fields(Allowance)}
        lines += [f"{key} = {bound!r}" for key, bound in bounds.items() if bound is not None]
        lines += [""]
    if security.token_keys:
        keys = security.token_keys.items()
        lines += ["[tokens.keys]"]
        lines += [
            f"{quoted(name)} = {quoted(base64.b64encode(key).decode())}" for name, key in keys
        ]
        lines += [""]
    if security.audit != AuditFiles() or security.audits_in_the_clear:
        audit = security.audit
        lines += ["[audit]"]
        lines += [f"directory = {quoted(str(audit.directory))}"] if audit.directory else []
        lines += [f"file_bytes_max = {audit.file_bytes_max}", f"files = {audit.files}", ""]
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(map(quoted, names)) + "]"


def quoted(text: str) -> str:
    # JSON escapes all that TOML must have escaped, but DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
