"""`[console]` of the configuration: read, checked, and written."""

import re
from typing import Final

from globaltable.errors import ConfigError
from globaltable.server.config import ConsoleConfig
from globaltable.toml_section import Section, as_milliseconds, as_names

_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
_HOSTS_MAX: Final = 64


def take_console(root: Section) -> ConsoleConfig:
    """Raises `ConfigError`."""
    section = root.section("console")
    console = ConsoleConfig(
        target_ms=section.take("target_ms", as_milliseconds, ConsoleConfig().target_ms),
        hosts=section.take("hosts", _as_hosts, ()),
    )
    section.finish("target_ms, hosts")
    if not console.target_ms:
        raise ConfigError(
            f"{section.setting('target_ms')} = 0: no commit is as fast; give the milliseconds that "
            "commit latency is to stay below"
        )
    return console


def _as_hosts(setting: str, value: object) -> tuple[str, ...]:
    hosts = as_names(setting, value)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ConfigError(
                f'{setting}: {host!r} is no host name as browsers send it, like "console.example"'
                " (without a port; addresses need not be named)"
            )
    if len(hosts) > _HOSTS_MAX:
        raise ConfigError(f"{setting}: {len(hosts)} names; give at most {_HOSTS_MAX}")
    return hosts


def render_console(console: ConsoleConfig) -> list[str]:
    """The section as lines of TOML; none if all is as it is by default."""
    if console == ConsoleConfig():
        return []
    lines = ["[console]", f"target_ms = {console.target_ms!r}"]
    if console.hosts:
        lines += ["hosts = [" + ", ".join(f'"{host}"' for host in console.hosts) + "]"]
    return [*lines, ""]
