"""What common engines need of the user's home and environment, so that they are logged in inside the sandbox.

An engine gets copies of its login files. It cannot change the originals: settings of these programs can name commands,
which would run outside the sandbox the next time the user starts the program.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devflow.private_files import make_private_directory

_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class EngineProfile:
    """What one engine needs. Paths are relative to the user's home."""

    name: str
    logins: tuple[str, ...] = ()
    """Files that are copied into the engine's home."""
    programs: tuple[str, ...] = ()
    """Directories that the engine may read."""
    variables: tuple[str, ...] = ()
    """Variables of the environment that the engine gets: its own keys and settings."""
    hosts: tuple[str, ...] = ()
    """Hosts that the engine may reach with `--network proxy`."""

    def directories(self, home: Path) -> list[Path]:
        return [home / name for name in self.programs if (home / name).is_dir()]

    def copy_logins(self, home: Path, engines_home: Path) -> None:
        """Copy the login files that exist. A file that is not regular, or larger than 4 MB, is left out."""
        for name in self.logins:
            source, target = home / name, engines_home / name
            if source.is_file() and source.stat().st_size <= _MAX_BYTES:
                make_private_directory(target.parent)
                with suppress(OSError):  # not readable: the engine will say that it is not logged in
                    shutil.copyfile(source, target)
                    target.chmod(0o600)


NO_PROFILE = EngineProfile("none")
_ANTHROPIC = (
    "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "CLAUDE_CODE_OAUTH_TOKEN",
)  # fmt: skip
_OPENAI = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
PROFILES = {
    profile.name: profile
    for profile in (
        NO_PROFILE,
        EngineProfile(
            "claude",
            (".claude.json", ".claude/.credentials.json", ".claude/settings.json"),
            (".local/share/claude",),
            _ANTHROPIC,
            ("api.anthropic.com",),
        ),
        EngineProfile(
            "codex",
            (".codex/auth.json", ".codex/config.toml"),
            (),
            (*_OPENAI, "CODEX_API_KEY"),
            ("api.openai.com", "auth.openai.com", "chatgpt.com"),
        ),
        EngineProfile(
            "copilot",
            (".copilot/config.json", ".copilot/settings.json"),
            (),
            ("COPILOT_GITHUB_TOKEN",),
            ("api.github.com", "*.githubcopilot.com"),
        ),
        EngineProfile(
            "gemini",
            (".gemini/oauth_creds.json", ".gemini/google_accounts.json", ".gemini/settings.json"),
            (),
            ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_MODEL"),
            ("generativelanguage.googleapis.com", "cloudcode-pa.googleapis.com", "oauth2.googleapis.com"),
        ),
        EngineProfile(
            "opencode",
            (".local/share/opencode/auth.json", ".config/opencode/opencode.json"),
            (".opencode",),
            (*_ANTHROPIC, *_OPENAI),
        ),
    )
}


def find_profile(name: str, argv: Sequence[str]) -> EngineProfile:
    """Return the profile of this name. `auto` chooses it by the name of the program."""
    if name == "auto":
        name = Path(argv[0]).name
    return PROFILES.get(name, NO_PROFILE)
