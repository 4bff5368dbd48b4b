"""A machine with secrets, an agent on it, and repositories that attack it."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.tests.e2e.conftest import git, wait_until
from agent.tests.support.hostile import kernel
from agent.tests.support.hostile.tools import LIBC

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from agent.tests.e2e.conftest import AgentProcess, Scenario

Json = dict[str, Any]
ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "agent" / "tests" / "support"
PASSED_SECRET, GITHUB_TOKEN = "passed+Secret/0123456789?x=&", "ghp_0123456789abcdef"
IPC_CREAT, IPC_RMID, SEGMENT_SIZE = 0o1000, 0, 64
INTERVALS = "beat=5,poll=0.7,progress=5,log=5,grace=0.5,flush=10,farewell=5"
LIMITS = ("memory=250M", "processes=100", "file=100M", "files=256", "disk=40M")


class Bystander(NamedTuple):
    """A process of the user that has nothing to do with the agent."""

    process: subprocess.Popen[str]
    address: int
    """Where it has a secret in its memory."""

    @property
    def state(self) -> str:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0]


class Siege:
    """A machine with secrets, and an agent for attacks."""

    def __init__(self, scenario: Scenario, home: Path, cleanup: ExitStack) -> None:
        self.scenario, self.home, self._cleanup = scenario, home, cleanup
        self.directory, self.unique = scenario.directory, f"devflow-{uuid.uuid4().hex}"
        self.ran, self.elsewhere = self.directory / "ran", self.directory / "elsewhere.git"
        self.key = home / ".ssh" / "id_ed25519"
        for path, text in {
            self.key: "private", home / ".bashrc": "alias ll='ls -l'\n", home / ".claude/settings.json": "{}",
            self.directory / "allowed" / "shared.txt": "shared", home / "bin" / "own": "", home / ".cache" / "x": "",
        }.items():  # fmt: skip
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        config = self.directory / "config.toml"
        config.write_text('token = "token-of-the-user"\n', encoding="utf-8")
        config.chmod(0o600)
        git("init", "--quiet", "--bare", str(self.elsewhere), cwd=self.directory)
        self.private_repository = self.directory / "private"
        git("clone", "--quiet", str(scenario.origin), str(self.private_repository), cwd=self.directory)
        (self.private_repository / "secret.txt").write_text("s3cret-word", encoding="utf-8")
        git("add", "--all", cwd=self.private_repository)
        git("commit", "--quiet", "--message=private", cwd=self.private_repository)
        self.bystanders = {name: self._start_bystander() for name in ("bystander", "to_kill", "to_stop")}
        self._listen("docker.sock", "agent.sock", "bus", f"\0{self.unique}")
        self.shared_memory = Path("/dev/shm") / self.unique  # noqa: S108  # its name is unique
        self.shared_memory.write_text("secret", encoding="utf-8")
        cleanup.callback(self.shared_memory.unlink)
        cleanup.callback((Path("/tmp") / self.unique).unlink, missing_ok=True)  # noqa: S108
        ends = os.openpty()
        scenario.terminal = ends[1]
        for end in ends:
            cleanup.callback(os.close, end)
        self.segment = self._make_segment()
        self.has_keys = self._add_keys()
        self.repositories = HostileRepositories(self)
        self.ended: dict[str, Json] = {}
        """Tasks by the name of their attacks."""

    def start(self, sandbox: str, *more: str) -> None:
        """Start the agent. Its PATH begins with the current directory of each program that it starts."""
        self.name = self.scenario.register("besieged", None, "--concurrency", "8")
        facts = self.directory / f"{self.name}.json"
        engine = f"import sys; sys.path.append({str(ROOT)!r}); sys.argv[1:] = [{str(facts)!r}]\n"
        engine += "from agent.tests.support.hostile import __main__; __main__.main()"
        flags = ["--pass-env", "PASSED_SECRET", "--profile", "claude", "--no-pull-request", *more]
        flags += [flag for limit in LIMITS for flag in ("--limit", limit)]
        if sandbox != "none":
            for path in (SUPPORT, facts, self.directory / "allowed"):
                flags += ["--sandbox-allow", str(path)]
        facts.touch()
        env = {
            "GITHUB_TOKEN": GITHUB_TOKEN, "AWS_SECRET_ACCESS_KEY": "aws-0123456789", "NPM_TOKEN": "npm-0123456789",
            "PASSED_SECRET": PASSED_SECRET, "SSH_AUTH_SOCK": str(self.directory / "agent.sock"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.directory / 'bus'}", "DISPLAY": ":0",
            "XAUTHORITY": str(self.home / ".Xauthority"), "PYTHONSTARTUP": "/dev/null",
            "PATH": f".::{os.environ['PATH']}",
        }  # fmt: skip
        self.agent: AgentProcess = self.scenario.start(
            self.name, engine, *flags, pace=INTERVALS, sandbox=sandbox, **env
        )
        port = int(self.scenario.platform.url.rpartition(":")[2])
        config = (
            f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {self.trap}\n\thooksPath = hooks\n"
            f"\tsshCommand = {self.trap}\n\tpager = {self.trap}\n\teditor = {self.trap}\n"
            f'[filter "x"]\n\tclean = {self.trap}\n\tsmudge = {self.trap}\n\tprocess = {self.trap}\n'
            f'[diff "x"]\n\ttextconv = {self.trap}\n\tcommand = {self.trap}\n[merge "x"]\n\tdriver = {self.trap}\n'
            f'[url "{self.elsewhere}"]\n\tinsteadOf = {self.scenario.origin}\n'
            f"\tpushInsteadOf = {self.scenario.origin}\n[credential]\n\thelper = {self.trap}\n"
            f"[uploadpack]\n\tpackObjectsHook = {self.trap}\n[gpg]\n\tprogram = {self.trap}\n"
            "[commit]\n\tgpgSign = true\n"
        )
        facts.write_text(
            json.dumps({
                "agent": str(self.directory / "state" / "agents" / self.name), "agent_pid": self.agent.process.pid,
                "config": str(self.directory / "config.toml"), "key": str(self.key), "home": str(self.home),
                "allowed": str(self.directory / "allowed"), "unique": self.unique, "git_config": config,
                "shared_memory": str(self.shared_memory), "segment": self.segment, "ran": str(self.ran),
                "docker": str(self.directory / "docker.sock"), "ssh_agent": str(self.directory / "agent.sock"),
                "bus": str(self.directory / "bus"), "private_repository": str(self.private_repository),
                "private_commit": git("rev-parse", "HEAD", cwd=self.private_repository),
                "platform": ("127.0.0.1", port),
                "bystander_address": self.bystanders["bystander"].address,
                **{name: bystander.process.pid for name, bystander in self.bystanders.items()},
            }),
            encoding="utf-8",
        )  # fmt: skip

    @property
    def trap(self) -> Path:
        """A program that must not run."""
        trap = self.directory / "trap.sh"
        if not trap.exists():
            trap.write_text(f"#!/bin/sh\nenv > {self.ran}\ncat\n", encoding="utf-8")
            trap.chmod(0o755)
        return trap

    def submit(self, *names: str, intent: str = "explain", together: bool = False) -> dict[str, str]:
        """Submit a task for each attack, or one for all `together`. Returns the ids of the tasks by their attacks."""
        return self._submit({name: {"intent": intent} for name in ([" ".join(names)] if together else names)})

    def submit_repositories(self, repositories: dict[str, Path]) -> dict[str, str]:
        """Submit a task for an ordinary engine for each repository. Returns their ids by the name of the repository."""
        more = {"intent": "fix-bug", "naturalLanguage": "fix"}
        return self._submit({name: more | {"repo": str(path)} for name, path in repositories.items()})

    def _submit(self, attacks: dict[str, Json]) -> dict[str, str]:
        tasks = {}
        for name, more in attacks.items():
            tasks[name] = f"task-{uuid.uuid4()}"
            body = {"taskId": tasks[name], "repo": str(self.scenario.origin), "naturalLanguage": name}
            body |= {"agentId": self.name} | more

            def is_submitted(body: Json = body) -> bool:
                response = self.scenario.user.post("/api/workflows/execute", body)
                assert response.status in (202, 503), response  # 503: the machine is busy, send the same request again
                return response.status == 202

            wait_until(is_submitted)
        return tasks

    def wait(self, tasks: dict[str, str]) -> dict[str, Json]:
        """Wait until the tasks have ended. Returns them by the name of their attacks."""

        def find_pending() -> list[str]:
            log = self.agent.log  # it is cheaper to read than the tasks
            return [name for name, task in tasks.items() if f"{task}: result reported" not in log]

        wait_until(lambda: not find_pending(), lambda: (find_pending(), self.agent.log))
        ended = {name: self.scenario.task(task) for name, task in tasks.items()}
        self.ended |= ended
        return ended

    def show(self, task: Json, name: str) -> str:
        """Return a file of the branch that a task has pushed."""
        return git("show", f"{task['resultFiles']['commit']}:{name}", cwd=Path(task["repo"]))

    def read_reports(self, *names: str) -> dict[str, str]:
        """Return all ended tasks, and the timelines and logs of those in `names`."""
        texts = {name: json.dumps(task, ensure_ascii=False) for name, task in self.ended.items()}
        for name in names:
            task = self.ended[name]["id"]
            events = self.scenario.user.get(f"/api/tasks/{task}/events?limit=100").json()
            texts[f"timeline of {name}"] = json.dumps(events, ensure_ascii=False)
            texts[f"log of {name}"] = self._read_log(task)
        return texts

    @property
    def has_terminal(self) -> bool:
        """Whether the agent has a controlling terminal."""
        stat = Path(f"/proc/{self.agent.process.pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[4] != "0"

    def processes_of_engines(self) -> list[int]:
        """Return the processes that have the environment of an engine of this agent."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"DEVFLOW_REPO={self.directory}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def _read_log(self, task: str) -> str:
        offset, text, more = 0, "", True
        while more:
            page = self.scenario.user.get(f"/api/tasks/{task}/logs?offset={offset}").json()
            text += page["data"]
            more, offset = page["nextOffset"] > offset, page["nextOffset"]
        return text

    def _start_bystander(self) -> Bystander:
        """It allows every process to trace it, which some systems forbid by default."""
        code = (
            "import ctypes, sys, time; secret = ctypes.create_string_buffer(b'secret-in-' + b'memory')\n"
            "ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)\n"
            "print(ctypes.addressof(secret), flush=True); time.sleep(300)"
        )
        env = {"A_SECRET": "bystander-secret"}
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        assert process.stdout is not None
        self._cleanup.callback(process.stdout.close)
        return Bystander(process, int(process.stdout.readline()))

    def _listen(self, *names: str) -> None:
        here = os.open(".", os.O_RDONLY)
        os.chdir(self.directory)  # the path of a socket has at most 108 bytes
        for name in names:
            server = self._cleanup.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(name)
            server.listen()
        os.fchdir(here)
        os.close(here)

    def _make_segment(self) -> int:
        key = int(self.unique[-7:], 16)
        identifier = LIBC.shmget(key, SEGMENT_SIZE, IPC_CREAT | 0o600)
        assert identifier >= 0
        self._cleanup.callback(LIBC.shmctl, identifier, IPC_RMID, None)
        LIBC.shmat.restype = ctypes.c_void_p
        address = LIBC.shmat(identifier, None, 0)
        ctypes.memmove(address, b"secret", 6)
        LIBC.shmdt(ctypes.c_void_p(address))
        return key

    def _add_keys(self) -> bool:
        """Add a key to the keyrings of this session and this user. Returns whether the kernel has keyrings."""
        if not kernel.KEYCTL:
            return False
        join, revoke, add = 1, 3, kernel.KEYCTL - 2
        number = ctypes.c_long
        LIBC.syscall(number(kernel.KEYCTL), number(join), None)
        added = True
        for keyring in (-3, -4):
            key = LIBC.syscall(number(add), b"user", self.unique.encode(), b"secret", number(6), number(keyring))
            added = added and key > 0
            self._cleanup.callback(LIBC.syscall, number(kernel.KEYCTL), number(revoke), number(key))
        return added


class HostileRepositories:
    """Repositories whose contents attack the agent. The engine is an ordinary one."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self.rejected = {f"path {name!r}": self._with_entry(name) for name in ("..", ".GIT", "git~1")}
        """Repositories that cannot be cloned."""
        self.rejected["damaged objects"] = self._damaged()
        self.accepted = self._make(self._fill)
        """A repository that is cloned, and whose contents have no effect."""

    def _fill(self, clone: Path) -> None:
        siege = self._siege
        trap = f"#!/bin/sh\ntouch {siege.ran}\n"
        programs = ["bwrap", "git", "gh", "ssh", "env", "sh", "true", "python3", "git-remote-https", "git-lfs"]
        programs += [f"{place}/post-checkout" for place in ("hooks", ".githooks", ".husky", "nested/.git.hooks")]
        names = (f"; touch {siege.ran.name}", "--upload-pack=x", "-rf", "$(id)", "`id`", "new\nline", "x" * 255)
        files = dict.fromkeys(programs, trap) | dict.fromkeys(names, "x") | {
            ".gitattributes": "* filter=x diff=x\n*.bin filter=lfs\n", "a.bin": "version https://git-lfs.example/v1\n",
            ".lfsconfig": f"[lfs]\n\turl = ext::{siege.trap}\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::{siege.trap}\n\tupdate = !{siege.trap}\n'
            f'[submodule "../../hooks"]\n\tpath = y\n\turl = -u./{siege.trap}\n',
        }  # fmt: skip
        for name, text in files.items():
            (clone / name).parent.mkdir(exist_ok=True, parents=True)
            (clone / name).write_text(text, encoding="utf-8")
            (clone / name).chmod(0o755)
        up = "../" * 20 + "etc/passwd"
        for name, target in {"out": str(siege.home), "key": str(siege.key), "up": up, ".env": "/etc/passwd"}.items():
            (clone / name).symlink_to(target)

    def _make(self, add: Callable[[Path], object]) -> Path:
        clone = self._siege.directory / f"hostile-{uuid.uuid4().hex[:8]}"
        git("clone", "--quiet", str(self._siege.scenario.origin), str(clone), cwd=self._siege.directory)
        add(clone)
        git("add", "--all", cwd=clone)
        git("commit", "--quiet", "--message=hostile", cwd=clone)
        return clone

    def _with_entry(self, name: str) -> Path:
        clone = self._make(lambda clone: (clone / "more").touch())
        blob = git("rev-parse", "HEAD:login.py", cwd=clone)
        entries = f"100644 blob {blob}\tconfig\0"
        tree = git_input(["mktree", "-z"], entries, clone)
        top = git_input(["mktree", "-z"], f"100644 blob {blob}\tlogin.py\0" + f"040000 tree {tree}\t{name}\0", clone)
        git("update-ref", "HEAD", git("commit-tree", top, "-p", "HEAD", "-m", "hostile", cwd=clone), cwd=clone)
        return clone

    def _damaged(self) -> Path:
        clone = self._make(lambda clone: (clone / "more").write_text("more", encoding="utf-8"))
        blob = git("rev-parse", "HEAD:more", cwd=clone)
        path = clone / ".git" / "objects" / blob[:2] / blob[2:]
        path.chmod(0o644)
        path.write_bytes(b"damaged")
        return clone


def git_input(arguments: list[str], text: str, clone: Path) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=clone, input=text, capture_output=True, text=True, check=True).stdout.strip()
