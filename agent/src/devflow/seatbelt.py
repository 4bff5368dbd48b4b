"""The sandbox on macOS: expresses what an engine sees as a profile for `sandbox-exec`.

The profile denies everything that it does not allow. Of several rules that match, the last one decides. There are no
namespaces: a path that an engine must not see exists, but cannot be read. The engine sees the machine's processes, but
cannot signal them. The project's tests run on Linux and check the text of the profile only.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from devflow.engine_view import Access, EngineView, MachineView

PROGRAM = "/usr/bin/sandbox-exec"
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/opt", "/System", "/Library/Apple", "/Library/Developer", "/Library/Frameworks",
    "/Library/Java", "/Library/Preferences/Logging", "/Applications/Xcode.app", "/private/etc/hosts",
    "/private/etc/passwd", "/private/etc/group", "/private/etc/protocols", "/private/etc/resolv.conf",
    "/private/etc/services", "/private/etc/shells", "/private/etc/ssl", "/private/var/db/dyld",
    "/private/var/db/timezone", "/private/var/db/xcode_select_link", "/private/var/select", "/dev/random",
    "/dev/urandom", "/dev/autofs_nowait", "/dev/fd",
)  # fmt: skip
"""Programs, libraries and settings, which every user may read. None of them contains a secret."""
_LINKS = ("/etc", "/tmp", "/var")  # noqa: S108 # nosec B108
"""Links to directories below /private."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/tty", "/dev/dtracehelper")
_SERVICES = (
    "com.apple.bsd.dirhelper", "com.apple.logd", "com.apple.system.logger", "com.apple.system.notification_center",
    "com.apple.system.opendirectoryd.libinfo", "com.apple.system.opendirectoryd.membership", "com.apple.trustd.agent",
)  # fmt: skip
"""Users, logging, and the trust in certificates. Neither the keychain nor the pasteboard nor Apple events."""
_NETWORK_SERVICES = ("com.apple.SystemConfiguration.DNSConfiguration", "com.apple.SystemConfiguration.configd")
_NAME_SERVER = "/private/var/run/mDNSResponder"


def build_seatbelt_command(argv: Sequence[str], view: EngineView, machine: MachineView) -> list[str]:
    """Return the command line that runs `argv` with this view of the machine."""
    return [PROGRAM, "-p", build_profile(view, machine), *argv]


def build_profile(view: EngineView, machine: MachineView) -> str:
    """Return the profile. docs/agent.md, "Sandbox", describes it."""
    private = [name for path in (view.home, view.temporary) for name in _names(path)]
    rules = [
        "(version 1)",
        "(deny default)",
        "(allow process-exec process-fork)",
        "(allow signal (target same-sandbox))",
        "(allow process-info* (target same-sandbox))",
        "(allow sysctl-read)",
        "(allow pseudo-tty)",
        "(allow ipc-posix-sem)",
        _rule("allow", "mach-lookup", [f"(global-name {_quote(name)})" for name in _SERVICES]),
        _rule("allow", "file-read*", [f"(subpath {_quote(name)})" for name in _SYSTEM]),
        _rule("allow", "file-read* file-write-data file-ioctl", [f"(literal {_quote(name)})" for name in _DEVICES]),
        '(allow file-read* file-write* file-ioctl (literal "/dev/ptmx") (regex #"^/dev/ttys[0-9]+$"))',
    ]
    for grant in machine.grants:
        rules += [_grant(grant.access, name) for name in _names(grant.path)]
    # A link to a program is read to find the program. What it leads to has a grant of its own.
    rules += [_rule("allow", "file-read*", [f"(literal {_quote(str(path))})"]) for path, _ in machine.links]
    # After what is hidden: the directories of an attempt are below the agent's.
    rules.append(_rule("allow", "file-read* file-write*", [f"(subpath {_quote(name)})" for name in private]))
    rules.append(
        _rule("allow", "file-read-metadata", [f"(literal {_quote(name)})" for name in _parents(machine, private)])
    )
    return "\n".join([*rules, *_network(machine.network)]) + "\n"


def _grant(access: Access, name: str) -> str:
    place = [f"(subpath {_quote(name)})"]
    if access is Access.HIDDEN:
        return _rule("deny", "file-read* file-write* process-exec", place)
    return _rule("allow", "file-read* file-write*" if access is Access.WRITE else "file-read*", place)


def _network(network: str) -> list[str]:
    if network == "none":
        return []
    return [
        # Addresses only: sockets in the file system belong to Docker, ssh-agent and the like.
        '(allow network-outbound (remote ip "*:*"))',
        '(allow network-bind network-inbound (local ip "*:*"))',
        f"(allow network-outbound (literal {_quote(_NAME_SERVER)}))",
        "(allow system-socket)",
        _rule("allow", "mach-lookup", [f"(global-name {_quote(name)})" for name in _NETWORK_SERVICES]),
    ]


def _parents(machine: MachineView, more: Iterable[str]) -> list[str]:
    """Return the directories above all visible paths: a program looks at each of them on its way."""
    visible = [name for grant in machine.grants if grant.access is not Access.HIDDEN for name in _names(grant.path)]
    paths = map(Path, [*visible, *more, *_SYSTEM, *(str(path) for path, _ in machine.links)])
    return sorted({"/", *_LINKS, *(str(parent) for path in paths for parent in path.parents)})


def _names(path: Path) -> list[str]:
    """Return all names of a path. The kernel compares the one without links, as `/private/tmp` for `/tmp`."""
    return list(dict.fromkeys((str(path), str(path.resolve()))))


def _rule(decision: str, operations: str, filters: Sequence[str]) -> str:
    return f"({decision} {operations} {' '.join(filters)})"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
