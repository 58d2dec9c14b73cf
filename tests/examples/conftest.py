"""The example chatbots as a user runs them: subprocesses, fed by a pipe, without a way to the internet."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCE = re.compile(r"^  \[(\d)\] (\d\.\d\d)  .*\((\S+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Turn:
    """What was printed after one question."""

    text: str

    @property
    def sources(self) -> list[str]:
        return [match[3] for match in SOURCE.finditer(self.text)]

    @property
    def scores(self) -> list[float]:
        return [float(match[2]) for match in SOURCE.finditer(self.text)]


@dataclass(frozen=True)
class Session:
    """A finished run."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def start(self) -> str:
        return self.stdout.split("\n> ")[0]

    @property
    def turns(self) -> list[Turn]:
        return [Turn(part) for part in self.stdout.split("\n> ")[1:] if part.strip()]


class Chatbot:
    """One of the two scripts, with a store of its own."""

    def __init__(self, script: Path, folder: Path) -> None:
        self.script = script
        self.folder = folder
        self.db = folder / "db"

    def run(self, *questions: str, arguments: tuple[str, ...] = (), api_key: str | None = None) -> Session:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LIMIAR_"))}
        env |= {"HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False", "PYTHONUTF8": "1"}
        # Whatever asks for the internet meets a closed port. The tests' own servers are reached directly.
        closed = "http://127.0.0.1:9"
        env |= {"HTTP_PROXY": closed, "HTTPS_PROXY": closed, "http_proxy": closed, "https_proxy": closed}
        env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        if api_key is not None:
            env["OPENAI_API_KEY"] = api_key
        done = subprocess.run(
            [sys.executable, str(self.script), "--db", str(self.db), *arguments],
            input="".join(f"{question}\n" for question in questions),
            cwd=self.folder,
            env=env,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Session(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", params=["langchain_chatbot.py", "llama_index_chatbot.py"])
def script(request: pytest.FixtureRequest) -> Path:
    return EXAMPLES / request.param


@pytest.fixture(scope="session")
def first_run(script: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Chatbot, Session]:
    """The script's first start ever, on the demo corpus: it indexes, and is asked nothing."""
    chatbot = Chatbot(script, tmp_path_factory.mktemp(script.stem))
    return chatbot, chatbot.run()


@pytest.fixture
def chatbot(first_run: tuple[Chatbot, Session], tmp_path: Path) -> Chatbot:
    """A script that has been started once, with its own copy of the store."""
    started, _ = first_run
    shutil.copytree(started.db, tmp_path / "db")
    return Chatbot(started.script, tmp_path)
